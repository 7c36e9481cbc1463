//! `GET /v1/gates, /v1/gates/{id} and /v1/gates/{id}/check`.

tokengate_guest::component!(tokengate_app::routes::gates::routes);
