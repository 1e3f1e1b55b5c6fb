//! Returns the answer that the pool must give to a fact in the current state.

use baton::pool::{
    BackendToken, ConnectionToken, Handled, HealthChecking, Input, Instant, Pool, Rejection,
    RequestId, Setting, ShutdownCause, SlotState, StreamToken, TimerReason,
};

use super::backend::Service;
use super::model::{ConnectionPhase, Model, ModelPhase, ModelStream, RequestPhase};
use super::settings;
use super::time::{Time as _, longest_drain};
use crate::coverage::{
    Answer, BackendAs, BackendFact, ConnectionAs, ConnectionFact, Coverage, PhaseAs, RequestAs,
    RequestFact, StreamAs, StreamFact, connection_answers, stream_answer,
};

/// The weights that the contract allows; not the pool's own constant.
const WEIGHTS_ALLOWED: std::ops::RangeInclusive<u16> = 1..=1000;

/// The answer that the pool must give to a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Exactly this answer.
    Answer(Handled),
    /// A new request id.
    Accepted,
    /// A new backend.
    Added,
}

impl Model {
    pub(super) fn expect(
        &self,
        input: Input,
        now: Instant,
        pool: &Pool,
        coverage: &mut Coverage,
    ) -> Expected {
        if let Some((token, fact)) = about_connection(input) {
            return answered(self.expect_connection(token, fact, pool, coverage));
        }
        if let Some((token, fact)) = about_backend(input) {
            return answered(self.expect_backend(now, input, token, fact, coverage));
        }
        let answer = match input {
            Input::RequestArrived { .. } => return self.expect_arrival(coverage),
            Input::BackendAdded { weight, .. } => return self.expect_added(weight, coverage),
            Input::SettingChanged { setting } => return self.expect_settings(&[setting], coverage),
            Input::BodyProgressed { stream, .. } => {
                let sent = self.is_sent_without_answer(stream);
                let answer = self.expect_stream(stream, StreamFact::BodyProgressed, coverage);
                if answer == Answer::Done && sent { Answer::Refused } else { answer }
            }
            Input::UploadBlocked { stream } => {
                let sent = self.is_sent_without_answer(stream);
                let answer = self.expect_stream(stream, StreamFact::UploadBlocked, coverage);
                if answer == Answer::Done && sent { Answer::Refused } else { answer }
            }
            Input::ReplayBufferExceeded { request, .. } => {
                self.expect_request(request, RequestFact::ReplayBufferExceeded, coverage)
            }
            Input::RequestCancelled { request } => {
                self.expect_request(request, RequestFact::RequestCancelled, coverage)
            }
            Input::StreamOpened { stream, stream_id } => {
                // A response may arrive before the stream id is reported.
                let entry = self.stream(stream);
                let unknown = matches!(entry, Some((_, _, ModelStream::Open { stream_id: 0, .. })));
                let fits = unknown && stream_id != 0;
                let answer = self.expect_stream(stream, StreamFact::StreamOpened, coverage);
                match answer {
                    Answer::Stale => Answer::Stale,
                    Answer::Done | Answer::Refused if fits => Answer::Done,
                    Answer::Done | Answer::Refused => Answer::Refused,
                }
            }
            Input::RequestSent { stream } => {
                self.expect_stream(stream, StreamFact::RequestSent, coverage)
            }
            Input::ResponseStarted { stream, .. } => {
                self.expect_stream(stream, StreamFact::ResponseStarted, coverage)
            }
            Input::ResponseEnded { stream } => {
                self.expect_stream(stream, StreamFact::ResponseEnded, coverage)
            }
            Input::StreamFailed { stream, .. } => {
                self.expect_stream(stream, StreamFact::StreamFailed, coverage)
            }
            Input::ResetSent { stream } => {
                self.expect_stream(stream, StreamFact::ResetSent, coverage)
            }
            Input::ShutdownRequested { cause } => {
                let asked = self.shutdown_deadline(now, cause);
                let done = match self.phase {
                    ModelPhase::Running => true,
                    ModelPhase::Draining(deadline) => asked < deadline,
                    ModelPhase::Over => false,
                };
                let answer = if done { Answer::Done } else { Answer::Refused };
                coverage.shutdown(self.phase_as(), answer);
                answer
            }
            Input::Timeout => {
                coverage.timeout(due(pool, now).map(|(_, reason)| reason));
                Answer::Done
            }
            _ => unreachable!("facts about connections and backends were answered above"),
        };
        answered(answer)
    }

    /// Settings are changed together or, if one does not fit, not at all.
    pub(super) fn expect_settings(&self, changes: &[Setting], coverage: &mut Coverage) -> Expected {
        let fits = changes.iter().all(|setting| settings::fits(*setting));
        coverage.setting(fits);
        answered(if fits { Answer::Done } else { Answer::Refused })
    }

