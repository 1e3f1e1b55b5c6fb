//! The common parts of the tests of backends: a run without a proxy, and a client that speaks to a
//! backend frame by frame.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, Request};
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::time::timeout;

use super::frames::{Fields, Frame, FrameReader, FrameWriter, ReadError};
use super::http2_backend::Http2Backend;
use super::service::Incoming;
use crate::faults::Family;
use crate::plan::{
    Act, BackendPlan, BackendWire, Directive, Framing, Moment, Plan, RequestPlan, RequestWire,
    Span, When,
};
use crate::proxy::content::{Body, Seen};
use crate::proxy::exact::spawn;
use crate::proxy::exact::{self, sleep};
use crate::proxy::hub::{Hub, Order, Target};
use crate::proxy::ledger::{EXECUTION, Execution, TRAILER, path, trailer};

const PLAN: &str = "(
    format: 1, origin: \"\", seed: 1,
    pool: (),
    network: (
        wire: (least_us: 1, most_us: 1), shell: (least_us: 0, most_us: 0),
        timer: (least_us: 0, most_us: 0), dial: (least_us: 1, most_us: 1),
        dead_path_us: 1, ties: Fifo,
    ),
    backends: [(
        http1: false, max_streams: None, settings_late_us: None, streams_per_connection: None,
        ping_strikes: None, work: (least_us: 0, most_us: 0), body: (least_us: 0, most_us: 0),
    )],
    requests: [], directives: [], deviations: [],
    heal: (at_us: 0, backends: [Well]),
)";

/// Runs a test in simulated time.
pub(super) fn simulate(test: impl AsyncFnOnce()) {
    exact::run(test());
}

/// A plan with one backend and requests without bodies, whose ids are those of their places.
pub(super) fn plan() -> Plan {
    let mut plan = crate::plan::read(PLAN).expect("a plan");
    plan.requests = (0..8).map(request).collect();
    plan
}

/// A request without a body, whose answer has 10 bytes.
pub(super) fn request(id: u32) -> RequestPlan {
    let wire = RequestWire { answer_bytes: 10, ..RequestWire::default() };
    RequestPlan { wire, ..RequestPlan::plain(id) }
}

/// A request with a body.
pub(super) fn upload(id: u32, body_bytes: u32) -> RequestPlan {
    let plain = request(id);
    RequestPlan { body_us: Some(1), wire: RequestWire { body_bytes, ..plain.wire }, ..plain }
}

pub(super) fn span(time_us: u64) -> Span {
    Span { least_us: time_us, most_us: time_us }
}

pub(super) fn window(window: u32) -> BackendWire {
    BackendWire { window, ..BackendWire::default() }
}

/// Lets everything happen that takes no time.
pub(super) async fn settle() {
    sleep(Duration::from_millis(2)).await;
}

/// A backend that the library serves.
pub(super) fn library() -> BackendWire {
    BackendWire { by_library: true, ..BackendWire::default() }
}

/// Requests whose answers have every form.
pub(super) fn every_form() -> Vec<RequestPlan> {
    let wire = |number: u32| RequestWire {
        answer_bytes: [0, 10, 70_000][number as usize % 3],
        framing: if number.is_multiple_of(2) { Framing::Length } else { Framing::Chunked },
        answer_trailers: number % 5 == 1,
        piece_bytes: [0, 700, 3_000][(number / 3) as usize % 3],
        ..RequestWire::default()
    };
    let plan = |id| RequestPlan { informational: (id % 3) as u8, wire: wire(id), ..request(id) };
    (0..30).map(plan).collect()
}

/// Sends the requests of [`every_form`] by the `h2` library, and checks the answers and what is
/// recorded of them.
pub(super) async fn check_every_form(wire: BackendWire) {
    let mut plan = Plan { requests: every_form(), ..plan() };
    plan.backends[0].work = span(3_000);
    plan.backends[0].body = span(20_000);
    plan.backends[0].wire = wire;
    let scene = Scene::new(plan);
    let (client, connection) = h2::client::handshake(scene.connect(1 << 20)).await.expect("up");
    spawn(async { drop(connection.await) });
    for plan in every_form() {
        let mut client = client.clone().ready().await.expect("ready");
        let request = Request::get(format!("http://a{}", path(plan.id)));
        let request = request.body(()).expect("a request");
        let (response, _) = client.send_request(request, true).expect("sent");
        let (head, mut body) = response.await.expect("a response").into_parts();
        let execution = scene.hub.ledger.executions().len() as u32 - 1;
        assert_eq!(head.status, 200);
        assert_eq!(head.headers[EXECUTION], execution.to_string());
        let length = head.headers.get("content-length").map(|value| value.to_str().unwrap());
        let stated = plan.wire.answer_bytes.to_string();
        let has_length = plan.wire.framing == Framing::Length;
        assert_eq!(length, has_length.then_some(stated.as_str()));
        let mut seen = Seen::NOTHING;
        while let Some(data) = body.data().await {
            let data = data.expect("data");
            body.flow_control().release_capacity(data.len()).expect("released");
            seen.read(Body::Response(execution), &data);
        }
        let length = u64::from(plan.wire.answer_bytes);
        assert_eq!(seen, Seen { length, wrong_at: None }, "{plan:?}");
        let trailers = body.trailers().await.expect("the end");
        let value = trailers.map(|trailers| trailers[TRAILER].to_str().unwrap().to_owned());
        let trailers = plan.wire.answer_trailers;
        assert_eq!(value, trailers.then(|| trailer(Body::Response(execution))));
        let record = scene.hub.ledger.executions().remove(execution as usize);
        let answer = record.answer.expect("an answer");
        assert_eq!((answer.status, answer.length, answer.ended.is_some()), (200, length, true));
        assert_eq!(answer.trailers, trailers);
        assert_eq!((record.stream, record.trailer), (plan.id + 1, None));
        assert!(record.body_ended && !record.disowned);
    }
    assert_eq!(scene.faults(), [""; 0]);
}

