//! `GET and HEAD /v1/content/{resource…}`.

tokengate_guest::component!(tokengate_app::routes::content::routes);