    fn expect_added(&self, weight: u16, coverage: &mut Coverage) -> Expected {
        let fits = WEIGHTS_ALLOWED.contains(&weight) && self.has_place();
        coverage.added(self.first_to_go().is_some(), fits);
        if fits { Expected::Added } else { answered(Answer::Refused) }
    }

    fn expect_arrival(&self, coverage: &mut Coverage) -> Expected {
        let limits = &self.config.limits;
        let rejection = if self.phase == ModelPhase::Over {
            Some(Rejection::ShuttingDown)
        } else if self.waiting as usize >= limits.waiting {
            Some(Rejection::QueueFull)
        } else if self.live as usize >= limits.requests {
            Some(Rejection::RequestsFull)
        } else {
            None
        };
        coverage.arrival(self.phase_as(), rejection);
        match rejection {
            Some(rejection) => Expected::Answer(Handled::Rejected(rejection)),
            None => Expected::Accepted,
        }
    }

    fn expect_connection(
        &self,
        token: ConnectionToken,
        fact: ConnectionFact,
        pool: &Pool,
        coverage: &mut Coverage,
    ) -> Answer {
        let state = self.connection_as(token, pool);
        let answer = match connection_answers(state, fact) {
            [answer] => *answer,
            // Two answers are possible only to facts that must have been asked for.
            _ => {
                let connection = &self.connections[self.slot(token).expect("it is not gone")];
                // A suspect connection has a PING in flight, until it is busy.
                let is_suspect = state == ConnectionAs::Suspect && !connection.is_busy;
                let was_asked = match fact {
                    ConnectionFact::DeliveryChecked => connection.delivery_check,
                    _ => is_suspect || connection.ping.is_some(),
                };
                if was_asked { Answer::Done } else { Answer::Refused }
            }
        };
        coverage.connection(state, fact, answer);
        answer
    }

    /// The state of a connection. The model does not distinguish available, in use and suspect; the
    /// pool's own state does.
    pub(super) fn connection_as(&self, token: ConnectionToken, pool: &Pool) -> ConnectionAs {
        let Some(slot) = self.slot(token) else {
            return ConnectionAs::Gone;
        };
        match self.connections[slot].phase {
            ConnectionPhase::Gone => ConnectionAs::Gone,
            ConnectionPhase::Connecting => ConnectionAs::Connecting,
            ConnectionPhase::Lost => ConnectionAs::Lost,
            ConnectionPhase::Draining => ConnectionAs::Draining,
            ConnectionPhase::Up => match pool.slot_state(token.backend, token.slot) {
                Some(SlotState::Suspect) => ConnectionAs::Suspect,
                Some(SlotState::InUse) => ConnectionAs::InUse,
                _ => ConnectionAs::Available,
            },
        }
    }

    fn expect_stream(
        &self,
        token: StreamToken,
        fact: StreamFact,
        coverage: &mut Coverage,
    ) -> Answer {
        let state = self.stream_as(token);
        let answer = stream_answer(state, fact);
        coverage.stream(state, fact, answer);
        answer
    }

    /// Returns true if the whole request was sent and no response has started, so that no body data
    /// can pass.
    fn is_sent_without_answer(&self, token: StreamToken) -> bool {
        match self.stream(token) {
            Some((_, _, ModelStream::Open { request, .. })) => {
                let request = &self.requests[request as usize];
                request.sent_whole && matches!(request.phase, RequestPhase::Sent(_))
            }
            _ => false,
        }
    }

    fn expect_backend(
        &self,
        now: Instant,
        input: Input,
        token: BackendToken,
        fact: BackendFact,
        coverage: &mut Coverage,
    ) -> Answer {
        let place = self.backend(token);
        let state = match place.map(|index| self.backends[index].service) {
            None | Some(Service::Vacant) => BackendAs::Gone,
            Some(Service::Serving) => BackendAs::InService,
            Some(Service::Draining(_)) => BackendAs::Draining,
            Some(Service::Removed(_)) => BackendAs::Removed,
        };
        let answer = match (state, input) {
            (BackendAs::Gone, _) => Answer::Stale,
            (_, Input::WeightChanged { weight, .. }) => {
                if WEIGHTS_ALLOWED.contains(&weight) {
                    Answer::Done
                } else {
                    Answer::Refused
                }
            }
            (_, Input::HealthCheckFinished { number, .. }) => {
                let out = place.and_then(|index| self.backends[index].health_checks.out);
                match self.config.health_checking {
                    HealthChecking::Off => Answer::Refused,
                    HealthChecking::Reported if state == BackendAs::Removed => Answer::Refused,
                    HealthChecking::Reported => Answer::Done,
                    HealthChecking::Ordered if out.is_some_and(|(own, _)| own == number) => {
                        Answer::Done
                    }
                    HealthChecking::Ordered => Answer::Stale,
                }
            }
            (BackendAs::InService, Input::DrainCancelled { .. }) | (BackendAs::Removed, _) => {
                Answer::Refused
            }
            (BackendAs::Draining, Input::DrainRequested { within, .. }) => {
                let asked = within.map(|within| now.plus(within));
                match place.map(|index| self.backends[index].service) {
                    Some(Service::Draining(known)) if asked.is_some_and(|asked| asked < known) => {
                        Answer::Done
                    }
                    _ => Answer::Refused,
                }
            }
            (BackendAs::InService | BackendAs::Draining, _) => Answer::Done,
        };
        coverage.backend(state, fact, answer);
        answer
    }

