//! The model of blame: whose failure an attempt's failure is, and what the death of an idle
//! connection says about the others.

use std::time::Duration;

use baton::pool::input::code;
use baton::pool::{BackendId, Evidence, Instant, StreamFailure, StreamToken};

use super::model::{Model, ModelDoubt, ModelRequest, RequestPhase};

/// A connection that was used this recently is taken for one that is alive.
pub(super) const SURELY_ALIVE: Duration = Duration::from_secs(1);

/// Malformed responses after which a connection takes no further requests.
const MALFORMED_MAX: u32 = 100;

impl Model {
    /// Applies the failure of a stream.
    pub(super) fn failed(&mut self, now: Instant, token: StreamToken, failure: StreamFailure) {
        let index = self.carried(token);
        let slot = self.known(token.connection);
        let http1 = self.connections[slot].http1;
        let unfit = match failure {
            StreamFailure::NotSent | StreamFailure::ConnectionLost => true,
            StreamFailure::Reset { code } => code == code::HTTP_1_1_REQUIRED,
            StreamFailure::Malformed => {
                self.connections[slot].malformed += 1;
                self.connections[slot].malformed >= MALFORMED_MAX
            }
            StreamFailure::HeadTooLarge | StreamFailure::Unprocessed => false,
        };
        if unfit || http1 {
            self.drain_for_itself(now, slot);
        }
        let evidence = match failure {
            StreamFailure::NotSent | StreamFailure::HeadTooLarge => Evidence::NeverSent,
            StreamFailure::Unprocessed => Evidence::Unprocessed,
            StreamFailure::Reset { code: code::REFUSED_STREAM } => Evidence::Refused,
            StreamFailure::Reset { .. }
            | StreamFailure::ConnectionLost
            | StreamFailure::Malformed => Evidence::Unknown,
        };
        let (cut_off, was_answered) =
            (self.connections[slot].closed_without_goaway, self.connections[slot].responses > 0);
        let stale = self.connections[slot].idle_before.is_some();
        let since = match self.requests[index as usize].phase {
            RequestPhase::Sent(_) => self.requests[index as usize].sent_at,
            _ => now,
        };
        let backend = token.connection.backend;
        let of_trial_request = self.backends[usize::from(backend.0)].health.is_trial_request(index);
        self.release(now, token);
        self.request_unbound(token.connection.backend, index);
        let fault = match failure {
            StreamFailure::Malformed => true,
            StreamFailure::Reset { code } => !matches!(
                code,
                code::NO_ERROR | code::REFUSED_STREAM | code::CANCEL | code::HTTP_1_1_REQUIRED
            ),
            // One failure per connection, however many of its streams were cut off.
            StreamFailure::ConnectionLost => cut_off,
            StreamFailure::NotSent | StreamFailure::HeadTooLarge | StreamFailure::Unprocessed => {
                false
            }
        };
        let lost = failure == StreamFailure::ConnectionLost;
        self.request_mut(index).needs_live |= lost && stale;
        self.request_mut(index).is_too_large = failure == StreamFailure::HeadTooLarge;
        let mut fault = fault;
        if fault {
            self.connections[slot].closed_without_goaway = false;
            // Connections that fail together before the first response are one failure.
            fault = !lost || was_answered || self.back_off(now, backend);
        }
        // A trial request that another backend has failed, too, proves nothing.
        if fault && of_trial_request && !self.is_seconded(index, backend, lost) {
            self.backend_failed(now, backend, true);
        }
        let accused = matches!(failure, StreamFailure::Reset { code } if accuses(code));
        self.fail_by_fault(now, index, evidence, fault.then_some((token, lost, accused, since)));
    }

    /// A fault of an attempt that is repeated at once is settled by the next backend. Another one
    /// counts if neither another backend nor the code says that it is the request's own, and
    /// nothing shows that the backend is alive.
    fn fail_by_fault(
        &mut self,
        now: Instant,
        index: u32,
        evidence: Evidence,
        fault: Option<(StreamToken, bool, bool, Instant)>,
    ) {
        let Some((token, lost, accused, since)) = fault else {
            self.fail(index, evidence, false);
            return;
        };
        let backend = token.connection.backend;
        let doubted = self.requests[index as usize].doubted;
        let seconded = self.is_seconded(index, backend, lost);
        let retried = self.fail(index, evidence, seconded && !lost);
        let asks_another = retried && self.has_place_at_once(index);
        if retried {
            let backend = self.backend_token(backend);
            self.request_mut(index).doubted = Some(ModelDoubt { backend, is_open: asks_another });
        }
        if asks_another {
            return;
        }
        let was_not_compared = doubted.is_some() && self.healthy() > 1;
        let excused = seconded || accused || was_not_compared;
        if !excused && !self.answers_others(now, backend, since) {
            self.backend_failed(now, backend, false);
        }
    }

    /// A request was answered that another backend had failed: that one is to blame, unless the
    /// answer is an error that the request may have caused, too.
    pub(super) fn confirm(
        &mut self,
        now: Instant,
        doubt: Option<ModelDoubt>,
        stream: StreamToken,
        status: u16,
    ) {
        let proves = !matches!(status, 400 | 413 | 414 | 431 | 500..);
        if let Some(ModelDoubt { backend, is_open: true }) = doubt
            && proves
            && backend != self.backend_token(stream.connection.backend)
            && self.backend(backend).is_some()
        {
            self.backend_failed(now, backend.backend, false);
        }
    }

    /// True if another backend has failed the request before, or it has cost another connection
    /// that seemed to be dead before.
    fn is_seconded(&self, index: u32, backend: BackendId, lost: bool) -> bool {
        let request = &self.requests[index as usize];
        let present = self.backend_token(backend);
        request.doubted.is_some_and(|doubt| doubt.backend != present)
            || (lost && request.needs_live)
    }

    /// True if a connection may be closed because another one was dead: it has been idle for as
    /// long as that one at the same backend; or, before a request that has met a dead one, it is
    /// not surely alive.
    pub(super) fn may_be_stale(&self, slot: usize, now: Instant) -> bool {
        let backend = self.token(slot).backend;
        self.idle_for(slot, now).is_some_and(|idle| {
            let sibling = self.stale.is_some_and(|(of, least)| of == backend && idle >= least);
            let waits = |request: &ModelRequest| {
                let waiting = matches!(
                    request.phase,
                    RequestPhase::Waiting
                        | RequestPhase::Deferred
                        | RequestPhase::PendingOutcome { .. }
                );
                request.needs_live && waiting
            };
            sibling || (idle >= SURELY_ALIVE && self.requests.iter().any(waits))
        })
    }

    /// Returns how long a connection may be idle: at most what its backend announced, less a second
    /// or a half.
    pub(super) fn idle_timeout(&self, slot: usize) -> Duration {
        let idle = self.config.timeouts.idle;
        let announced = self.connections[slot].keep_alive;
        announced.map_or(idle, |it| idle.min(it.saturating_sub(SURELY_ALIVE).max(it / 2)))
    }
}

/// True for the codes of RFC 9113, 7, by which a peer says that the other side is at fault.
fn accuses(code: u32) -> bool {
    matches!(code, 0x1 | 0x3 | 0x5 | 0x6 | 0x9 | 0xb | 0xc)
}
