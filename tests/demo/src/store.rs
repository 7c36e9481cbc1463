//! An S3 server that checks every signature, over a directory of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HeaderValue,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::http::Http;

/// The bucket.
pub const BUCKET: &str = "media";
/// Its region.
pub const REGION: &str = "us-east-1";
/// The key id that it accepts.
pub const ACCESS_KEY_ID: &str = "tokengate-demo";
/// The secret of that key. It opens nothing but a server that lives as long as its test.
pub const SECRET_ACCESS_KEY: &str = "a-secret-that-only-the-demo-store-knows";

/// A running server. It ends when this is dropped, and its objects with it.
pub struct Store {
    _objects: TempDir,
    url: String,
    server: JoinHandle<()>,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Store {
    /// Starts it on `port` of the loopback interface; 0 takes any.
    pub async fn start(port: u16) -> anyhow::Result<Self> {
        let objects = tempfile::tempdir()?;
        std::fs::create_dir(objects.path().join(BUCKET))?;
        let files =
            FileSystem::new(objects.path()).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET_ACCESS_KEY));
        let service = builder.build();

        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let server = tokio::spawn(serve(listener, service));
        Ok(Self {
            _objects: objects,
            url,
            server,
        })
    }

    /// Its endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends it; when this is done, its port is free.
    pub async fn stop(mut self) {
        self.server.abort();
        // The error says that it was aborted.
        let _ = (&mut self.server).await;
    }

    /// Puts an object, as any S3 client does.
    pub async fn put(
        &self,
        key: &str,
        content_type: &str,
        content: impl Into<Bytes>,
    ) -> anyhow::Result<()> {
        let bucket = Bucket::new(self.url.parse()?, UrlStyle::Path, BUCKET, REGION)?;
        let credentials = Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY);
        let url = bucket
            .put_object(Some(&credentials), key)
            .sign(Duration::from_secs(60));
        let request = Request::put(url.as_str())
            .header(CONTENT_TYPE, content_type)
            .body(Full::new(content.into()))?;
        let reply = Http::default().send(request).await?;
        ensure!(
            reply.status == StatusCode::OK,
            "put {key}: {} {}",
            reply.status,
            reply.text()
        );
        Ok(())
    }
}

async fn serve(listener: TcpListener, service: S3Service) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let service = service.clone();
        connections.spawn(async move {
            let answer = service_fn(move |request| answer(service.clone(), request));
            // A client that hangs up is no failure of the server.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

/// Pages of any origin may read: buckets that serve browsers say so, and this server has no such setting of its own.
async fn answer(
    service: S3Service,
    request: Request<Incoming>,
) -> Result<Response<s3s::Body>, s3s::HttpError> {
    let mut response = if request.method() == Method::OPTIONS {
        let mut response = Response::new(s3s::Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response.headers_mut().insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, HEAD"),
        );
        response
    } else {
        Service::call(&service, request).await?
    };
    response
        .headers_mut()
        .insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    Ok(response)
}
