//! One request at an HTTP/2 backend: what was received, what the backend answers, and the record of
//! both in the ledger.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::frames::Fields;
use super::service::Service;
use crate::draw::Domain;
use crate::plan::{Framing, Moment, RequestPlan, Span, When};
use crate::proxy::content::{Body, Seen};
use crate::proxy::hub::Target;
use crate::proxy::ledger::{Answer, EXECUTION, Execution, TRAILER, request_of, trailer};

/// The service of gRPC that health checks call.
const GRPC_HEALTH: &str = "/grpc.health.v1.Health/Check";
/// `HealthCheckResponse` with SERVING and NOT_SERVING, each after its prefix.
const GRPC_ANSWERS: [[u8; 7]; 2] = [[0, 0, 0, 0, 2, 8, 2], [0, 0, 0, 0, 2, 8, 1]];

/// The purpose of each draw of an exchange.
#[derive(Clone, Copy)]
pub(crate) enum Choice {
    Work = 0,
    Body = 1,
    /// The end of a body comes with its last DATA, or alone.
    EndAlone = 2,
    /// A response whose request goes on is followed by RST_STREAM.
    ResetsRest = 3,
    /// The body is written along with the head.
    Along = 4,
    /// An empty DATA before a piece; the number of the piece is added.
    EmptyData = 5,
    /// Trailers come later than the last byte takes to arrive.
    TrailersLate = 20,
    /// The frames in which the pieces of the body are written.
    Crumbs = 32,
}

/// The least bytes of a body that is written in very many frames, and their number: more than the
/// empty ones that the proxy tolerates.
const CRUMBLED_BYTES: u64 = 700;
const CRUMBS: u64 = 700;

/// A request at a backend.
pub(crate) struct Exchange {
    service: Rc<Service>,
    connection: u32,
    /// The number of the request on its connection, from 1; 0 for a health check.
    stream: u32,
    /// The key of its draws.
    key: u64,
    /// Its id; `None` for a health check.
    request: Option<u32>,
    plan: RequestPlan,
    path: String,
    answers_head: bool,
    execution: Cell<Option<u32>>,
    seen: Cell<Seen>,
    half_read: Cell<bool>,
    ended: Cell<bool>,
    status: Cell<u16>,
    head_written: Cell<bool>,
}

/// An answer that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    /// 1xx heads before the head.
    pub(crate) informational: Vec<Fields>,
    /// The head.
    pub(crate) head: Fields,
    /// The contents of the body.
    pub(crate) body: Contents,
    /// Bytes of the body.
    pub(crate) length: u64,
    /// Bytes of each piece.
    pub(crate) piece: u64,
    /// Time from the head to the end.
    pub(crate) time: Duration,
    pub(crate) trailers: Option<Fields>,
}

impl Script {
    /// True if the head ends the answer.
    pub(crate) fn ends_at_once(&self) -> bool {
        self.length == 0 && self.trailers.is_none() && self.time.is_zero()
    }
}

/// The bytes of an answer's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Those of an execution.
    Of(Body),
    /// Others.
    Fixed(Vec<u8>),
}

impl Contents {
    /// The bytes from a place on.
    pub(crate) fn piece(&self, from: u64, length: usize) -> bytes::Bytes {
        match self {
            Self::Of(body) => body.piece(from, length),
            Self::Fixed(bytes) => bytes.iter().skip(from as usize).take(length).copied().collect(),
        }
    }
}

impl Exchange {
    /// A request whose head was read.
    pub(crate) fn new(
        service: &Rc<Service>,
        connection: u32,
        stream: u32,
        head: (&str, &str),
    ) -> Self {
        let (method, path) = head;
        let request = request_of(path);
        let named = |plan: &&RequestPlan| Some(plan.id) == request;
        let plan = service.hub.plan.requests.iter().find(named).copied();
        let backend = u64::from(service.backend) << 48;
        let key = request.map_or(1 << 47 | u64::from(connection) << 24, u64::from);
        Self {
            service: Rc::clone(service),
            connection,
            stream,
            key: backend | key,
            request,
            // A recovery request or a health check is not in the plan of the run.
            plan: plan.unwrap_or(RequestPlan::plain(0)),
            path: path.to_owned(),
            answers_head: method == "HEAD",
            execution: Cell::new(None),
            seen: Cell::new(Seen::NOTHING),
            half_read: Cell::new(false),
            ended: Cell::new(false),
            status: Cell::new(200),
            head_written: Cell::new(false),
        }
    }

