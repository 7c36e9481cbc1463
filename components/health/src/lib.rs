//! `GET /healthz/live and /healthz/ready`.

tokengate_guest::component!(tokengate_app::routes::health::routes);
