//! `GET /v1/challenge`.

tokengate_guest::component!(tokengate_app::routes::challenge::routes);
