//! Names of things in the story, and descriptions of events.

use std::collections::BTreeMap;

use baton::pool::{
    BackendToken, ConnectionToken, FailedAttempt, Handled, Input, Outcome, Output, RequestId,
    Setting, ShutdownCause, SlotView, StreamFailure, StreamToken,
};

use crate::plan::Plan;
#[cfg(feature = "proxy")]
use crate::plan::WorldName;
#[cfg(feature = "proxy")]
use crate::proxy::ledger::RECOVERY;
use crate::trace::{Trace, TracedFact};
use crate::world::{DownFrame, UpFrame};

/// A slot in use, as shown to people.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Slot {
    /// The connection's name.
    pub name: String,
    /// The slot in the pool's table.
    pub slot: u16,
    /// The generation.
    pub generation: u32,
    /// The state.
    pub state: &'static str,
    /// Streams in use.
    pub streams: u32,
    /// Stream limit.
    pub limit: u32,
}

/// Names as people write them: `r3` is a request by its id in the plan, `b0#2` the second
/// connection of backend 0, `b0#2/s1` its first stream.
pub(super) struct Names<'a> {
    plan: &'a Plan,
    trace: &'a Trace,
    /// By the index of the pool.
    links: BTreeMap<(usize, ConnectionToken), usize>,
    requests: BTreeMap<(usize, RequestId), u32>,
    /// The requests that streams were ordered for.
    streams: BTreeMap<(usize, StreamToken), u32>,
    /// The pool that the story is at.
    pool: usize,
}

impl<'a> Names<'a> {
    pub(super) fn new(plan: &'a Plan, trace: &'a Trace) -> Self {
        let links = trace.links.iter().enumerate();
        let links = links.map(|(index, link)| ((link.pool, link.token), index)).collect();
        let (requests, streams) = Default::default();
        Self { plan, trace, links, requests, streams, pool: 0 }
    }

    /// Learns the names that a fact gives; `asked` is the request that arrives with it. The next
    /// names are those of its pool. Returns the request that it accepts.
    pub(super) fn see(&mut self, fact: &TracedFact, asked: Option<u32>) -> Option<RequestId> {
        self.enter(fact.pool);
        let accepted = match fact.handled {
            Handled::Accepted(id) => Some(id),
            _ => None,
        };
        if let (Some(request), Some(id)) = (asked, accepted) {
            self.requests.insert((self.pool, id), request);
        }
        self.note(&fact.orders);
        accepted
    }

    /// The next names are those of this pool.
    pub(super) fn enter(&mut self, pool: usize) {
        self.pool = pool;
    }

    /// Notes the requests that streams are ordered for.
    fn note(&mut self, orders: &[Output]) {
        for order in orders {
            if let Output::OpenStream { stream, request, .. } = order
                && let Some(request) = self.requests.get(&(self.pool, *request))
            {
                self.streams.insert((self.pool, *stream), *request);
            }
        }
    }

    /// The pool, if there are several: its worker, and which one of that worker it is.
    pub(super) fn pool(&self) -> String {
        let pools = &self.trace.pools;
        if pools.len() < 2 {
            return String::new();
        }
        let worker = pools[self.pool];
        let nth = pools[..=self.pool].iter().filter(|other| **other == worker).count();
        if nth == 1 {
            format!("worker {worker}: ")
        } else {
            format!("worker {worker}, pool {nth}: ")
        }
    }

    pub(super) fn request(&self, request: u32) -> String {
        #[cfg(feature = "proxy")]
        if self.plan.world == WorldName::Proxy {
            return match request.checked_sub(RECOVERY) {
                Some(number) => format!("recovery{}", number + 1),
                None => format!("r{request}"),
            };
        }
        match self.plan.requests.get(request as usize) {
            Some(plan) => format!("r{}", plan.id),
            None => format!("recovery{}", request as usize - self.plan.requests.len() + 1),
        }
    }

    pub(super) fn id(&self, id: RequestId) -> String {
        match self.requests.get(&(self.pool, id)) {
            Some(request) => self.request(*request),
            None => format!("r?{}/{}", id.index, id.generation),
        }
    }

    pub(super) fn link(&self, link: u32) -> String {
        let link = &self.trace.links[link as usize];
        format!("b{}#{}", link.backend, link.nth)
    }

    pub(super) fn backend(&self, link: u32) -> String {
        format!("b{}", self.trace.links[link as usize].backend)
    }

    /// The backend of a connection. In the world of the proxy its place in the pool's table may
    /// differ from its place in the plan.
    fn backend_of(&self, token: ConnectionToken) -> String {
        let link = self.links.get(&(self.pool, token)).copied();
        link.map_or_else(|| format!("b{}", token.backend.0), |link| self.backend(link as u32))
    }

