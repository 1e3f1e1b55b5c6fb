//! A driver with real connections: an inconsistent pool, and health checks of backends.

use std::convert::Infallible;
use std::future::{Future, pending, ready};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::task::LocalSet;

use super::*;
use crate::config::difference::Difference;
use crate::pool::BackendState;
use crate::proxy::access_log::AccessLog;
use crate::proxy::backends::BackendIdentity;
use crate::proxy::client_limits::ClientLimits;
use crate::proxy::clusters::Clusters;
use crate::proxy::config::{
    AccessLogFormat, AccessLogSettings, HealthCheckKind, ProxyConfig, UpstreamTlsSettings,
};
use crate::proxy::downstream;
use crate::proxy::downstream::buffered::process::ProcessBuffered;
use crate::proxy::downstream::buffered::worker::WorkerBuffered;
use crate::proxy::downstream::listener::{Downstream, OpenConnections};
use crate::proxy::drain::Drain;
use crate::proxy::tls::Certificates;

/// Longer than any step of these tests takes.
const BOUND: Duration = Duration::from_secs(30);

type Body = BoxBody<Bytes, Infallible>;

async fn within<F: Future>(what: &str, future: F) -> F::Output {
    seams::timeout(BOUND, future).await.unwrap_or_else(|_| panic!("{what}: did not happen"))
}

fn listen() -> (seams::Listener, SocketAddr) {
    let listener = seams::listen("127.0.0.1:0".parse().expect("an address")).expect("a listener");
    listener.set_nonblocking(true).expect("a mode of the socket");
    let listener = seams::adopt(listener).expect("a runtime");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

/// Never answers `/hang`, never ends the body of `/begin`, and answers everything else at once.
async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let body = match request.uri().path() {
        "/hang" => pending().await,
        "/begin" => {
            let first = Frame::data(Bytes::from_static(b"begun"));
            let frames = stream::once(ready(Ok(first))).chain(stream::pending());
            BodyExt::boxed(StreamBody::new(frames))
        }
        _ => Full::new(Bytes::from_static(b"fine")).boxed(),
    };
    Ok(Response::new(body))
}

/// Starts an HTTP/1.1 backend.
fn backend() -> SocketAddr {
    let (listener, address) = listen();
    seams::spawn(async move {
        loop {
            let (stream, _) = seams::accept(&listener).await.expect("a connection");
            let builder = hyper::server::conn::http1::Builder::new();
            let connection = builder.serve_connection(TokioIo::new(stream), service_fn(answer));
            seams::spawn(async move {
                // An error is expected here: the other side closes the connection.
                let _ = connection.await;
            });
        }
    });
    address
}

fn settings(backend: SocketAddr) -> BackendSettings {
    let url = format!("http://{backend}").parse().expect("a URL");
    BackendSettings { url, weight: 1, tls: UpstreamTlsSettings::default() }
}

/// A worker without a thread of its own, and one backend to which it opens at most two connections.
struct Proxy {
    clusters: Rc<Clusters>,
    config: ProxyConfig,
    certificates: Certificates,
    address: SocketAddr,
}

impl Proxy {
    fn start() -> Self {
        let mut cluster = ClusterConfig::new("web");
        cluster.backends.push(settings(backend()));
        cluster.pool.limits.connections_per_backend = 2;
        // Request deadlines are longer than the test.
        cluster.pool.timeouts.queue = 2 * BOUND;
        cluster.pool.timeouts.response_head = 2 * BOUND;
        cluster.pool.timeouts.silence = 2 * BOUND;
        let route = crate::proxy::route::Route::everything("web");
        let config =
            ProxyConfig { clusters: vec![cluster], routes: vec![route], ..ProxyConfig::default() };
        let certificates = Certificates { listeners: Vec::new(), backends: vec![vec![None]] };
        let off = AccessLogSettings { format: AccessLogFormat::Off, file: None };
        let access_log = AccessLog::open(&off).expect("nothing to open");
        let clusters = Clusters::start(&config, &certificates, 1, access_log, Peers::default());
        let clusters = clusters.expect("the configuration is good");
        let (listener, address) = listen();
        let process = Arc::new(ProcessBuffered::new(1, u64::MAX));
        let buffered = WorkerBuffered::new(process, 0, clusters.telemetry().clock());
        let downstream = Downstream {
            buffered,
            clusters: Rc::clone(&clusters),
            address,
            tls: None,
            http2: true,
            draining: Drain::default(),
            open: Rc::<OpenConnections>::default(),
            limits: ClientLimits::default(),
            admission: Arc::default(),
        };
        seams::spawn(downstream::accept(Rc::new(RefCell::new(Rc::new(downstream))), listener));
        Self { clusters, config, certificates, address }
    }

    fn driver(&self) -> Rc<Driver> {
        Rc::clone(&self.clusters.drivers()[0])
    }

    /// Sends a GET on a new connection.
    async fn get(&self, path: &'static str) -> Response<Incoming> {
        let address = self.address;
        let stream = seams::connect(address).await;
        let io = TokioIo::new(stream.expect("it listens"));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(io).await.expect("nothing is exchanged yet");
        seams::spawn(async move {
            // The response reports the error.
            let _ = connection.await;
        });
        let request = Request::get(path).header("host", "front.test").body(Empty::<Bytes>::new());
        let response = sender.send_request(request.expect("a valid request"));
        within(path, response).await.expect("it is answered")
    }