    /// The number of the request on its connection; 0 for a health check.
    pub(crate) fn number(&self) -> u32 {
        self.stream
    }

    /// The id of the request; `None` for a health check.
    pub(crate) fn request(&self) -> Option<u32> {
        self.request
    }

    /// True if the backend answers before the request has ended.
    pub(crate) fn answers_early(&self) -> bool {
        self.plan.early_response
    }

    /// True once the end of the request was read.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// True once the final head was written.
    pub(crate) fn has_written_head(&self) -> bool {
        self.head_written.get()
    }

    /// The answer has this status.
    pub(crate) fn set_status(&self, status: u16) {
        self.status.set(status);
    }

    /// A moment is reached.
    pub(crate) fn reached(&self, moment: Moment) {
        let Some(request) = self.request else { return };
        let target = Target::Stream(self.service.backend, self.connection, self.stream);
        for when in self.moments(request, moment) {
            self.service.hub.reached(when, target);
        }
    }

    /// True if a directive waits for this moment.
    pub(crate) fn is_awaited(&self, moment: Moment) -> bool {
        let hub = &self.service.hub;
        self.request.is_some_and(|request| {
            self.moments(request, moment).into_iter().any(|when| hub.is_awaited(when))
        })
    }

    fn moments(&self, request: u32, moment: Moment) -> [When; 2] {
        let (backend, connection, stream) = (self.service.backend, self.connection, self.stream);
        [When::Stream { backend, connection, stream, moment }, When::Request { request, moment }]
    }

    /// The request reaches the application.
    pub(crate) fn execute(&self) {
        let Some(request) = self.request else { return };
        let execution = self.service.hub.ledger.execute(Execution {
            request,
            backend: self.service.backend,
            connection: self.connection,
            stream: self.stream,
            at: self.service.hub.now(),
            body: Seen::NOTHING,
            body_ended: false,
            trailer: None,
            disowned: false,
            answer: None,
        });
        self.execution.set(Some(execution));
    }

    fn update(&self, change: impl FnOnce(&mut Execution)) {
        if let Some(execution) = self.execution.get() {
            self.service.hub.ledger.update(execution, change);
        }
    }

    /// Part of the request's body was read.
    pub(crate) fn read(&self, bytes: &[u8]) {
        let Some(request) = self.request else { return };
        let mut seen = self.seen.get();
        seen.read(Body::Request(request), bytes);
        self.seen.set(seen);
        self.update(|execution| execution.body = seen);
        if !bytes.is_empty() && seen.length >= u64::from(self.plan.wire.body_bytes / 2) {
            self.reach_half();
        }
    }

    fn reach_half(&self) {
        if self.plan.body_us.is_some() && !self.half_read.replace(true) {
            self.reached(Moment::HalfSent);
        }
    }

    /// The end of the request was read.
    pub(crate) fn read_end(&self, trailers: Option<&Fields>) {
        self.ended.set(true);
        let value = trailers.and_then(|fields| fields.get(TRAILER)).map(str::to_owned);
        self.update(|execution| {
            execution.body_ended = true;
            execution.trailer = value;
        });
        self.reach_half();
        self.reached(Moment::Sent);
    }

    /// The backend states that it has not processed the request.
    pub(crate) fn disown(&self) {
        self.update(|execution| execution.disowned = true);
    }

    /// The final head was written.
    pub(crate) fn wrote_head(&self, status: u16, trailers: bool) {
        self.head_written.set(true);
        let answer = Answer::begun(status, trailers, self.service.hub.now());
        self.update(|execution| execution.answer = Some(answer));
        self.reached(Moment::Answered);
    }

