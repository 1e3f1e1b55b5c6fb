//! Lists every fact that could come next, from the model alone, for exhaustive search.

use std::time::Duration;

use baton::pool::input::code;
use baton::pool::{
    BackendId, BackendToken, ConnectFailure, ConnectionToken, Input, Protocol, RequestId,
    ShutdownCause, StreamFailure, StreamToken,
};

use super::backend::Service;
use super::model::{ConnectionPhase, Model, ModelPhase, ModelStream, RequestPhase};

const FAILURES: [StreamFailure; 8] = [
    StreamFailure::NotSent,
    StreamFailure::HeadTooLarge,
    StreamFailure::Unprocessed,
    StreamFailure::ConnectionLost,
    StreamFailure::Malformed,
    StreamFailure::Reset { code: code::REFUSED_STREAM },
    StreamFailure::Reset { code: 0x2 },
    StreamFailure::Reset { code: code::HTTP_1_1_REQUIRED },
];

impl Model {
    /// Adds every current fact, true or not, that any peer, network or client could cause now.
    pub(super) fn choices(&self, all: &mut Vec<Input>) {
        all.push(Input::Timeout);
        if self.phase != ModelPhase::Over {
            for cause in [ShutdownCause::ProcessEnds, ShutdownCause::PoolReplaced] {
                all.push(Input::ShutdownRequested { cause });
            }
        }
        all.push(Input::RequestArrived { idempotent: true, has_body: false });
        all.push(Input::RequestArrived { idempotent: false, has_body: true });
        for (index, request) in self.requests.iter().enumerate() {
            if request.phase == RequestPhase::None {
                continue;
            }
            let id = RequestId { index: index as u32, generation: request.generation };
            all.push(Input::RequestCancelled { request: id });
            if request.has_body && request.replayable {
                let stream = StreamToken::default();
                all.push(Input::ReplayBufferExceeded { request: id, stream });
                if let RequestPhase::Sent(stream) | RequestPhase::Responding(stream) = request.phase
                {
                    all.push(Input::ReplayBufferExceeded { request: id, stream });
                }
            }
        }
        for slot in 0..self.connections.len() {
            self.connection_choices(slot, all);
        }
    }

    /// Adds the facts that the operator can cause.
    pub(super) fn operator_choices(&self, all: &mut Vec<Input>) {
        if self.has_place() {
            all.push(Input::BackendAdded { weight: 1, exclusive: false });
        }
        for (index, state) in self.backends.iter().enumerate() {
            let generation = state.generation;
            let backend = BackendToken { backend: BackendId(index as u16), generation };
            match state.service {
                Service::Vacant => continue,
                Service::Serving => {
                    let within = Some(Duration::from_nanos(1));
                    all.push(Input::DrainRequested { backend, within });
                    all.push(Input::BackendRemoved { backend });
                }
                Service::Draining(_) => {
                    all.push(Input::DrainCancelled { backend });
                    all.push(Input::BackendRemoved { backend });
                }
                Service::Removed(_) => {}
            }
        }
    }

    /// Adds the results that the health checks in flight can have.
    pub(super) fn health_check_choices(&self, all: &mut Vec<Input>) {
        for (index, state) in self.backends.iter().enumerate() {
            let backend =
                BackendToken { backend: BackendId(index as u16), generation: state.generation };
            if let Some((number, _)) = state.health_checks.out {
                for passed in [true, false] {
                    all.push(Input::HealthCheckFinished { backend, number, passed });
                }
            }
        }
    }

    /// Adds the results of health checks that another worker can report.
    pub(super) fn reported_choices(&self, all: &mut Vec<Input>) {
        for (index, state) in self.backends.iter().enumerate() {
            let backend =
                BackendToken { backend: BackendId(index as u16), generation: state.generation };
            if matches!(state.service, Service::Serving | Service::Draining(_)) {
                for passed in [true, false] {
                    all.push(Input::HealthCheckFinished { backend, number: 0, passed });
                }
            }
        }
    }

