//! The server: accepts connections, spreads them over one thread per core, and stops when it is told to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};

use crate::access_log::{self, AccessLog};
use crate::application::Application;
use crate::clients::{ClientLimits, Clients};
use crate::core::{Accepted, Core, CoreLimits, CoreThread};
use crate::outbound;
use crate::startup::{self, Refusal};
use crate::stderr::Stderr;
use crate::workers::{NotAHandler, Reuse};

/// Connections that the system keeps for us until we accept them.
const BACKLOG: i32 = 1024;
/// How long written bytes may stay unacknowledged before the system ends a connection whose client stopped reading.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Before another try after the process ran out of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) threads: usize,
    pub(crate) connections: usize,
    /// Of each client, and of each with a loopback address.
    pub(crate) client: ClientLimits,
    pub(crate) loopback_client: ClientLimits,
    /// Memory for the request bodies of all connections, in bytes.
    pub(crate) body_memory: usize,
    pub(crate) drain: Duration,
    pub(crate) reuse: Reuse,
    /// Of each core.
    pub(crate) limits: CoreLimits,
    pub(crate) access_log: access_log::Format,
}

/// File descriptors for everything but clients' connections: stores, the guests' calls, files that they read.
const RESERVED_FILES: u64 = 256;

/// Takes as many file descriptors as the process may have, and returns how many of `wanted` connections they are
/// enough for. Without this, accepting would fail again and again while calls out of the host fail, too.
fn connections_within_limit(wanted: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit.current = limit.maximum,
            Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
        }
    }
    let possible = affordable(limit.current);
    if wanted > possible {
        tracing::warn!(
            wanted,
            possible,
            "fewer connections than --max-connections fit the limit of open files: raise it (ulimit -Hn)"
        );
    }
    wanted.min(possible)
}

/// Connections for which `files` descriptors are enough; `None` is no limit.
fn affordable(files: Option<u64>) -> usize {
    let Some(files) = files else {
        return usize::MAX;
    };
    // Small limits are shared half and half rather than left without any connection.
    let left = files.saturating_sub(RESERVED_FILES.min(files / 2));
    usize::try_from(left.max(1)).unwrap_or(usize::MAX)
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    #[error("TLS cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    #[error("component `{component}` {source}")]
    NotAHandler {
        component: String,
        source: NotAHandler,
    },
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Refused(Vec<Refusal>),
    #[error("a thread that serves has ended by itself")]
    CoreGone,
}

/// Serves `application` until SIGINT or SIGTERM, then drains. `ready` is told the address once connections are
/// accepted.
pub(crate) fn serve(
    application: Application,
    config: ServerConfig,
    stderr: &Stderr,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), Error> {
    let application = Arc::new(application);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(&application, config, stderr, ready))
}

async fn run(
    application: &Arc<Application>,
    config: ServerConfig,
    stderr: &Stderr,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), Error> {
    // Bound before the components are asked, so that a taken port is what is complained of first.
    let listener = listen(config.listen).map_err(|source| Error::Listen {
        address: config.listen,
        source,
    })?;
    let local = listener.local_addr()?;
    let tls = outbound::tls_config()?;
    let core = {
        let application = application.clone();
        let stderr = stderr.clone();
        move || {
            Core::new(
                application.clone(),
                tls.clone(),
                config.reuse,
                config.limits,
                AccessLog::new(config.access_log, stderr.clone()),
                stderr.clone(),
                local,
            )
        }
    };
    {
        // Also the proof that every component can be served: the cores are made alike.
        let trial =
            core().map_err(|(component, source)| Error::NotAHandler { component, source })?;
        if let Some(path) = &application.startup_check {
            let refusals = startup::check(&trial, path).await;
            trial.end();
            if !refusals.is_empty() {
                return Err(Error::Refused(refusals));
            }
        }
    }
    let connections = connections_within_limit(config.connections);
    let clients = Arc::new(Clients::new(
        config.client,
        config.loopback_client,
        config.body_memory,
    ));
    let (gone, mut core_gone) = mpsc::unbounded_channel();
    let cores = (0..config.threads)
        .map(|index| {
            let core = core.clone();
            CoreThread::start(index, gone.clone(), move || core().ok())
        })
        .collect::<Result<Vec<_>, _>>()?;
    drop((core, gone));

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    ready(local);
    let outcome = tokio::select! {
        () = accept(listener, &cores, connections, &clients) => Ok(()),
        // Its share of the connections would go unanswered: better that whoever supervises us starts anew.
        _ = core_gone.recv() => Err(Error::CoreGone),
        _ = interrupt.recv() => {
            tracing::info!("interrupted: draining");
            Ok(())
        }
        _ = terminate.recv() => {
            tracing::info!("terminated: draining");
            Ok(())
        }
    };
    // The listener is closed; a second signal ends the process at once.
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
        std::process::exit(130);
    });
    let threads: Vec<_> = cores
        .into_iter()
        .map(|core| core.stop(config.drain))
        .collect();
    let stopped = tokio::task::spawn_blocking(move || {
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a core panicked");
            }
        }
    });
    if stopped.await.is_err() {
        tracing::error!("stopping failed");
    }
    outcome
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // So that a restart need not wait for the last process's connections to time out.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(
    listener: TcpListener,
    cores: &[CoreThread],
    connections: usize,
    clients: &Arc<Clients>,
) {
    let places = Arc::new(Semaphore::new(connections));
    loop {
        let accepted = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let (stream, client) = accepted;
        let Some(connection) = clients.enter(client.ip()) else {
            tracing::debug!(%client, "a connection beyond its client's bound is closed");
            continue;
        };
        // One is accepted beyond the limit: whose it is decides nothing, but that it is there does.
        let permit = match places.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                clients.make_room();
                tokio::select! {
                    permit = places.clone().acquire_owned() => match permit {
                        Ok(permit) => permit,
                        // Closed never; were it closed, accepting would be over.
                        Err(_) => return,
                    },
                    // Its client has the most, and all the others of it are at requests.
                    () = connection.to_be_closed() => continue,
                }
            }
        };
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, "a connection ended before it was served");
            continue;
        }
        let Ok(stream) = stream.into_std() else {
            continue;
        };
        // The one with the fewest connections, so that long ones spread evenly.
        if let Some(core) = cores
            .iter()
            .min_by_key(|core| core.open.load(Ordering::Relaxed))
        {
            // A core that is gone drops the connection, which closes it.
            let _ = core.connections.send(Accepted {
                stream,
                client,
                permit,
                connection,
            });
        }
    }
}

fn prepare(stream: &tokio::net::TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(WRITE_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_rest() {
        assert_eq!(affordable(None), usize::MAX);
        assert_eq!(affordable(Some(1024)), 768);
        assert_eq!(affordable(Some(64)), 32);
        assert_eq!(affordable(Some(0)), 1);
    }
}
