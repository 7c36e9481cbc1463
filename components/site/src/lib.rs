//! `GET /, its assets, and /openapi.json`.

tokengate_guest::component!(tokengate_app::routes::site::routes);