    pub(super) fn connection(&self, token: ConnectionToken) -> String {
        match self.links.get(&(self.pool, token)) {
            Some(link) => self.link(*link as u32),
            // The dial was given up before it began.
            None => token.to_string(),
        }
    }

    pub(super) fn stream(&self, token: StreamToken) -> String {
        format!("{}/s{}", self.connection(token.connection), token.ordinal + 1)
    }

    /// Describes a frame to the backend, and names the backend and the request that it concerns.
    pub(super) fn up(&self, link: u32, frame: UpFrame) -> (String, Vec<String>) {
        let exchange = match frame {
            UpFrame::Headers(exchange) | UpFrame::BodyEnd(exchange) | UpFrame::Reset(exchange) => {
                Some(exchange)
            }
            UpFrame::Ping | UpFrame::SettingsAck(_) | UpFrame::Close => None,
        };
        let (whom, about) = self.concerned(link, exchange);
        let text = match frame {
            UpFrame::Headers(_) => format!("HEADERS {whom}"),
            UpFrame::BodyEnd(_) => format!("end of body {whom}"),
            UpFrame::Reset(_) => format!("RST_STREAM {whom}"),
            UpFrame::Ping => format!("PING {whom}"),
            UpFrame::SettingsAck(most) => format!("SETTINGS ack ({most}) {whom}"),
            UpFrame::Close => format!("close {whom}"),
        };
        (text, about)
    }

    /// Describes a frame from the backend, and names the backend and the request that it concerns.
    pub(super) fn down(&self, link: u32, frame: DownFrame) -> (String, Vec<String>) {
        let exchange = match frame {
            DownFrame::Informational(exchange)
            | DownFrame::Head(exchange)
            | DownFrame::Data(exchange)
            | DownFrame::End(exchange)
            | DownFrame::Malformed(exchange)
            | DownFrame::Reset(exchange, _) => Some(exchange),
            _ => None,
        };
        let (whom, about) = self.concerned(link, exchange);
        let text = match frame {
            DownFrame::Settings(most) => format!("SETTINGS streams={most} {whom}"),
            DownFrame::GoAway(last, code) => format!("GOAWAY last={last} code={code:#x} {whom}"),
            DownFrame::Informational(_) => format!("1xx {whom}"),
            DownFrame::Head(_) => format!("response head {whom}"),
            DownFrame::Data(_) => format!("response body {whom}"),
            DownFrame::End(_) => format!("response end {whom}"),
            DownFrame::Reset(_, code) => format!("RST_STREAM {whom} code={code:#x}"),
            DownFrame::Malformed(_) => format!("malformed response {whom}"),
            DownFrame::Pong => format!("PING ack {whom}"),
            DownFrame::Close => format!("closes {whom}"),
        };
        (text, about)
    }

    /// The stream with its request, or else the connection, and the names of the backend and of the
    /// request.
    fn concerned(&self, link: u32, exchange: Option<u32>) -> (String, Vec<String>) {
        let Some(exchange) = exchange else {
            return (self.link(link), vec![self.backend(link)]);
        };
        let exchange = &self.trace.exchanges[exchange as usize];
        let request = self.request(exchange.request);
        let whom = format!("{} ({request})", self.stream(exchange.token));
        (whom, vec![self.backend(link), request])
    }

    pub(super) fn about_input(&self, input: Input, accepted: Option<RequestId>) -> Vec<String> {
        let connection = |token: ConnectionToken| vec![self.backend_of(token)];
        match input {
            Input::RequestArrived { .. } => accepted.map(|id| self.id(id)).into_iter().collect(),
            Input::ReplayBufferExceeded { request, .. } | Input::RequestCancelled { request } => {
                vec![self.id(request)]
            }
            Input::Connected { connection: token, .. }
            | Input::ConnectFailed { connection: token, .. }
            | Input::MaxStreamsChanged { connection: token, .. }
            | Input::KeepAliveAnnounced { connection: token, .. }
            | Input::GoAwayReceived { connection: token, .. }
            | Input::FrameReceived { connection: token, .. }
            | Input::Pong { connection: token }
            | Input::DeliveryChecked { connection: token, .. }
            | Input::ConnectionClosed { connection: token, .. } => connection(token),
            Input::StreamOpened { stream, .. }
            | Input::RequestSent { stream }
            | Input::ResponseStarted { stream, .. }
            | Input::ResponseEnded { stream }
            | Input::StreamFailed { stream, .. }
            | Input::BodyProgressed { stream, .. }
            | Input::UploadBlocked { stream }
            | Input::ResetSent { stream } => {
                let mut about = connection(stream.connection);
                let own = self
                    .trace
                    .exchanges
                    .iter()
                    .find(|it| it.pool == self.pool && it.token == stream);
                let ordered = self.streams.get(&(self.pool, stream)).copied();
                let request = own.map(|exchange| exchange.request).or(ordered);
                about.extend(request.map(|request| self.request(request)));
                about
            }
            Input::BackendAdded { .. }
            | Input::BackendRemoved { .. }
            | Input::DrainRequested { .. }
            | Input::DrainCancelled { .. }
            | Input::WeightChanged { .. }
            | Input::HealthCheckFinished { .. }
            | Input::SettingChanged { .. }
            | Input::ShutdownRequested { .. }
            | Input::Timeout => Vec::new(),
        }
    }

