//! Requests in, responses out, and calls to elsewhere, between `wasi:http@0.3.0` and the `http` crate.

use std::pin::pin;

use bytes::Bytes;
use futures_util::future::{Either, join, select};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use spin_sdk::wasip3::clocks::monotonic_clock;
use spin_sdk::wasip3::http::client;
use spin_sdk::wasip3::http::types::{
    ErrorCode, Fields, Method as WasiMethod, Request, RequestOptions, Response, Scheme,
};
use spin_sdk::wasip3::{wit_future, wit_stream};
use spin_sdk::wit_bindgen::{StreamReader, StreamResult, spawn};
use tokengate_app::{CallError, Problem, Reply};

/// How much is read at a time.
const CHUNK: usize = 16 * 1024;

/// How long a request's body may take: nanoseconds. A slow sender holds a place in an instance all the while.
const BODY_TIMEOUT: u64 = 10_000_000_000;

/// A backstop below the callers' own deadlines, should those ever be missing: nanoseconds.
const OUTBOUND_TIMEOUT: u64 = 60_000_000_000;

/// A request that was read, or the reason why it was not.
pub(crate) enum Incoming {
    /// Whole.
    Request(http::Request<Bytes>),
    /// To be answered with a problem.
    Rejected(Method, Problem),
}

/// Reads a request with its body, of at most as many bytes as `max_body_len` says for the path.
pub(crate) async fn read(request: Request, max_body_len: impl Fn(&str) -> usize) -> Incoming {
    let method = method(&request.get_method());
    let target = request
        .get_path_with_query()
        .unwrap_or_else(|| "/".to_owned());
    let authority = request.get_authority();
    let mut headers = HeaderMap::new();
    for (name, value) in request.get_headers().copy_all() {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    if let Some(host) = authority.and_then(|authority| HeaderValue::try_from(authority).ok()) {
        headers.entry(header::HOST).or_insert(host);
    }
    let Ok(uri) = Uri::try_from(target) else {
        return Incoming::Rejected(method, Problem::Target);
    };
    let limit = max_body_len(uri.path());
    let body = match timely_body(&method, &headers, request, limit).await {
        Ok(body) => body,
        Err(problem) => return Incoming::Rejected(method, problem),
    };
    let mut request = http::Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Incoming::Request(request)
}

fn method(method: &WasiMethod) -> Method {
    match method {
        WasiMethod::Get => Method::GET,
        WasiMethod::Head => Method::HEAD,
        WasiMethod::Post => Method::POST,
        WasiMethod::Put => Method::PUT,
        WasiMethod::Delete => Method::DELETE,
        WasiMethod::Connect => Method::CONNECT,
        WasiMethod::Options => Method::OPTIONS,
        WasiMethod::Trace => Method::TRACE,
        WasiMethod::Patch => Method::PATCH,
        WasiMethod::Other(name) => Method::from_bytes(name.as_bytes()).unwrap_or(Method::TRACE),
    }
}

async fn timely_body(
    method: &Method,
    headers: &HeaderMap,
    request: Request,
    limit: usize,
) -> Result<Bytes, Problem> {
    let timeout = monotonic_clock::wait_for(BODY_TIMEOUT);
    match select(pin!(body(method, headers, request, limit)), pin!(timeout)).await {
        Either::Left((body, _)) => body,
        Either::Right(_) => Err(Problem::BodyTooSlow),
    }
}

async fn body(
    method: &Method,
    headers: &HeaderMap,
    request: Request,
    limit: usize,
) -> Result<Bytes, Problem> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) {
        return Err(Problem::BodyTooLarge(limit));
    }
    // No route reads the content of these, which has no defined meaning (RFC 9110 section 9.3).
    if matches!(*method, Method::GET | Method::HEAD | Method::DELETE) || length == Some(0) {
        return Ok(Bytes::new());
    }
    let (_, done) = wit_future::new(|| Ok(()));
    let (stream, trailers) = Request::consume_body(request, done);
    let body = collect(stream, limit)
        .await
        .ok_or(Problem::BodyTooLarge(limit))?;
    let whole = trailers.await.is_ok() && length.is_none_or(|length| length == body.len() as u64);
    if whole {
        Ok(body.into())
    } else {
        Err(Problem::BodyUnreadable)
    }
}

/// Everything in the stream, or `None` if it is more than `limit`.
async fn collect(mut stream: StreamReader<u8>, limit: usize) -> Option<Vec<u8>> {
    let mut collected = Vec::new();
    let mut buffer = Vec::with_capacity(CHUNK);
    loop {
        let (result, mut read) = stream.read(buffer).await;
        collected.append(&mut read);
        if collected.len() > limit {
            return None;
        }
        match result {
            StreamResult::Complete(_) => buffer = read,
            StreamResult::Dropped | StreamResult::Cancelled => return Some(collected),
        }
    }
}

