//! The admin interface: metrics, state and orders, for operators and monitoring. It is plain
//! HTTP/1.1 without authentication, so it is meant for loopback. It runs on the main thread, not on
//! a worker, and asks the workers for copies of their state.

mod backends;
mod endpoints;
mod exposition;
mod families;
mod order;
pub(crate) mod pools;
mod process;
mod reloads;
mod reply;
pub mod report;
mod sums;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use http::{Request, StatusCode, request};
use http_body_util::Full;

use self::endpoints::{Endpoint, Missing};
use self::order::Parameters;
use self::reply::{Refused, Reply};
use crate::proxy::access_log::AccessLog;
use crate::proxy::control::{self, Command, Commands};
use crate::proxy::date::Dates;
use crate::proxy::drain::Drain;
use crate::proxy::http1_server::{Ended, Http1RequestBody, Server, Service};
use crate::proxy::limits::{
    ACCEPT_PAUSE, ADMIN_CONNECTION_TIMEOUT, ADMIN_CONNECTIONS_MAX, ADMIN_FIELDS_MAX,
    ADMIN_HEAD_BYTES_MAX, ADMIN_READ_TIMEOUT, WORKER_ANSWER_TIMEOUT,
};
use crate::proxy::linger;
use crate::proxy::operator::Order;
use crate::proxy::reload::counts::Counts;
use crate::proxy::reload::{self, Refusal, Trigger};
use crate::proxy::request_body::RequestBody;
use crate::proxy::seams::{self, Clock, Listener, ListeningSocket, NetworkStream};
use crate::proxy::snapshot::WorkerSnapshot;
use crate::wire::http1::{HeadLimits, Violation};

/// The parts of the process that the admin interface needs.
pub struct Process {
    /// The command channel of each worker.
    pub workers: Vec<Commands>,
    /// True once the proxy drains before it stops.
    pub draining: Drain,
    /// The access log, for the number of lines it dropped.
    pub access_log: AccessLog,
    /// The channel for reload requests.
    pub reloads: reload::Requests,
    /// Counts of reloads by outcome.
    pub reload_counts: Rc<Counts>,
}

/// Listens on an address. Port 0 lets the system choose.
///
/// # Errors
/// One line if the address is in use or cannot be listened on.
pub fn listen(wanted: SocketAddr) -> Result<ListeningSocket, String> {
    let failed = |error| format!("cannot listen on {wanted} (--admin): {error}");
    if wanted.port() != 0 {
        seams::check_unused(wanted).map_err(failed)?;
    }
    seams::listen(wanted).map_err(failed)
}

/// Starts to serve the admin interface on this thread's runtime. Warns if the address is not on
/// loopback.
///
/// # Errors
/// If the runtime refuses the listener.
pub fn start(listener: ListeningSocket, process: Process) -> io::Result<()> {
    let address = listener.local_addr()?;
    let listener = seams::adopt(listener)?;
    let admin = Admin::new(process);
    seams::spawn(Rc::new(admin).accept(listener));
    tracing::info!(target: "baton", %address, "admin listening");
    if !address.ip().is_loopback() {
        tracing::warn!(target: "baton", %address, "admin is not on loopback: anyone who can reach it can use it");
    }
    Ok(())
}

/// A worker's snapshot; an older one if the worker did not answer in time.
struct Answer {
    snapshot: Option<WorkerSnapshot>,
    in_time: bool,
}

struct Admin {
    process: Process,
    /// The last snapshot of each worker: counters must not fall when a worker is late.
    known: RefCell<Vec<Option<WorkerSnapshot>>>,
    connections: Cell<usize>,
    clock: Clock,
    dates: Dates,
}

/// Answers the requests of one connection.
struct AdminService(Rc<Admin>);

impl Service for AdminService {
    type Body = Full<Bytes>;
    type Answer = Pin<Box<dyn Future<Output = Reply>>>;

    fn answer(&self, request: Request<Option<Http1RequestBody>>) -> Self::Answer {
        let admin = Rc::clone(&self.0);
        Box::pin(async move {
            let answered = admin.answer(request.map(RequestBody::http1)).await;
            let reply = answered.unwrap_or_else(|(status, what)| reply::error(status, &what));
            admin.dated(reply)
        })
    }

    fn unserved(&self, _: request::Parts) {
        // An order of a client that has left is not carried out.
    }

    fn refuse(&self, violation: Violation) -> Reply {
        let status = match violation {
            Violation::HeadBytes | Violation::HeadFields => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            _ => StatusCode::BAD_REQUEST,
        };
        self.0.dated(reply::error(status, &violation.to_string()))
    }

    fn until_close(&self) {
        // The length of a reply is always known.
    }

    fn body_refused(&self, _: Violation) {
        // The order that the body belongs to is refused.
    }
}

impl Admin {
    fn new(process: Process) -> Self {
        let known = RefCell::new(vec![None; process.workers.len()]);
        let clock = Clock::start();
        Self { process, known, connections: Cell::new(0), clock, dates: Dates::new(clock) }
    }