    async fn until(&self, what: &str, holds: impl Fn(&crate::pool::Stats) -> bool) {
        within(what, async {
            while !holds(&self.driver().core.borrow().pool.stats()) {
                seams::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), test);
}

thread_local! {
    /// The errors that this thread has logged.
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Keeps errors for the thread that logs them. The subscriber is global: with a scoped one, a log
/// statement that another test reaches first, outside the scope, would stay disabled.
fn keep_errors() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::ERROR)
            .with_writer(|| Logged)
            .init();
        // Enables statements that another thread reached during `init`.
        tracing::callsite::rebuild_interest_cache();
    });
}

struct Logged;

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One response has begun, one request is sent, one waits. In the `baton` command the panic aborts
/// the process.
#[test]
fn an_inconsistent_pool_is_logged_with_its_state_and_panics() {
    keep_errors();
    run(async {
        let proxy = Rc::new(Proxy::start());
        let begun = proxy.get("/begin").await;
        assert_eq!(begun.status(), 200);
        for (number, path) in ["/hang", "/"].into_iter().enumerate() {
            let getting = Rc::clone(&proxy);
            seams::spawn(async move {
                getting.get(path).await;
            });
            proxy.until("it is there", |stats| stats.requests as usize == number + 2).await;
            if path == "/hang" {
                proxy.until("it is sent", |stats| stats.slots.in_use == 2).await;
            }
        }
        proxy.until("one waits", |stats| stats.waiting == 1).await;
        let driver = proxy.driver();
        driver.audit();
        assert!(!driver.snapshot().metrics.audit.sum().is_zero(), "a recount takes time");
        let consistent = driver.core.borrow().pool.clone();
        driver.core.borrow_mut().pool.miscount();
        let panic = catch_unwind(AssertUnwindSafe(|| driver.audit())).expect_err("it panics");
        let message = panic.downcast::<String>().expect("a formatted message");
        assert!(message.contains("web is inconsistent: requests on a retry"), "{message}");
        // The rest of the test drives the pool further.
        driver.core.borrow_mut().pool = consistent;
    });
    let text = String::from_utf8(LOGGED.take()).expect("text");
    let line = text.lines().find(|line| line.contains("pool inconsistent")).expect("it is logged");
    for part in
        ["ERROR", "cluster=\"web\"", "requests on a retry (", "requests=3", "requests_waiting=1"]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    for connection in ["b0/s0/g1 in_use ", "b0/s1/g1 in_use "] {
        assert!(line.contains(connection), "{line}");
    }
}

/// Health checks start and stop with the configuration only.
#[test]
fn a_configuration_turns_health_checks_on_and_off() {
    run(async {
        let mut proxy = Proxy::start();
        let health_checking =
            |proxy: &Proxy| proxy.driver().config(|config| config.health_checking);
        assert_eq!(health_checking(&proxy), crate::pool::HealthChecking::Off);
        let driver = proxy.driver();
        for (kind, expected) in [
            (HealthCheckKind::Http, crate::pool::HealthChecking::Ordered),
            (HealthCheckKind::Tcp, crate::pool::HealthChecking::Ordered),
            (HealthCheckKind::Off, crate::pool::HealthChecking::Off),
        ] {
            for _ in 0..2 {
                let before = proxy.config.clone();
                proxy.config.clusters[0].health_check.kind = kind;
                let difference = Difference::between(&before, &proxy.config);
                proxy.clusters.reconfigure(&proxy.config, &proxy.certificates, &difference);
                assert_eq!(health_checking(&proxy), expected);
            }
            if kind == HealthCheckKind::Http {
                within("a check is over", async {
                    while driver.snapshot().backends[0].metrics.health_checks == 0 {
                        seams::sleep(Duration::from_millis(1)).await;
                    }
                })
                .await;
            }
        }
        assert!(Rc::ptr_eq(&driver, &proxy.driver()), "it is the same pool");
    });
}

/// Workers apply a reload at different times.
#[test]
fn results_of_other_workers_count_for_the_same_backend_only() {
    run(async {
        let mut cluster = ClusterConfig::new("web");
        let here = settings("127.0.0.1:1".parse().expect("an address"));
        cluster.backends.push(here.clone());
        cluster.health_check.kind = HealthCheckKind::Tcp;
        cluster.pool.health.fall = 1;
        let config = ProxyConfig { clusters: vec![cluster], ..ProxyConfig::default() };
        let certificates = Certificates { listeners: Vec::new(), backends: vec![vec![None]] };
        let off = AccessLogSettings { format: AccessLogFormat::Off, file: None };
        let access_log = AccessLog::open(&off).expect("nothing to open");
        let workers: Vec<_> = (0..2).map(|_| tokio::sync::mpsc::unbounded_channel().0).collect();
        let peers = Peers::of(1, &workers);
        let clusters = Clusters::start(&config, &certificates, 1, access_log, peers);
        let clusters = clusters.expect("the configuration is good");
        let state = || clusters.drivers()[0].snapshot().backends[0].state;
        let elsewhere = settings("127.0.0.1:2".parse().expect("an address"));
        let mut named = here.clone();
        named.tls.name = Some("other".to_owned());
        let failed = |cluster: &str, backend: &BackendSettings| HealthCheckFound {
            cluster: cluster.to_owned(),
            backend: BackendIdentity::of(backend),
            failure: Some("no".into()),
        };
        for other in [failed("web", &elsewhere), failed("web", &named), failed("api", &here)] {
            clusters.health_check_found(&other);
            assert_eq!(state(), BackendState::Up, "{other:?}");
        }
        clusters.health_check_found(&failed("web", &here));
        assert_eq!(state(), BackendState::Down);
        let snapshot = clusters.drivers()[0].snapshot();
        let failure = snapshot.backends[0].last_health_check_failure.clone().expect("it failed");
        assert_eq!(failure.reason, "no");
        assert_eq!(snapshot.backends[0].metrics.health_checks, 0, "it ran no check itself");
    });
}
