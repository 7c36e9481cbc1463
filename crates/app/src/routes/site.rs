//! `GET /`, its assets, and `GET /openapi.json`: a page to try the service with a wallet, and the API's description.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HeaderValue, VARY,
};
use http::{Method, StatusCode};
use serde_json::json;

use crate::context::Context;
use crate::http::problem::Problem;
use crate::http::{Request, Response, json_response};
use crate::ports::Ports;
use crate::route::Route;
use crate::state::Site;

/// The routes of this function.
pub fn routes<P: Ports>() -> Vec<Route<P, Site>> {
    let assets = ASSETS.iter();
    let mut routes: Vec<_> = assets
        .map(|asset| Route::new(asset.path).on(Method::GET, self::asset))
        .collect();
    routes.push(Route::new("/config.json").on(Method::GET, config));
    routes
}

/// Scripts and styles only from here. The page talks to wallets' nodes and to object stores, whose origins are the
/// operator's; it never runs what they send.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: http: https:; connect-src 'self' http: https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// A file of the page, compressed by the build: gzip (RFC 1952).
struct Asset {
    path: &'static str,
    media_type: &'static str,
    gzip: &'static [u8],
    #[cfg(test)]
    plain: &'static [u8],
}

macro_rules! asset {
    ($path:literal, $name:literal, $media_type:expr) => {
        Asset {
            path: $path,
            media_type: $media_type,
            gzip: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")),
            #[cfg(test)]
            plain: include_bytes!(concat!("../../assets/", $name)),
        }
    };
}

const HTML: &str = "text/html; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

static ASSETS: [Asset; 16] = [
    asset!("/", "index.html", HTML),
    asset!("/app.js", "app.js", JAVASCRIPT),
    asset!("/page/api.js", "page/api.js", JAVASCRIPT),
    asset!("/page/demo.js", "page/demo.js", JAVASCRIPT),
    asset!("/page/dom.js", "page/dom.js", JAVASCRIPT),
    asset!("/page/gates.js", "page/gates.js", JAVASCRIPT),
    asset!("/page/message.js", "page/message.js", JAVASCRIPT),
    asset!("/page/portal.js", "page/portal.js", JAVASCRIPT),
    asset!("/page/preview.js", "page/preview.js", JAVASCRIPT),
    asset!("/page/requirements.js", "page/requirements.js", JAVASCRIPT),
    asset!("/page/session.js", "page/session.js", JAVASCRIPT),
    asset!("/page/state.js", "page/state.js", JAVASCRIPT),
    asset!("/page/time.js", "page/time.js", JAVASCRIPT),
    asset!("/page/wallets.js", "page/wallets.js", JAVASCRIPT),
    asset!("/style.css", "style.css", CSS),
    asset!("/openapi.json", "openapi.json", "application/json"),
];

async fn asset<P: Ports>(
    _: &Context<P, Site>,
    request: &Request,
    _: &str,
) -> Result<Response, Problem> {
    let path = request.uri().path();
    let asset = ASSETS.iter().find(|asset| asset.path == path);
    // The router calls this for the paths of assets only.
    let Asset {
        media_type, gzip, ..
    } = asset.ok_or(Problem::Misconfigured)?;
    let mut response = if accepts_gzip(request) {
        let mut response = Response::new(Bytes::from_static(gzip));
        response
            .headers_mut()
            .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        let plain = inflate(gzip).ok_or(Problem::Misconfigured)?;
        Response::new(plain.into())
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    Ok(response)
}

/// The content of a gzip member as the build writes it: a header of ten bytes and a trailer of eight around the deflated
/// data (RFC 1952 section 2.3). Its checksum is not looked at: the bytes are part of this program.
fn inflate(member: &[u8]) -> Option<Vec<u8>> {
    let deflated = member.get(10..member.len().checked_sub(8)?)?;
    miniz_oxide::inflate::decompress_to_vec(deflated).ok()
}

/// RFC 9110 section 12.5.3, as far as one coding needs: named, and not with a weight of zero.
fn accepts_gzip(request: &Request) -> bool {
    let fields = request.headers().get_all(ACCEPT_ENCODING).iter();
    fields
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(','))
        .any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
            let weight = weight.trim().trim_start_matches("q=");
            name.trim().eq_ignore_ascii_case("gzip")
                && weight.bytes().any(|b| (b'1'..=b'9').contains(&b))
        })
}

async fn config<P: Ports>(
    context: &Context<P, Site>,
    _: &Request,
    _: &str,
) -> Result<Response, Problem> {
    Ok(json_response(
        StatusCode::OK,
        &json!({"demo_rpc_url": &*context.state.demo_rpc_url}),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_asset_is_what_it_was_before_it_was_compressed() {
        for asset in &ASSETS {
            assert_eq!(inflate(asset.gzip).as_deref(), Some(asset.plain));
        }
    }
}