    fn dated(&self, mut reply: Reply) -> Reply {
        self.dates.add(reply.headers_mut());
        reply
    }

    async fn accept(self: Rc<Self>, listener: Listener) {
        loop {
            match seams::accept(&listener).await {
                Ok((stream, _)) if self.connections.get() < ADMIN_CONNECTIONS_MAX => {
                    self.connections.set(self.connections.get() + 1);
                    seams::spawn(Rc::clone(&self).connection(stream));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(target: "baton", %error, "accept failed (admin)");
                    seams::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self: Rc<Self>, stream: NetworkStream) {
        let limits = HeadLimits { bytes: ADMIN_HEAD_BYTES_MAX, fields: ADMIN_FIELDS_MAX };
        let service = AdminService(Rc::clone(&self));
        let mut server = Server::new(stream, limits, self.clock, service);
        let served = async {
            if serve(&mut server).await == Some(Ended::Closing) {
                linger::close(&mut server.into_io()).await;
            }
        };
        // The client sees how the connection ended.
        let _ = seams::timeout(ADMIN_CONNECTION_TIMEOUT, served).await;
        self.connections.set(self.connections.get() - 1);
    }

    async fn answer(&self, request: Request<RequestBody>) -> Result<Reply, Refused> {
        let (head, body) = request.into_parts();
        let entry = match endpoints::find(&head.method, head.uri.path()) {
            Ok(entry) => entry,
            Err(Missing::Path) => {
                let text = format!("not found; expected {}", endpoints::names());
                return Err((StatusCode::NOT_FOUND, text));
            }
            Err(Missing::Method(allowed)) => {
                let text =
                    format!("this path allows only {allowed}; expected {}", endpoints::names());
                return Ok(reply::not_allowed(&allowed, &text));
            }
        };
        if entry.is_order() {
            order::admit(&head, body).await?;
        }
        let parameters = || {
            let read = Parameters::read(head.uri.query().unwrap_or_default(), entry.parameters);
            read.map_err(|what| (StatusCode::BAD_REQUEST, what))
        };
        let workers = &self.process.workers;
        Ok(match entry.endpoint {
            Endpoint::Contents => reply::text(StatusCode::OK, endpoints::contents()),
            Endpoint::Metrics => {
                let Process { access_log, reload_counts, .. } = &self.process;
                let text = families::encode(&self.ask_all().await, access_log, reload_counts);
                reply::typed(StatusCode::OK, exposition::CONTENT_TYPE, text)
            }
            Endpoint::Pools => {
                let text = pools::encode(&self.ask_all().await);
                reply::typed(StatusCode::OK, "application/json", text)
            }
            Endpoint::Ready if self.process.draining.is_ordered() => {
                reply::text(StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned())
            }
            Endpoint::Ready => reply::text(StatusCode::OK, "ready\n".to_owned()),
            Endpoint::Live => live(&self.ask_all().await),
            Endpoint::Backend => {
                backends::carry_out(workers, &parameters()?, |_| Ok(Order::Show)).await?
            }
            Endpoint::Reload => {
                parameters()?;
                self.reload().await?
            }
            Endpoint::Drain => {
                backends::carry_out(workers, &parameters()?, backends::drain).await?
            }
            Endpoint::Undrain => {
                backends::carry_out(workers, &parameters()?, |_| Ok(Order::Undrain)).await?
            }
            Endpoint::Weight => {
                backends::carry_out(workers, &parameters()?, backends::weight).await?
            }
        })
    }

    async fn reload(&self) -> Result<Reply, Refused> {
        let reloaded = reload::request(&self.process.reloads, Trigger::Admin).await;
        let report = reloaded.map_err(|failure| {
            let status = match failure.refusal {
                Refusal::Wrong => StatusCode::BAD_REQUEST,
                Refusal::NeedsRestart => StatusCode::CONFLICT,
                Refusal::Unavailable | Refusal::Unconfirmed => StatusCode::INTERNAL_SERVER_ERROR,
                Refusal::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, failure.reasons.join("\n"))
        })?;
        Ok(reply::json(StatusCode::OK, &report))
    }

    /// Asks all workers at once for snapshots, with one deadline for all.
    async fn ask_all(&self) -> Vec<Answer> {
        let answered =
            control::ask(&self.process.workers, WORKER_ANSWER_TIMEOUT, Command::Snapshot).await;
        let mut known = self.known.borrow_mut();
        let answers = answered.into_iter().zip(known.iter_mut()).map(|(answered, known)| {
            let in_time = answered.is_some();
            if in_time {
                known.clone_from(&answered);
            }
            Answer { snapshot: answered.or_else(|| known.clone()), in_time }
        });
        answers.collect()
    }
}

/// Serves a connection until it ends. `None` if no head arrives for too long.
async fn serve(server: &mut Server<NetworkStream, AdminService>) -> Option<Ended> {
    let facts = server.facts();
    loop {
        let (heads, is_busy) = (facts.heads_begun.get(), server.is_busy());
        let step = poll_fn(|context| match server.poll(context) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending => {
                let now = (facts.heads_begun.get(), server.is_busy());
                if now == (heads, is_busy) { Poll::Pending } else { Poll::Ready(None) }
            }
        });
        let ended = if is_busy {
            step.await
        } else {
            seams::timeout(ADMIN_READ_TIMEOUT, step).await.ok()?
        };
        if ended.is_some() {
            return ended;
        }
    }
}

fn live(answers: &[Answer]) -> Reply {
    let late: Vec<_> = (0..answers.len()).filter(|worker| !answers[*worker].in_time).collect();
    if late.is_empty() {
        return reply::text(StatusCode::OK, "live\n".to_owned());
    }
    let text = format!("no answer within {WORKER_ANSWER_TIMEOUT:?} from workers {late:?}\n");
    reply::text(StatusCode::SERVICE_UNAVAILABLE, text)
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;
    use crate::pool::{BackendConfig, Config, ConnectFailure, Input, Output, Pool};
    use crate::proxy::config::{AccessLogFormat, AccessLogSettings};
    use crate::proxy::metrics::{ClusterMetrics, WorkerMetrics};
    use crate::proxy::snapshot::{ClusterSnapshot, ConnectionsNow, RequestsNow};
    use tokio::sync::mpsc;

    /// A cluster whose pool received one stale fact and one impossible fact.
    fn cluster() -> ClusterSnapshot {
        let config = Config { backends: vec![BackendConfig::default()], ..Config::default() };
        let mut pool = Pool::new(config, 1).expect("valid");
        let now = crate::pool::Instant::ZERO;
        let _ = pool.handle(now, Input::RequestArrived { idempotent: true, has_body: false });
        let dialled = iter::from_fn(|| pool.poll_output()).find_map(|order| match order {
            Output::Connect { connection } => Some(connection),
            _ => None,
        });
        let connection = dialled.expect("the request causes a dial");
        let failed = Input::ConnectFailed { connection, reason: ConnectFailure::Tcp };
        for input in [Input::Pong { connection }, failed, Input::Pong { connection }] {
            let _ = pool.handle(now, input);
        }
        ClusterSnapshot {
            name: "web".to_owned(),
            fail_open: false,
            requests: RequestsNow::default(),
            connections: ConnectionsNow::default(),
            streams: 0,
            backends: Vec::new(),
            counters: pool.stats().counters,
            metrics: ClusterMetrics::new(),
        }
    }

    /// Answers the first query, and never answers the others.
    async fn answer_once(mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut kept = Vec::new();
        while let Some(command) = commands.recv().await {
            match command {
                Command::Snapshot(answer) if kept.is_empty() => {
                    let metrics = WorkerMetrics { clients_accepted: 7, ..WorkerMetrics::default() };
                    let _ = answer.send(WorkerSnapshot { metrics, clusters: vec![cluster()] });
                    kept.push(Command::Stop);
                }
                command @ (Command::Snapshot(_)
                | Command::HealthCheckFound(_)
                | Command::Backend(..)
                | Command::Reload(_)
                | Command::Drain
                | Command::Stop) => {
                    kept.push(command);
                }
            }
        }
    }

    /// The counters of a worker that does not answer stay at their last values.
    #[test]
    fn a_worker_that_does_not_answer_is_not_live() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let off = AccessLogSettings { format: AccessLogFormat::Off, file: None };
        let access_log = AccessLog::open(&off).expect("nothing to open");
        let (worker, commands) = mpsc::unbounded_channel();
        let (gone, _) = mpsc::unbounded_channel();
        let draining = Drain::default();
        let (reloads, _) = mpsc::unbounded_channel();
        let (workers, reload_counts) = (vec![worker, gone], Rc::default());
        let process = Process { workers, draining, access_log, reloads, reload_counts };
        let admin = Admin::new(process);
        tokio::task::LocalSet::new().block_on(&runtime, async {
            seams::spawn(answer_once(commands));
            let answers = admin.ask_all().await;
            assert_eq!(live(&answers).status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(answers[0].in_time && !answers[1].in_time, "the second worker has ended");
            let answers = admin.ask_all().await;
            assert!(
                !answers[0].in_time && !answers[1].in_time,
                "the first worker does not answer again"
            );
            let Process { access_log, reload_counts, .. } = &admin.process;
            let text = families::encode(&answers, access_log, reload_counts);
            assert!(text.contains("baton_worker_up{worker=\"0\"} 0\n"), "{text}");
            assert!(text.contains("baton_worker_up{worker=\"1\"} 0\n"), "{text}");
            assert!(text.contains("baton_client_connections_accepted_total 7\n"), "{text}");
            for name in ["baton_stale_facts_total", "baton_refused_facts_total"] {
                assert!(text.contains(&format!("{name}{{cluster=\"web\"}} 1\n")), "{text}");
            }
            let pools: serde_json::Value =
                serde_json::from_str(&pools::encode(&answers)).expect("JSON");
            assert_eq!(pools["workers"][1]["answered"], false);
        });
    }
}
