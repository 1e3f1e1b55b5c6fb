//! A stage for tests written by hand: the whole proxy on the simulated network, between peers that
//! a test writes itself, in simulated time. The checker judges every pool of the proxy meanwhile.
//!
//! There are one machine and one network to a test. What the proxy and the peers have of them has
//! the names and forms of tokio's sockets, so that peers can be written for both.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::resume_unwind;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use baton::proxy::config::ProxyConfig;
use baton::proxy::log;
use baton::proxy::reload::source::Source;
use baton::proxy::run::supervise;
use baton::proxy::seams::Signal;
use baton::proxy::seams::simulated::{System as _, install};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::{JoinHandle, LocalSet};

use super::exact;
use super::host::Machine;
use super::hub::Hub;
use super::network::{Listening, Network, Stream};
use super::peers::tls;
use super::pools::Pools;
use super::settings;
use crate::coverage::Coverage;
use crate::panics;
use crate::trace::Trace;

/// The file with the authority that issued the certificates of backends and of the proxy.
pub const AUTHORITY_FILE: &str = settings::AUTHORITY_FILE;
/// The file with the proxy's certificate, for `front.test`.
pub const CERTIFICATE_FILE: &str = settings::CERTIFICATE_FILE;
/// The file with its key.
pub const KEY_FILE: &str = settings::KEY_FILE;
/// The name in the certificate of backends.
pub const BACKENDS_NAME: &str = settings::TLS_NAME;
/// The address of the machine, and of everything on it.
const MACHINE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Connections that may wait to be accepted by a peer.
const BACKLOG: usize = 1024;
/// Requests of each cluster at once, unless the configuration allows fewer. The checker looks at
/// the whole tables of a pool after each fact.
pub const REQUESTS_MAX: usize = 256;
/// Time for what the test has dropped to end.
const SETTLE_TIME: Duration = Duration::from_millis(5);

/// No faults, and a network as fast as that of one machine. A plan has a backend, which is not
/// used.
const PLAN: &str = "(
    format: 1, origin: \"\", seed: 1,
    pool: (),
    network: (
        wire: (least_us: 20, most_us: 50), shell: (least_us: 0, most_us: 0),
        timer: (least_us: 0, most_us: 0), dial: (least_us: 100, most_us: 200),
        dead_path_us: 20_000_000, ties: Fifo,
    ),
    backends: [(
        http1: false, max_streams: None, settings_late_us: None, streams_per_connection: None,
        ping_strikes: None, work: (least_us: 0, most_us: 0), body: (least_us: 0, most_us: 0),
    )],
    requests: [], directives: [], deviations: [],
    heal: (at_us: 0, backends: [Well]),
)";

#[derive(Clone)]
struct Stage {
    network: Rc<Network>,
    machine: Rc<Machine>,
}

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

fn stage() -> Stage {
    STAGE.with_borrow(|stage| stage.clone()).expect("the test runs in `stage::run`")
}

/// Runs a test, and the tasks that it spawns.
///
/// # Panics
/// If the test or any task panics, or if an invariant of a pool does not hold.
pub fn run<F: Future<Output = ()> + 'static>(test: F) {
    panics::note_panics();
    let pools = Pools::new(None, Coverage::default(), Trace::default());
    let ended = exact::run_with(|_| (), async {
        let hub = Hub::start(crate::plan::read(PLAN).expect("it is a plan"));
        let network = Network::new(&hub);
        let machine = Machine::new(&hub, &network, MACHINE, &pools);
        for (path, text) in [
            (AUTHORITY_FILE, tls::AUTHORITY),
            (CERTIFICATE_FILE, tls::FRONT.certificate),
            (KEY_FILE, tls::FRONT.key),
        ] {
            machine.write_file(path, text.into());
        }
        let _seeded = tls::Seeded::new(hub.draws);
        let _installed = install(Rc::clone(&machine) as Rc<_>);
        let _logging = tracing::subscriber::set_default(log::subscriber(tracing::Level::INFO));
        STAGE.set(Some(Stage { network, machine }));
        let ended = spawn(test).await;
        // The proxy's tasks end while the machine still serves them.
        exact::sleep(SETTLE_TIME).await;
        STAGE.set(None);
        ended
    });
    let panicked = panics::panicked();
    if let Err(error) = ended {
        resume_unwind(error.into_panic());
    }
    if let Some(violation) = pools.violation() {
        panic!("{}: {}", violation.invariant, violation.what);
    }
    assert_eq!(panicked, None, "no task panics");
}

/// Loses the paths of the present connections to an address: nothing arrives any more, in either
/// direction.
///
/// # Panics
/// Outside of [`run`].
pub fn lose_paths(address: SocketAddr) {
    stage().network.lose_paths(address);
}

