//! The HTTP/1.1 peers against each other, and each against bytes written by a test.

use std::cell::{Cell, RefCell};
use std::future::{Future, Ready, poll_fn, ready};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::http1_backend::{Accepted, Http1Backend};
use super::http1_client::Http1Client;
use crate::faults::{Family, Profile};
use crate::plan::{
    Act, BackendPlan, BackendWire, ClientPlan, Directive, Moment, Plan, RequestPlan, RequestWire,
    Span, When, WirePlan, WorldName,
};
use crate::proxy::hub::Hub;
use crate::proxy::ledger::{End, Execution, Received};

mod backend;
mod client;
mod orders;
mod together;

/// Nanoseconds of a millisecond.
const MILLISECOND: u64 = 1_000_000;

/// Runs a test in simulated time, in one thread.
fn simulate<T>(test: impl Future<Output = T>) -> T {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build_local(LocalOptions::default());
    runtime.expect("no resources are needed").block_on(test)
}

/// A plan with one client and one backend that takes 10 ms to work and 100 ms to answer.
fn plan(requests: Vec<RequestPlan>) -> Plan {
    let span = |time_us| Span { least_us: time_us, most_us: time_us };
    let backend = BackendPlan {
        http1: true,
        max_streams: None,
        settings_late_us: None,
        streams_per_connection: None,
        ping_strikes: None,
        work: span(10_000),
        body: span(100_000),
        spare: false,
        wire: BackendWire::default(),
    };
    Plan {
        requests,
        backends: vec![backend],
        directives: Vec::new(),
        deviations: Vec::new(),
        wire: WirePlan { clients: vec![ClientPlan::default()], ..WirePlan::default() },
        ..crate::faults::plan(1, Profile::Swarm, WorldName::Pool)
    }
}

/// A request at the start, without a body, that is answered with 100 bytes.
fn request(id: u32) -> RequestPlan {
    let wire = RequestWire { answer_bytes: 100, piece_bytes: 30, ..RequestWire::default() };
    RequestPlan { wire, ..RequestPlan::plain(id) }
}

/// A POST of 100 bytes in chunks over 100 ms, with trailers.
fn upload(id: u32) -> RequestPlan {
    let mut request = RequestPlan { idempotent: false, body_us: Some(100_000), ..request(id) };
    request.wire.body_bytes = 100;
    request.wire.chunked = true;
    request.wire.trailers = true;
    request
}

fn directive(when: When, after_us: u64, act: Act) -> Directive {
    Directive { family: Family::Cancel, when, after_us, act }
}

fn at_stream(stream: u32, moment: Moment) -> When {
    When::Stream { backend: 0, connection: 1, stream, moment }
}

/// One end of a connection that can be reset.
struct Pipe {
    io: DuplexStream,
    reset: Rc<Cell<bool>>,
}

impl Pipe {
    /// Both ends, with room for so many bytes in each direction.
    fn pair(room: usize) -> (Self, Self) {
        let (near, far) = tokio::io::duplex(room);
        let reset = Rc::new(Cell::new(false));
        (Self { io: near, reset: Rc::clone(&reset) }, Self { io: far, reset })
    }

    fn check(&self) -> io::Result<()> {
        if self.reset.get() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

type Dial = Accepted<Ready<io::Result<Pipe>>>;

/// The way from a client to a backend.
struct Path {
    room: usize,
    dials: UnboundedSender<Dial>,
    accepted: RefCell<UnboundedReceiver<Dial>>,
}

impl Path {
    fn new(room: usize) -> Rc<Self> {
        let (dials, accepted) = unbounded_channel();
        Rc::new(Self { room, dials, accepted: RefCell::new(accepted) })
    }

    fn dial(&self, number: u32) -> io::Result<Pipe> {
        let (near, far) = Pipe::pair(self.room);
        let reset = Rc::clone(&near.reset);
        let reset = Box::new(move || reset.set(true));
        let dial = Accepted { number, opening: ready(Ok(far)), reset };
        self.dials.send(dial).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(near)
    }

    /// The backend serves whatever is dialled. Never returns.
    async fn lead_to(&self, backend: &Http1Backend) {
        let mut serving = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(()) = serving.next(), if !serving.is_empty() => {}
                Some(dial) = poll_fn(|context| self.accepted.borrow_mut().poll_recv(context)) => serving.push(backend.connection(dial)),
            }
        }
    }
}

/// A run that has ended.
struct Ran {
    hub: Rc<Hub>,
    /// The time of its end.
    at: u64,
}

impl Ran {
    /// The run ends now.
    fn end(hub: Rc<Hub>) -> Self {
        Self { at: hub.now(), hub }
    }

    /// How a request ended.
    fn received(&self, request: u32) -> Received {
        let all = self.hub.ledger.received();
        let mut ends = all.into_iter().filter(|(id, _)| *id == request).map(|(_, end)| end);
        let (end, another) = (ends.next(), ends.next());
        assert_eq!(another, None, "request {request} ended twice");
        end.unwrap_or_else(|| panic!("request {request} has not ended"))
    }

    /// The executions of a request.
    fn executions(&self, request: u32) -> Vec<Execution> {
        let mut all = self.hub.ledger.executions();
        all.retain(|execution| execution.request == request);
        all
    }

    /// The execution of a request that was executed once.
    fn execution(&self, request: u32) -> Execution {
        let executions = self.executions(request);
        assert_eq!(executions.len(), 1, "{executions:?}");
        executions[0].clone()
    }

    /// Checks that the response to a request is what its execution produced.
    fn check_complete(&self, request: u32) {
        let (received, execution) = (self.received(request), self.execution(request));
        assert_eq!(received.end, End::Complete, "{received:?}");
        let answer = execution.answer.expect("it was answered");
        assert!(answer.ended.is_some(), "{answer:?}");
        assert_eq!(received.status, Some(answer.status));
        assert_eq!(received.body.length, answer.length, "{received:?}");
        assert_eq!(received.body.wrong_at, None, "{received:?}");
        assert_eq!(received.trailer.is_some(), answer.trailers, "{received:?}");
        assert_eq!(execution.body.wrong_at, None, "{execution:?}");
    }

    fn check_no_faults(&self) {
        assert_eq!(self.hub.ledger.faults(), Vec::<String>::new());
    }
}

/// Runs the client of a plan against the backend of the plan, `beside` another task.
fn run_beside<Beside>(
    plan: Plan,
    room: usize,
    beside: impl FnOnce(Rc<Hub>, Rc<Http1Backend>) -> Beside,
) -> Ran
where
    Beside: Future<Output = ()>,
{
    simulate(async {
        let hub = Hub::start(plan);
        let (path, backend) = (Path::new(room), Http1Backend::new(&hub, 0));
        let client = Http1Client::new(&hub, 0, |number| ready(path.dial(number)));
        let work = async {
            client.run().await;
            client.close().await;
        };
        let beside = beside(Rc::clone(&hub), Rc::clone(&backend));
        tokio::select! {
            biased;
            () = path.lead_to(&backend) => unreachable!("it serves for ever"),
            ((), ()) = async { tokio::join!(work, beside) } => {}
        }
        Ran::end(hub)
    })
}

/// Runs the client of a plan against the backend of the plan.
fn run(plan: Plan) -> Ran {
    run_beside(plan, 1 << 16, |_, _| ready(()))
}