/// Sends bodies by the `h2` library into small windows, and checks what is recorded of them.
pub(super) async fn check_uploads(wire: BackendWire) {
    let mut plan = Plan { requests: vec![upload(0, 50_000), upload(1, 200_000)], ..plan() };
    plan.backends[0].wire = wire;
    let scene = Scene::new(plan);
    let (client, connection) = h2::client::handshake(scene.connect(1 << 20)).await.expect("up");
    spawn(async { drop(connection.await) });
    settle().await;
    for (id, length) in [(0, 50_000), (1, 200_000)] {
        let mut client = client.clone().ready().await.expect("ready");
        let uri = format!("http://a{}", path(id));
        let request = Request::post(uri).header("content-length", length);
        let request = request.body(()).expect("a request");
        let (response, mut body) = client.send_request(request, false).expect("sent");
        body.send_data(Body::Request(id).piece(0, length), false).expect("sent");
        let mut trailers = HeaderMap::new();
        trailers.insert(TRAILER, trailer(Body::Request(id)).parse().unwrap());
        body.send_trailers(trailers).expect("sent");
        assert_eq!(response.await.expect("a response").status(), 200);
        let record = scene.hub.ledger.executions().remove(id as usize);
        assert_eq!(record.body, Seen { length: length as u64, wrong_at: None });
        assert_eq!(record.trailer, Some(trailer(Body::Request(id))));
    }
    assert_eq!(scene.faults(), [""; 0]);
}

/// A run with one backend.
pub(super) struct Scene {
    pub(super) hub: Rc<Hub>,
    pub(super) backend: Http2Backend,
    connections: Cell<u32>,
    resets: Rc<Cell<u32>>,
}

impl Scene {
    pub(super) fn new(plan: Plan) -> Self {
        let hub = Hub::start(plan);
        let backend = Http2Backend::new(&hub, 0);
        Self { hub, backend, connections: Cell::new(0), resets: Rc::default() }
    }

    /// With another backend.
    pub(super) fn with(change: impl FnOnce(&mut BackendPlan)) -> Self {
        let mut plan = plan();
        change(&mut plan.backends[0]);
        Self::new(plan)
    }

    /// With these requests, and the number of bytes in each piece of their bodies.
    pub(super) fn requests(requests: &[RequestPlan]) -> Self {
        Self::new(Plan { requests: requests.to_vec(), ..plan() })
    }

    /// Connects; the number of the connection is the next one.
    pub(super) fn connect(&self, buffer: usize) -> DuplexStream {
        let (own, io) = duplex(buffer);
        self.connections.set(self.connections.get() + 1);
        let number = self.connections.get();
        let orders = self.hub.mailbox(Target::Backend(0, number));
        let resets = Rc::clone(&self.resets);
        let reset = Some(Box::new(move || resets.set(resets.get() + 1)) as Box<dyn FnOnce()>);
        self.hub
            .reached(When::Dialled { backend: 0, connection: number }, Target::Backend(0, number));
        self.backend.accept(Incoming { io, number, orders, reset });
        own
    }

    /// Connects and exchanges SETTINGS.
    pub(super) async fn client(&self) -> Client {
        let mut client = Client::new(self.connect(1 << 20));
        client.writer.preface();
        client.writer.settings(&[]);
        client.flush().await;
        client.expect_settings().await;
        client.writer.settings_ack();
        client.flush().await;
        assert_eq!(client.next().await, Some(Frame::SettingsAck));
        client
    }

    /// Orders something of the first connection.
    pub(super) fn order(&self, act: Act) {
        let target = Target::Backend(0, 1);
        self.hub.pass_on(target, Order { act, target });
    }

    /// Orders something of a stream of the first connection.
    pub(super) fn order_stream(&self, number: u32, act: Act) {
        let target = Target::Stream(0, 1, number);
        self.hub.pass_on(target, Order { act, target });
    }