    /// Part of the body was written.
    pub(crate) fn wrote(&self, length: u64) {
        let now = self.service.hub.now();
        self.update(|execution| {
            if let Some(answer) = &mut execution.answer {
                answer.wrote(length, now);
            }
        });
    }

    /// The next part of the body waits for a window, or no longer does.
    pub(crate) fn waits(&self, waits: bool) {
        self.update(|execution| {
            if let Some(answer) = &mut execution.answer {
                answer.waits = waits;
            }
        });
    }

    /// The end was written.
    pub(crate) fn wrote_end(&self) {
        let now = self.service.hub.now();
        self.update(|execution| {
            if let Some(answer) = &mut execution.answer {
                answer.ended = Some(now);
            }
        });
        self.reached(Moment::Ended);
    }

    fn draw(&self, choice: u64, least: u64, most: u64) -> u64 {
        self.service.hub.draws.between(Domain::Http2Answers, self.key, choice, least, most)
    }

    /// True with a chance of one in `of`.
    pub(crate) fn chance(&self, choice: Choice, ordinal: u64, of: u64) -> bool {
        self.draw(choice as u64 + ordinal, 0, of - 1) == 0
    }

    /// The largest payload of the frames in which a piece of a body is written: sometimes a piece
    /// is two frames, and rarely a body is very many.
    pub(crate) fn crumb(&self, body: u64, piece: usize) -> usize {
        match self.draw(Choice::Crumbs as u64, 0, 127) {
            0..=1 if body >= CRUMBLED_BYTES => (body / CRUMBS) as usize,
            2..=33 => piece.div_ceil(2).max(1),
            _ => usize::MAX,
        }
    }

    fn time(&self, choice: Choice, span: Span) -> Duration {
        let hub = &self.service.hub;
        Duration::from_nanos(hub.delay(Domain::Http2Answers, self.key, choice as u64, span))
    }

    /// Time before the head.
    pub(crate) fn work(&self) -> Duration {
        self.time(Choice::Work, self.service.plan.work)
    }

    /// The answer as it is to be written now; `None` if there is none.
    pub(crate) fn script(&self) -> Option<Script> {
        let Some(execution) = self.execution.get() else { return self.health_script() };
        let wire = self.plan.wire;
        let status = self.status.get();
        let without_body = self.answers_head || status == 204 || status == 304;
        let length = if without_body { 0 } else { u64::from(wire.answer_bytes) };
        let mut head = Fields::new().with(":status", status.to_string());
        head = head.with(EXECUTION, execution.to_string());
        if wire.framing == Framing::Length && !without_body {
            head = head.with("content-length", length.to_string());
        }
        let body = Body::Response(execution);
        let trailers = (wire.answer_trailers && !without_body)
            .then(|| Fields::new().with(TRAILER, trailer(body)));
        let early = Fields::new().with(":status", "103").with("link", "</style.css>; rel=preload");
        Some(Script {
            informational: vec![early; usize::from(self.plan.informational)],
            head,
            body: Contents::Of(body),
            length,
            piece: if wire.piece_bytes == 0 { length } else { u64::from(wire.piece_bytes) },
            time: self.time(Choice::Body, self.service.plan.body),
            trailers,
        })
    }

    fn health_script(&self) -> Option<Script> {
        let passed = self.service.health_check()?;
        let grpc = self.path == GRPC_HEALTH;
        let status = if passed || grpc { "200" } else { "503" };
        let mut head = Fields::new().with(":status", status);
        let mut body = Vec::new();
        let mut trailers = None;
        if grpc {
            head = head.with("content-type", "application/grpc");
            body.extend_from_slice(&GRPC_ANSWERS[usize::from(passed)]);
            trailers = Some(Fields::new().with("grpc-status", "0"));
        }
        let length = body.len() as u64;
        Some(Script {
            informational: Vec::new(),
            head,
            body: Contents::Fixed(body),
            length,
            piece: length,
            time: Duration::ZERO,
            trailers,
        })
    }
}
