//! Every route in one component, for hosts that run a single one.

tokengate_guest::component!(tokengate_app::routes::all);