    pub(super) fn about_order(&self, order: Output) -> Vec<String> {
        let backend = |token: ConnectionToken| self.backend_of(token);
        match order {
            Output::Connect { connection }
            | Output::Ping { connection }
            | Output::CheckDelivery { connection }
            | Output::Close { connection, .. } => vec![backend(connection)],
            Output::OpenStream { stream, request, .. } => {
                vec![backend(stream.connection), self.id(request)]
            }
            Output::ResetStream { stream, .. } => vec![backend(stream.connection)],
            Output::AttemptFailed(FailedAttempt { stream, request, .. }) => {
                vec![backend(stream.connection), self.id(request)]
            }
            Output::RequestEnded { request, .. } => vec![self.id(request)],
            _ => Vec::new(),
        }
    }

    fn asks(&self, request: Option<u32>, idempotent: bool, has_body: bool) -> String {
        let name = request.map_or("?".to_owned(), |request| self.request(request));
        let method = if idempotent { "GET" } else { "POST" };
        let body = if has_body { " with a body" } else { "" };
        format!("{name} arrives: {method}{body}")
    }

    fn delivery(&self, connection: ConnectionToken, unanswered: Option<u32>) -> String {
        let segments = unanswered.map_or("unknown".to_owned(), |segments| segments.to_string());
        format!("{} unanswered segments: {segments}", self.connection(connection))
    }

    pub(super) fn input(
        &self,
        input: Input,
        asked: Option<u32>,
        accepted: Option<RequestId>,
        handled: Handled,
    ) -> String {
        let text = match input {
            Input::RequestArrived { idempotent, has_body } => {
                let own = accepted.and_then(|id| self.requests.get(&(self.pool, id)).copied());
                self.asks(asked.or(own), idempotent, has_body)
            }
            Input::ReplayBufferExceeded { request, stream } => {
                let (request, stream) = (self.id(request), self.stream(stream));
                format!("{request} exceeds the replay buffer on {stream}")
            }
            Input::RequestCancelled { request } => format!("{} is cancelled", self.id(request)),
            Input::Connected { connection, protocol, max_streams } => {
                let most = max_streams
                    .map_or("no SETTINGS yet".to_owned(), |most| format!("streams={most}"));
                format!("{} is connected, {protocol}, {most}", self.connection(connection))
            }
            Input::ConnectFailed { connection, reason } => {
                format!("{} dial failed: {reason}", self.connection(connection))
            }
            Input::MaxStreamsChanged { connection, max_streams } => {
                format!("{} allows {max_streams} streams", self.connection(connection))
            }
            Input::GoAwayReceived { connection, last_stream_id, code } => {
                let name = self.connection(connection);
                format!("{name} GOAWAY last={last_stream_id} code={code:#x}")
            }
            Input::KeepAliveAnnounced { connection, timeout } => {
                format!("{} is kept open for {timeout:?} while idle", self.connection(connection))
            }
            Input::FrameReceived { connection, carries_message } => {
                let frame = if carries_message { "HEADERS or DATA" } else { "a frame" };
                format!("{} receives {frame}", self.connection(connection))
            }
            Input::Pong { connection } => format!("{} answers PING", self.connection(connection)),
            Input::DeliveryChecked { connection, unanswered } => {
                self.delivery(connection, unanswered)
            }
            Input::ConnectionClosed { connection, sent_through } => {
                let name = self.connection(connection);
                format!("{name} is closed, sent through {sent_through}")
            }
            Input::StreamOpened { stream, stream_id } => {
                format!("{} opened with id {stream_id}", self.stream(stream))
            }
            Input::RequestSent { stream } => format!("{} request sent", self.stream(stream)),
            Input::ResponseStarted { stream, .. } => {
                format!("{} response starts", self.stream(stream))
            }
            Input::ResponseEnded { stream } => format!("{} response ends", self.stream(stream)),
            Input::StreamFailed { stream, failure } => {
                format!("{} failed: {}", self.stream(stream), how(failure))
            }
            Input::ResetSent { stream } => format!("{} reset is sent", self.stream(stream)),
            Input::UploadBlocked { stream } => {
                format!("{} takes no more of the body", self.stream(stream))
            }
            Input::BodyProgressed { stream, bytes } => {
                format!("{} body progress: {bytes} bytes", self.stream(stream))
            }
            Input::BackendAdded { .. }
            | Input::BackendRemoved { .. }
            | Input::DrainRequested { .. }
            | Input::DrainCancelled { .. }
            | Input::WeightChanged { .. }
            | Input::HealthCheckFinished { .. }
            | Input::SettingChanged { .. }
            | Input::ShutdownRequested { .. } => operator(input),
            Input::Timeout => "timeout".to_owned(),
        };
        answered(text, handled)
    }

