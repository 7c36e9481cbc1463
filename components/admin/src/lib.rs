//! `POST /v1/admin/warm` and `POST /v1/admin/watch`.

tokengate_guest::component!(tokengate_app::routes::admin::routes);
