//! One thread's share of the server: its runtime, its connections, its instances of every component.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::access_log::AccessLog;
use crate::admission::Turnstile;
use crate::application::Application;
use crate::guest::CoreResources;
use crate::key_value::Stores;
use crate::outbound;
use crate::request::{self, RequestLimits};
use crate::workers::{self, Handler, NotAHandler, Reuse};

/// Header bytes of one request.
pub(crate) const MAX_HEADER_BYTES: usize = 32 << 10;
const MAX_HEADERS: usize = 100;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;
/// How often a connection is looked at whose first bytes could still be either protocol.
const SNIFF_AGAIN: Duration = Duration::from_millis(5);

/// What bounds connections, and the requests within a core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoreLimits {
    pub(crate) requests: RequestLimits,
    /// For a request's head, counted from the end of the last response: so this ends idle connections as well.
    pub(crate) header_timeout: Duration,
    /// Requests admitted at once.
    pub(crate) in_flight: usize,
    /// Requests computing at once.
    pub(crate) computing: usize,
}

/// What serves the requests of one thread.
pub(crate) struct Core {
    pub(crate) application: Arc<Application>,
    /// In the order of the application's components.
    pub(crate) handlers: Vec<Handler>,
    pub(crate) resources: Arc<CoreResources>,
    pub(crate) in_flight: Arc<Semaphore>,
    pub(crate) limits: CoreLimits,
    pub(crate) access_log: AccessLog,
    pub(crate) local: SocketAddr,
}

/// An accepted connection on its way to a core.
pub(crate) struct Accepted {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) client: SocketAddr,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// The running thread of a core.
pub(crate) struct CoreThread {
    pub(crate) connections: mpsc::UnboundedSender<Accepted>,
    pub(crate) open: Arc<AtomicUsize>,
    stop: oneshot::Sender<Duration>,
    thread: JoinHandle<()>,
}

impl Core {
    /// Must be called within the runtime that will serve.
    pub(crate) fn new(
        application: Arc<Application>,
        tls: rustls::ClientConfig,
        reuse: Reuse,
        limits: CoreLimits,
        access_log: AccessLog,
        local: SocketAddr,
    ) -> Result<Self, (String, NotAHandler)> {
        let resources = Arc::new(CoreResources {
            stores: Stores::connect(&application.stores),
            client: outbound::Client::new(tls),
            turnstile: Turnstile::new(limits.computing),
            ending: AtomicBool::new(false),
        });
        let handlers = application
            .components
            .iter()
            .map(|component| {
                workers::handler(
                    &application.engine,
                    &component.pre,
                    &component.settings,
                    &resources,
                    reuse,
                )
                .map_err(|error| (component.settings.id.clone(), error))
            })
            .collect::<Result<_, _>>()?;
        let in_flight = Arc::new(Semaphore::new(limits.in_flight));
        Ok(Self {
            application,
            handlers,
            resources,
            in_flight,
            limits,
            access_log,
            local,
        })
    }

    /// To be called before the runtime ends: its instances then end without having failed.
    pub(crate) fn end(&self) {
        self.resources.ending.store(true, Ordering::Relaxed);
    }
}

impl CoreThread {
    /// Starts a thread that serves with what `core` makes within its runtime.
    pub(crate) fn start(
        index: usize,
        core: impl FnOnce() -> Option<Core> + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (connections, accepted) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let open = Arc::new(AtomicUsize::new(0));
        let thread = thread::Builder::new()
            .name(format!("core-{index}"))
            .spawn({
                let open = open.clone();
                move || {
                    runtime.block_on(async {
                        if let Some(core) = core() {
                            serve(Arc::new(core), accepted, stopped, &open).await;
                        }
                    });
                    // Instances that still work after their response are not waited for.
                    runtime.shutdown_background();
                }
            })?;
        Ok(Self {
            connections,
            open,
            stop,
            thread,
        })
    }

    /// Lets requests in progress end, for at most `drain`.
    pub(crate) fn stop(self, drain: Duration) -> JoinHandle<()> {
        // A thread that is gone has stopped.
        let _ = self.stop.send(drain);
        self.thread
    }
}

async fn serve(
    core: Arc<Core>,
    mut accepted: mpsc::UnboundedReceiver<Accepted>,
    mut stopped: oneshot::Receiver<Duration>,
    open: &Arc<AtomicUsize>,
) {
    let graceful = GracefulShutdown::new();
    let drain = loop {
        tokio::select! {
            biased;
            drain = &mut stopped => break drain.unwrap_or_default(),
            connection = accepted.recv() => match connection {
                Some(connection) => {
                    let count = OpenCount::new(open);
                    let core = core.clone();
                    let watcher = graceful.watcher();
                    tokio::spawn(async move {
                        if let Err(error) = connect(core, connection, watcher).await {
                            // Mostly clients that went away; none of our business otherwise.
                            tracing::debug!(error, "a connection failed");
                        }
                        drop(count);
                    });
                }
                None => break Duration::ZERO,
            }
        }
    };
    if tokio::time::timeout(drain, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests that were still in progress are cut off");
    }
    core.end();
}

struct OpenCount(Arc<AtomicUsize>);

impl OpenCount {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open.clone())
    }
}

impl Drop for OpenCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connect(
    core: Arc<Core>,
    accepted: Accepted,
    watcher: Watcher,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let Accepted {
        stream,
        client,
        permit,
    } = accepted;
    let stream = TcpStream::from_std(stream)?;
    let header_timeout = core.limits.header_timeout;
    let http2 = {
        // While a new connection says nothing, stopping must not wait for it.
        let mut sniffing = pin!(tokio::time::timeout(header_timeout, is_http2(&stream)));
        (&mut sniffing).await??
    };
    let service = service_fn({
        let core = core.clone();
        move |request| {
            let core = core.clone();
            async move { Ok::<_, Infallible>(request::answer(core, client, request).await) }
        }
    });
    let io = TokioIo::new(stream);
    if http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_BYTES as u32)
            .keep_alive_interval(header_timeout)
            .keep_alive_timeout(header_timeout)
            .serve_connection(io, service);
        watcher.watch(connection).await?;
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(MAX_HEADER_BYTES)
            .max_headers(MAX_HEADERS)
            .serve_connection(io, service);
        watcher.watch(connection).await?;
    }
    drop(permit);
    Ok(())
}

/// Whether the client speaks HTTP/2 with prior knowledge (RFC 9113 section 3.4), seen without consuming a byte.
async fn is_http2(stream: &TcpStream) -> io::Result<bool> {
    // No HTTP/1 method that is in use starts like the preface does.
    const PREFACE_START: &[u8; 4] = b"PRI ";
    loop {
        let mut start = [0; PREFACE_START.len()];
        let length = stream.peek(&mut start).await?;
        let seen = start.get(..length).unwrap_or_default();
        if length == 0 || !PREFACE_START.starts_with(seen) {
            return Ok(false);
        }
        if length == PREFACE_START.len() {
            return Ok(true);
        }
        tokio::time::sleep(SNIFF_AGAIN).await;
    }
}