/// Hands a response over; its body follows behind.
pub(crate) fn respond(response: http::Response<Bytes>) -> Result<Response, ErrorCode> {
    let (parts, body) = response.into_parts();
    let fields = fields(&parts.headers)?;
    let (result, trailers) = wit_future::new(|| Ok(None));
    // Dropped unwritten, it resolves to its default: complete, without trailers.
    drop(result);
    let contents = if body.is_empty() {
        None
    } else {
        let (mut writer, reader) = wit_stream::new();
        spawn(async move {
            // What is left unwritten was not wanted: the client is gone.
            let _ = writer.write_all(body.into()).await;
        });
        Some(reader)
    };
    let (response, _sent) = Response::new(fields, contents, trailers);
    response
        .set_status_code(parts.status.as_u16())
        .map_err(|()| ErrorCode::InternalError(None))?;
    Ok(response)
}

fn fields(headers: &HeaderMap) -> Result<Fields, ErrorCode> {
    let list: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    Fields::from_list(&list).map_err(|_| ErrorCode::InternalError(None))
}

/// POSTs JSON and reads at most `limit` bytes of the reply.
pub(crate) async fn post(url: &str, body: Vec<u8>, limit: usize) -> Result<Reply, CallError> {
    let (request, writer) = post_request(url, &body).ok_or(CallError::Failed)?;
    let mut writer = writer;
    let write = async move {
        let _ = writer.write_all(body).await;
        drop(writer);
    };
    let (response, ()) = join(client::send(request), write).await;
    let response = response.map_err(|code| call_error(&code))?;
    let status = response.get_status_code();
    let retry_after = response
        .get_headers()
        .get("retry-after")
        .first()
        .and_then(|seconds| std::str::from_utf8(seconds).ok()?.trim().parse().ok());
    let (_, done) = wit_future::new(|| Ok(()));
    let (stream, trailers) = Response::consume_body(response, done);
    let body = collect(stream, limit).await.ok_or(CallError::TooLong)?;
    trailers.await.map_err(|code| call_error(&code))?;
    Ok(Reply {
        status,
        retry_after,
        body,
    })
}

fn post_request(
    url: &str,
    body: &[u8],
) -> Option<(Request, spin_sdk::wit_bindgen::StreamWriter<u8>)> {
    let uri: Uri = url.parse().ok()?;
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    let (writer, reader) = wit_stream::new();
    let (result, trailers) = wit_future::new(|| Ok(None));
    drop(result);
    let options = RequestOptions::new();
    options.set_connect_timeout(Some(OUTBOUND_TIMEOUT)).ok()?;
    options
        .set_first_byte_timeout(Some(OUTBOUND_TIMEOUT))
        .ok()?;
    options
        .set_between_bytes_timeout(Some(OUTBOUND_TIMEOUT))
        .ok()?;
    let (request, _sent) = Request::new(
        fields(&headers).ok()?,
        Some(reader),
        trailers,
        Some(options),
    );
    request.set_method(&WasiMethod::Post).ok()?;
    request
        .set_scheme(Some(&if uri.scheme_str() == Some("https") {
            Scheme::Https
        } else {
            Scheme::Http
        }))
        .ok()?;
    request
        .set_authority(uri.authority().map(http::uri::Authority::as_str))
        .ok()?;
    request
        .set_path_with_query(uri.path_and_query().map(http::uri::PathAndQuery::as_str))
        .ok()?;
    Some((request, writer))
}

/// What failed.
const fn call_error(code: &ErrorCode) -> CallError {
    match code {
        ErrorCode::DnsTimeout | ErrorCode::DnsError(_) => CallError::Dns,
        ErrorCode::DestinationNotFound
        | ErrorCode::DestinationUnavailable
        | ErrorCode::ConnectionRefused => CallError::Refused,
        ErrorCode::DestinationIpProhibited
        | ErrorCode::DestinationIpUnroutable
        | ErrorCode::HttpRequestDenied => CallError::Denied,
        ErrorCode::ConnectionTerminated | ErrorCode::HttpResponseIncomplete => CallError::Closed,
        ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout => CallError::Timeout,
        ErrorCode::TlsProtocolError
        | ErrorCode::TlsCertificateError
        | ErrorCode::TlsAlertReceived(_) => CallError::Tls,
        ErrorCode::HttpProtocolError => CallError::Protocol,
        _ => CallError::Failed,
    }
}
