//! `POST and DELETE /v1/session`.

tokengate_guest::component!(tokengate_app::routes::session::routes);
