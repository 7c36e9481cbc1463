//! Tokengate's routes as a WASI 0.3 component on Spin: the only crate that names the platform.
//!
//! It implements the application's ports over `wasi:http`, `spin:key-value`, `wasi:keyvalue/atomics`,
//! `spin:redis` and `spin:variables`, and hands requests over. It decides nothing. On other targets it is empty, so that the whole
//! workspace can be built and tested natively.

#[cfg(target_family = "wasm")]
mod http;
#[cfg(target_family = "wasm")]
mod instance;
#[cfg(target_family = "wasm")]
mod ports;

#[cfg(target_family = "wasm")]
pub use {instance::handle, ports::Spin, spin_sdk::wasip3};

/// Exports `wasi:http/handler@0.3.0`, answering by the routes that the function named here returns.
#[macro_export]
macro_rules! component {
    ($routes:path) => {
        #[cfg(target_family = "wasm")]
        mod component {
            struct Component;

            $crate::wasip3::http::service::export!(Component with_types_in $crate::wasip3);

            impl $crate::wasip3::exports::http::handler::Guest for Component {
                async fn handle(request: $crate::wasip3::http::types::Request) -> Result<$crate::wasip3::http::types::Response, $crate::wasip3::http::types::ErrorCode> {
                    $crate::handle($routes, request).await
                }
            }
        }
    };
}