    fn stream_as(&self, token: StreamToken) -> StreamAs {
        match self.stream(token) {
            None => StreamAs::Gone,
            Some((_, _, ModelStream::Resetting { .. })) => StreamAs::Resetting,
            Some((_, _, ModelStream::Open { request, stream_id, .. })) => {
                match self.requests[request as usize].phase {
                    RequestPhase::Responding(_) => StreamAs::Responding,
                    _ if stream_id == 0 => StreamAs::Ordered,
                    _ => StreamAs::Opened,
                }
            }
            Some((_, _, ModelStream::Free)) => StreamAs::Gone,
        }
    }

    fn expect_request(&self, id: RequestId, fact: RequestFact, coverage: &mut Coverage) -> Answer {
        let state = match self.request(id) {
            None => RequestAs::Gone,
            Some(index) => match self.requests[index as usize].phase {
                RequestPhase::Sent(_) => RequestAs::Sent,
                RequestPhase::Responding(_) => RequestAs::Responding,
                _ => RequestAs::Waiting,
            },
        };
        let answer = if state == RequestAs::Gone { Answer::Stale } else { Answer::Done };
        coverage.request(state, fact, answer);
        answer
    }

    /// The deadline of a shutdown requested now.
    pub(super) fn shutdown_deadline(&self, now: Instant, cause: ShutdownCause) -> Instant {
        now.plus(match cause {
            ShutdownCause::ProcessEnds => self.config.timeouts.drain,
            ShutdownCause::PoolReplaced => longest_drain(self.config.timeouts.drain),
        })
    }

    fn phase_as(&self) -> PhaseAs {
        match self.phase {
            ModelPhase::Running => PhaseAs::Running,
            ModelPhase::Draining(_) => PhaseAs::Draining,
            ModelPhase::Over => PhaseAs::Over,
        }
    }
}

/// The connection that a fact concerns, and the kind of fact.
fn about_connection(input: Input) -> Option<(ConnectionToken, ConnectionFact)> {
    match input {
        Input::Connected { connection, .. } => Some((connection, ConnectionFact::Connected)),
        Input::ConnectFailed { connection, .. } => {
            Some((connection, ConnectionFact::ConnectFailed))
        }
        Input::MaxStreamsChanged { connection, .. } => {
            Some((connection, ConnectionFact::MaxStreamsChanged))
        }
        Input::KeepAliveAnnounced { connection, .. } => {
            Some((connection, ConnectionFact::KeepAliveAnnounced))
        }
        Input::GoAwayReceived { connection, .. } => {
            Some((connection, ConnectionFact::GoAwayReceived))
        }
        Input::FrameReceived { connection, .. } => {
            Some((connection, ConnectionFact::FrameReceived))
        }
        Input::Pong { connection } => Some((connection, ConnectionFact::Pong)),
        Input::DeliveryChecked { connection, .. } => {
            Some((connection, ConnectionFact::DeliveryChecked))
        }
        Input::ConnectionClosed { connection, .. } => {
            Some((connection, ConnectionFact::ConnectionClosed))
        }
        _ => None,
    }
}

/// The backend that a fact concerns, and the kind of fact.
fn about_backend(input: Input) -> Option<(BackendToken, BackendFact)> {
    match input {
        Input::BackendRemoved { backend } => Some((backend, BackendFact::BackendRemoved)),
        Input::DrainRequested { backend, .. } => Some((backend, BackendFact::DrainRequested)),
        Input::DrainCancelled { backend } => Some((backend, BackendFact::DrainCancelled)),
        Input::WeightChanged { backend, .. } => Some((backend, BackendFact::WeightChanged)),
        Input::HealthCheckFinished { backend, .. } => {
            Some((backend, BackendFact::HealthCheckFinished))
        }
        _ => None,
    }
}

fn answered(answer: Answer) -> Expected {
    Expected::Answer(match answer {
        Answer::Done => Handled::Done,
        Answer::Refused => Handled::Refused,
        Answer::Stale => Handled::Stale,
    })
}

/// The timer that a timeout at `now` would handle.
pub(super) fn due(pool: &Pool, now: Instant) -> Option<(Instant, TimerReason)> {
    pool.poll_timeout().filter(|(at, _)| *at <= now)
}
