//! `POST /v1/access`.

tokengate_guest::component!(tokengate_app::routes::access::routes);