    fn connection_choices(&self, slot: usize, all: &mut Vec<Input>) {
        let connection = self.token(slot);
        let reason = ConnectFailure::Tcp;
        let go_away =
            |last_stream_id| Input::GoAwayReceived { connection, last_stream_id, code: 0 };
        match self.connections[slot].phase {
            ConnectionPhase::Gone => return,
            ConnectionPhase::Connecting => {
                let most = self.config.limits.streams_per_connection as u32;
                for max_streams in [0, 1, most] {
                    all.push(connected(connection, Protocol::Http2, Some(max_streams)));
                }
                all.push(connected(connection, Protocol::Http1, None));
                all.push(Input::ConnectFailed { connection, reason });
                all.push(go_away(u32::MAX >> 1));
                return;
            }
            ConnectionPhase::Up | ConnectionPhase::Draining => {
                all.push(Input::ConnectionClosed { connection, sent_through: 0 });
                all.push(Input::ConnectionClosed { connection, sent_through: u32::MAX });
            }
            ConnectionPhase::Lost => {}
        }
        for max_streams in 0..=self.config.limits.streams_per_connection as u32 {
            all.push(Input::MaxStreamsChanged { connection, max_streams });
        }
        all.push(go_away(0));
        all.push(go_away(u32::MAX >> 1));
        all.push(Input::FrameReceived { connection, carries_message: false });
        if self.connections[slot].pongs > 0 {
            all.push(Input::FrameReceived { connection, carries_message: true });
        }
        // A second PING answer without a response in between only lengthens the next silence.
        let state = &self.connections[slot];
        let is_next = state.pongs == 0 || state.phase != ConnectionPhase::Up;
        if state.ping.is_some() && is_next {
            all.push(Input::Pong { connection });
        }
        if state.delivery_check {
            // A second answer that the host acknowledges only lengthens the suspicion.
            let was_said = state.is_busy && self.carries_request(slot);
            let answers = [Some(2), Some(0)].into_iter().take(2 - usize::from(was_said));
            all.extend(answers.map(|unanswered| Input::DeliveryChecked { connection, unanswered }));
        }
        self.stream_choices(slot, connection, all);
    }

    fn stream_choices(&self, slot: usize, connection: ConnectionToken, all: &mut Vec<Input>) {
        for (entry, state) in self.streams[self.streams_of(slot)].iter().enumerate() {
            let token = |ordinal| StreamToken { connection, stream: entry as u16, ordinal };
            match *state {
                ModelStream::Free => {}
                ModelStream::Resetting { ordinal } => {
                    all.push(Input::ResetSent { stream: token(ordinal) });
                }
                ModelStream::Open { ordinal, stream_id, request } => {
                    let stream = token(ordinal);
                    if stream_id == 0 {
                        all.push(Input::StreamOpened { stream, stream_id: 2 * ordinal + 1 });
                    } else {
                        let code = 0;
                        all.push(Input::GoAwayReceived {
                            connection,
                            last_stream_id: stream_id,
                            code,
                        });
                    }
                    let state = &self.requests[request as usize];
                    if !state.sent_whole {
                        all.push(Input::RequestSent { stream });
                    }
                    if matches!(state.phase, RequestPhase::Responding(_)) {
                        all.push(Input::ResponseEnded { stream });
                    } else {
                        all.push(Input::ResponseStarted { stream, status: 200 });
                    }
                    let failed = |failure| Input::StreamFailed { stream, failure };
                    all.extend(FAILURES.map(failed));
                }
            }
        }
    }

    /// Adds ineffective facts (stale or impossible); each must change nothing.
    pub(super) fn ineffective_choices(&self, all: &mut Vec<Input>) {
        for slot in 0..self.connections.len() {
            let mut connection = self.token(slot);
            if self.connections[slot].phase != ConnectionPhase::Gone {
                all.push(connected_again(connection, self.connections[slot].phase));
                if connection.generation == 0 {
                    continue;
                }
                connection.generation -= 1;
            }
            all.push(Input::FrameReceived { connection, carries_message: true });
            all.push(Input::GoAwayReceived { connection, last_stream_id: 0, code: 0 });
            all.push(Input::ConnectionClosed { connection, sent_through: 0 });
            let stream = StreamToken { connection, stream: 0, ordinal: 0 };
            all.push(Input::ResponseEnded { stream });
            all.push(Input::ResetSent { stream });
        }
        for (index, request) in self.requests.iter().enumerate() {
            let generation = match request.phase {
                RequestPhase::None => request.generation,
                _ => request.generation.wrapping_sub(1),
            };
            let id = RequestId { index: index as u32, generation };
            all.push(Input::RequestCancelled { request: id });
        }
    }
}

fn connected(connection: ConnectionToken, protocol: Protocol, max_streams: Option<u32>) -> Input {
    Input::Connected { connection, protocol, max_streams }
}

/// A fact that the connection's phase does not allow.
fn connected_again(connection: ConnectionToken, phase: ConnectionPhase) -> Input {
    if phase == ConnectionPhase::Connecting {
        Input::MaxStreamsChanged { connection, max_streams: 1 }
    } else {
        connected(connection, Protocol::Http2, Some(1))
    }
}