    pub(super) fn order(&self, order: Output) -> String {
        match order {
            Output::Connect { connection } => format!("dial {}", self.connection(connection)),
            Output::OpenStream { stream, request, attempt, .. } => {
                let (stream, request) = (self.stream(stream), self.id(request));
                format!("open {stream} for {request}, attempt {attempt}")
            }
            Output::ResetStream { stream, code } => {
                format!("reset {} code={code:#x}", self.stream(stream))
            }
            Output::Ping { connection } => format!("PING {}", self.connection(connection)),
            Output::CheckDelivery { connection } => {
                format!("check delivery to {}", self.connection(connection))
            }
            Output::Close { connection, reason } => {
                format!("close {}: {reason}", self.connection(connection))
            }
            Output::CheckHealth { backend, number } => {
                format!("check {} #{number}", place(backend))
            }
            Output::HealthCheckJudged { backend, passed } => {
                let verdict = if passed { "passed" } else { "failed" };
                format!("check of {} {verdict}", place(backend))
            }
            Output::BackendChanged { backend, state, cause } => {
                format!("{} is {state} ({cause})", place(backend))
            }
            Output::BackendGone { backend } => format!("{} is freed", place(backend)),
            Output::AttemptFailed(FailedAttempt {
                request,
                number,
                evidence,
                cause,
                retried,
                ..
            }) => {
                let (name, cause) = (self.id(request), cause.name());
                let then = if retried { "to be repeated" } else { "not repeated" };
                format!("{name} attempt {number} fails: {cause} (evidence {evidence}), {then}")
            }
            Output::RequestEnded { request, outcome, by, .. } => {
                let name = self.id(request);
                let outcome = match outcome {
                    Outcome::Rejected(rejection) => format!("{rejection} {}", rejection.status()),
                    other => other.kind().to_string(),
                };
                format!("{name} ends: {outcome}, by the {by}")
            }
        }
    }

    pub(super) fn slot(&self, view: SlotView) -> Slot {
        Slot {
            name: self.connection(view.connection),
            slot: view.connection.slot,
            generation: view.connection.generation,
            state: view.state.name(),
            streams: view.streams,
            limit: view.limit,
        }
    }
}

/// Names a backend as the pool does: by its index in the pool's table and its generation.
pub(super) fn place(token: BackendToken) -> String {
    format!("backend slot {}/{}", token.backend.0, token.generation)
}

/// Describes several settings that change at once.
pub(super) fn settings(settings: &[Setting], handled: Handled) -> String {
    answered(format!("settings: {settings:?}"), handled)
}

/// Adds the pool's answer.
fn answered(text: String, handled: Handled) -> String {
    match handled {
        Handled::Done | Handled::Accepted(_) => text,
        Handled::Stale => format!("{text} (stale)"),
        Handled::Refused => format!("{text} (refused)"),
        Handled::Rejected(rejection) => format!("{text} (rejected: {rejection})"),
        Handled::Added(token) => format!("{text} ({})", place(token)),
    }
}

/// Describes the failure of a stream.
fn how(failure: StreamFailure) -> String {
    match failure {
        StreamFailure::Reset { code } => format!("{} code={code:#x}", failure.name()),
        other => other.name().to_owned(),
    }
}

/// Describes an operator's action or the result of a health check.
fn operator(input: Input) -> String {
    match input {
        Input::BackendAdded { weight, .. } => format!("a backend is added, weight {weight}"),
        Input::BackendRemoved { backend } => format!("{} is removed", place(backend)),
        Input::DrainRequested { backend, within } => {
            let deadline = within.map_or("as configured".to_owned(), |it| format!("in {it:?}"));
            format!("{} drains, deadline {deadline}", place(backend))
        }
        Input::DrainCancelled { backend } => format!("{} is undrained", place(backend)),
        Input::WeightChanged { backend, weight } => {
            format!("{} has weight {weight}", place(backend))
        }
        Input::HealthCheckFinished { backend, number, passed } => {
            let verdict = if passed { "passes" } else { "fails" };
            format!("check #{number} of {} {verdict}", place(backend))
        }
        Input::SettingChanged { setting } => format!("setting: {setting:?}"),
        Input::ShutdownRequested { cause } => match cause {
            ShutdownCause::ProcessEnds => "shutdown is requested".to_owned(),
            ShutdownCause::PoolReplaced => "the pool is replaced".to_owned(),
        },
        _ => unreachable!("not from the operator"),
    }
}