/// Runs a task on this thread.
#[expect(clippy::disallowed_methods, reason = "tasks with an output, for tests only")]
pub fn spawn<F: Future + 'static>(future: F) -> JoinHandle<F::Output>
where
    F::Output: 'static,
{
    tokio::task::spawn_local(future)
}

/// The time since the test began.
///
/// # Panics
/// Outside of [`run`].
#[must_use]
pub fn elapsed() -> Duration {
    Duration::from_nanos(exact::exact_now().expect("the test runs in `stage::run`"))
}

/// Writes a file of the proxy's machine.
pub fn write_file(path: &str, contents: &str) {
    stage().machine.write_file(path, contents.into());
}

/// Reads a file of the proxy's machine.
///
/// # Errors
/// If there is no such file.
pub fn read_file(path: &str) -> io::Result<String> {
    let bytes = stage().machine.read_file(Path::new(path))?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The settings of TLS of a backend that offers these protocols by ALPN; no ALPN if empty.
#[must_use]
pub fn backend_tls(protocols: &[&str]) -> Arc<ServerConfig> {
    let mut config = tls::server_config(tls::BACKENDS);
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A running proxy. Dropping it ends it at once, as a process that is killed.
#[derive(Debug)]
pub struct Proxy {
    task: JoinHandle<Result<bool, String>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Starts the proxy, as `baton run` does, with tables for [`REQUESTS_MAX`] requests. Each line
    /// that it logs from now on is passed to `log`.
    ///
    /// # Panics
    /// Outside of [`run`].
    #[must_use]
    pub fn start(mut config: ProxyConfig, source: Source, log: impl Fn(&str) + 'static) -> Self {
        make_small(&mut config);
        let source = source.changed(make_small);
        stage().machine.follow_log(log);
        let task = spawn(async move {
            let tasks = LocalSet::new();
            let drained = tasks.run_until(supervise(config, source)).await;
            let drained = drained.map_err(|error| error.to_string())?;
            if drained.is_some() {
                tracing::info!(target: "baton", "stopped");
            }
            Ok(drained.is_some())
        });
        Self { task }
    }

    /// Sends a signal to the proxy.
    ///
    /// # Panics
    /// Outside of [`run`].
    pub fn signal(&self, signal: Signal) {
        stage().machine.send_signal(signal);
    }

    /// Waits until it has ended. Returns true if all requests have ended before, false if it was
    /// stopped at once.
    ///
    /// # Errors
    /// Why it did not start.
    ///
    /// # Panics
    /// If it panicked.
    pub async fn ended(&mut self) -> Result<bool, String> {
        match (&mut self.task).await {
            Ok(ended) => ended,
            Err(error) => resume_unwind(error.into_panic()),
        }
    }
}

fn make_small(config: &mut ProxyConfig) {
    for cluster in &mut config.clusters {
        let limits = &mut cluster.pool.limits;
        limits.requests = limits.requests.min(REQUESTS_MAX);
        limits.waiting = limits.waiting.min(limits.requests);
    }
}

/// A socket of a peer that listens.
pub struct TcpListener(Listening);

impl TcpListener {
    /// Listens on an address. Port 0 lets the system choose.
    ///
    /// # Errors
    /// If the address is in use.
    ///
    /// # Panics
    /// If it is no address, and outside of [`run`].
    #[expect(clippy::unused_async, reason = "as the sockets of tokio")]
    pub async fn bind(address: impl ToString) -> io::Result<Self> {
        let address = address.to_string().parse().expect("an address with a port");
        stage().network.listen_with(address, false, BACKLOG).map(Self)
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// None; as the sockets of tokio.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0.local_addr())
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// None yet; as the sockets of tokio.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await.map(|(stream, peer)| (TcpStream(stream), peer))
    }
}

/// A connection of a peer. Dropping it closes it.
#[derive(Debug)]
pub struct TcpStream(Stream);

impl TcpStream {
    /// Connects to an address of the machine.
    ///
    /// # Errors
    /// If nothing listens there.
    ///
    /// # Panics
    /// Outside of [`run`].
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::connect_from(MACHINE, address).await
    }

    /// Connects from another address.
    ///
    /// # Errors
    /// As [`TcpStream::connect`].
    ///
    /// # Panics
    /// Outside of [`run`].
    pub async fn connect_from(from: IpAddr, address: SocketAddr) -> io::Result<Self> {
        stage().network.connect(from, address).await.map(Self)
    }

    /// The address of this end.
    ///
    /// # Errors
    /// If the connection is no more.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Does nothing: the simulated network never waits for more bytes.
    ///
    /// # Errors
    /// None; as the sockets of tokio.
    pub fn set_nodelay(&self, _on: bool) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
