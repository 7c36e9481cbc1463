//! One thread's share of the server: its runtime, its connections, its instances of every component.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::access_log::AccessLog;
use crate::admission::Turnstile;
use crate::application::Application;
use crate::clients;
use crate::guest::CoreResources;
use crate::key_value::Stores;
use crate::outbound;
use crate::outbound_redis;
use crate::request::{self, RequestLimits};
use crate::stderr::Stderr;
use crate::workers::{self, Handler, NotAHandler, Reuse};

/// Header bytes of one request. As much is what a connection's buffer grows to, so it is also what a half-sent head costs.
pub(crate) const MAX_HEADER_BYTES: usize = 16 << 10;
const MAX_HEADERS: usize = 100;
const MADE_ROOM: &str = "the connection was closed to make room for others";

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
    pub(crate) connection: clients::Connection,
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
        stderr: Stderr,
        local: SocketAddr,
    ) -> Result<Self, (String, NotAHandler)> {
        let resources = Arc::new(CoreResources {
            stores: Stores::connect(&application.stores),
            client: outbound::Client::new(tls),
            redis: outbound_redis::Connections::default(),
            turnstile: Turnstile::new(limits.computing),
            stderr,
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
    /// Starts a thread that serves with what `core` makes within its runtime; `gone` is told when it has ended.
    pub(crate) fn start(
        index: usize,
        gone: mpsc::UnboundedSender<()>,
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
                    let _gone = Gone(gone);
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

/// Tells that its thread ended, by a panic too.
struct Gone(mpsc::UnboundedSender<()>);

impl Drop for Gone {
    fn drop(&mut self) {
        // Nobody listens any more when all cores are being stopped.
        let _ = self.0.send(());
    }
}

async fn serve(
    core: Arc<Core>,
    mut accepted: mpsc::UnboundedReceiver<Accepted>,
    mut stopped: oneshot::Receiver<Duration>,
    open: &Arc<AtomicUsize>,
) {
    let graceful = GracefulShutdown::new();
    let (serving, _) = watch::channel(());
    let drain = loop {
        tokio::select! {
            biased;
            drain = &mut stopped => break drain.unwrap_or_default(),
            connection = accepted.recv() => match connection {
                Some(connection) => {
                    let count = OpenCount::new(open);
                    let core = core.clone();
                    let watcher = graceful.watcher();
                    let serving = serving.subscribe();
                    tokio::spawn(async move {
                        if let Err(error) = connect(core, connection, watcher, serving).await {
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
    drop(serving);
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

/// When the response began that a connection is sending, if it is sending one.
#[derive(Default)]
pub(crate) struct Sending(Mutex<Option<Instant>>);

impl Sending {
    pub(crate) fn begin(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(crate) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns once a response has been on its way for `limit`. HTTP/1.1 sends one at a time.
    async fn overdue(&self, limit: Duration) {
        loop {
            let now = Instant::now();
            let began = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // A response that begins later than now is not overdue before `limit` from now.
            let due = began.unwrap_or(now) + limit;
            if due <= now {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

async fn connect(
    core: Arc<Core>,
    accepted: Accepted,
    watcher: Watcher,
    mut serving: watch::Receiver<()>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let Accepted {
        stream,
        client,
        permit: _permit,
        connection,
    } = accepted;
    let counted = Arc::new(connection);
    let stream = TcpStream::from_std(stream)?;
    let header_timeout = core.limits.header_timeout;
    let send_timeout = core.limits.requests.timeout;
    tokio::select! {
        ready = tokio::time::timeout(header_timeout, stream.readable()) => ready??,
        // A connection that has said nothing yet would hold up stopping for its whole header timeout.
        _ = serving.changed() => return Ok(()),
        () = counted.to_be_closed() => return Err(MADE_ROOM.into()),
    }
    let sending = Arc::new(Sending::default());
    let service = service_fn({
        let (sending, counted) = (sending.clone(), counted.clone());
        move |request| {
            let (core, sending, counted) = (core.clone(), sending.clone(), counted.clone());
            async move {
                Ok::<_, Infallible>(request::answer(core, client, request, sending, counted).await)
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        outcome = watcher.watch(connection) => Ok(outcome?),
        // hyper does not ask for the body while the client takes nothing, so the body cannot end this by itself.
        () = sending.overdue(send_timeout) => Err("a response was not taken in time".into()),
        () = counted.to_be_closed() => Err(MADE_ROOM.into()),
    }
}
