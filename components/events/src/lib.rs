//! `POST /v1/events/{source}`.

tokengate_guest::component!(tokengate_app::routes::events::routes);