    /// The only execution.
    pub(super) fn execution(&self) -> Execution {
        let mut executions = self.hub.ledger.executions();
        assert_eq!(executions.len(), 1);
        executions.remove(0)
    }

    /// How often the backend broke a connection.
    pub(super) fn resets(&self) -> u32 {
        self.resets.get()
    }

    pub(super) fn faults(&self) -> Vec<String> {
        self.hub.ledger.faults()
    }
}

/// A directive about the first stream of the first connection.
pub(super) fn directive(moment: Moment, act: Act) -> Directive {
    let when = When::Stream { backend: 0, connection: 1, stream: 1, moment };
    Directive { family: Family::NeverCloses, when, after_us: 0, act }
}

/// The other end of a connection, frame by frame.
pub(super) struct Client {
    pub(super) reader: FrameReader<ReadHalf<DuplexStream>>,
    pub(super) writer: FrameWriter,
    io: WriteHalf<DuplexStream>,
}

impl Client {
    pub(super) fn new(io: DuplexStream) -> Self {
        let (read, io) = split(io);
        Self { reader: FrameReader::new(read), writer: FrameWriter::new(), io }
    }

    /// Sends what was written.
    pub(super) async fn flush(&mut self) {
        let bytes = self.writer.take();
        self.send(&bytes).await;
    }

    /// Sends bytes.
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.expect("written");
    }

    /// The next frame; `None` at the end of the connection.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        match timeout(Duration::from_secs(3_600), self.reader.next()).await.expect("a frame") {
            Ok(frame) => frame,
            Err(ReadError::Broken) => None,
            Err(error) => panic!("{error:?}"),
        }
    }

    /// The frames that arrive in some time.
    pub(super) async fn frames_in(&mut self, time: Duration) -> Vec<Frame> {
        let mut frames = Vec::new();
        let _ = timeout(time, async {
            while let Some(frame) = self.next().await {
                frames.push(frame);
            }
        })
        .await;
        frames
    }

    /// The frames that arrive without delay.
    pub(super) async fn frames(&mut self) -> Vec<Frame> {
        self.frames_in(Duration::from_millis(2)).await
    }

    pub(super) async fn expect_settings(&mut self) -> Vec<(u16, u32)> {
        match self.next().await {
            Some(Frame::Settings(settings)) => settings,
            other => panic!("{other:?} instead of SETTINGS"),
        }
    }

    /// Sends the head of a request.
    pub(super) async fn request(&mut self, stream: u32, id: u32, end: bool) {
        self.writer.headers(stream, &head("GET", &path(id)), end);
        self.flush().await;
    }

    /// Sends a part of a request's body.
    pub(super) async fn body(&mut self, stream: u32, id: u32, from: u64, length: usize, end: bool) {
        let data = Body::Request(id).piece(from, length);
        self.writer.data(stream, &data, end);
        self.flush().await;
    }

    /// The error code and last id of the next GOAWAY, and what came before it.
    pub(super) async fn go_away(&mut self) -> (u32, u32, Vec<Frame>) {
        let mut before = Vec::new();
        loop {
            match self.next().await.expect("GOAWAY") {
                Frame::GoAway { last, code } => return (last, code, before),
                frame => before.push(frame),
            }
        }
    }
}

/// The head of a request.
pub(super) fn head(method: &str, path: &str) -> Fields {
    let fields = Fields::new().with(":method", method).with(":scheme", "http");
    fields.with(":path", path).with(":authority", "a")
}

/// The statuses of the heads on a stream.
pub(super) fn statuses(frames: &[Frame], id: u32) -> Vec<u16> {
    let heads = frames.iter().filter_map(|frame| match frame {
        Frame::Headers { stream, fields, .. } if *stream == id => fields.status(),
        _ => None,
    });
    heads.collect()
}

/// The body on a stream, and the number of its DATA frames.
pub(super) fn body(frames: &[Frame], id: u32) -> (Vec<u8>, usize) {
    let pieces = frames.iter().filter_map(|frame| match frame {
        Frame::Data { stream, data, .. } if *stream == id => Some(data.to_vec()),
        _ => None,
    });
    let pieces: Vec<Vec<u8>> = pieces.collect();
    (pieces.concat(), pieces.len())
}

/// True if a stream has ended.
pub(super) fn ended(frames: &[Frame], id: u32) -> bool {
    frames.iter().any(|frame| match frame {
        Frame::Headers { stream, end, .. } | Frame::Data { stream, end, .. } => {
            *stream == id && *end
        }
        _ => false,
    })
}

/// The code with which a stream was reset.
pub(super) fn reset_code(frames: &[Frame], id: u32) -> Option<u32> {
    frames.iter().find_map(|frame| match frame {
        Frame::Reset { stream, code } if *stream == id => Some(*code),
        _ => None,
    })
}
