//! Judges the reports to people and peers: codes of resets, causes of states, and counters.

use baton::pool::input::code;
use baton::pool::{BackendState, BackendToken, Counters, Handled, Input, StateCause, StreamToken};

use super::model::Model;
use super::{Invariant, Verdict, require};

impl Model {
    /// The rest of a request whose response is complete is stopped without an error (RFC 9113,
    /// 8.1). In all other cases the response is not wanted any more.
    pub(super) fn expect_reset_code(&self, input: Input, token: StreamToken, code: u32) -> Verdict {
        let answered = matches!(input, Input::ResponseEnded { .. });
        let wanted = if answered { code::NO_ERROR } else { code::CANCEL };
        require(code == wanted, Invariant::Reports, || {
            format!("{token:?} is reset with code {code} after {input:?}, expected {wanted}")
        })
    }

    /// A state has the cause that the fact shows. A state that shows again because its backend is
    /// no longer down has the cause of that.
    pub(super) fn expect_cause(
        &self,
        input: Input,
        backend: BackendToken,
        before: Option<BackendState>,
        state: BackendState,
        cause: StateCause,
    ) -> Verdict {
        // The status with which the backend has answered.
        let answered = match input {
            Input::ResponseStarted { stream, status } => {
                Some(status).filter(|_| stream.connection.backend == backend.backend)
            }
            _ => None,
        };
        let wanted = match (state, input) {
            (BackendState::Draining, _) => StateCause::Operator,
            (_, Input::DrainCancelled { .. }) => StateCause::Operator,
            (BackendState::Removed, _) => StateCause::Configured,
            (_, Input::SettingChanged { .. } | Input::BackendAdded { .. }) => {
                StateCause::Configured
            }
            (BackendState::Down, _) => StateCause::HealthChecks,
            _ if before == Some(BackendState::Down) => StateCause::HealthChecks,
            (BackendState::Ejected, _) if matches!(answered, Some(502..=504)) => {
                StateCause::GatewayFailures
            }
            (BackendState::Ejected, _) => StateCause::Failures,
            (BackendState::HalfOpen, Input::Timeout) => StateCause::EjectionOver,
            (BackendState::HalfOpen | BackendState::Up, _) if answered.is_some() => {
                StateCause::Answered
            }
            (BackendState::HalfOpen | BackendState::Up, _) => StateCause::EjectionOver,
        };
        require(cause == wanted, Invariant::Reports, || {
            format!("{backend:?} is {state} because of {cause} after {input:?}, expected {wanted}")
        })
    }

    /// Counts what a fact without effect adds to the counters.
    pub(super) fn count_answer(&mut self, handled: Handled) {
        self.counters.stale += u64::from(handled == Handled::Stale);
        self.counters.refused += u64::from(handled == Handled::Refused);
    }

    pub(super) fn compare_counters(&self, counters: Counters) -> Verdict {
        require(counters == self.counters, Invariant::Reports, || {
            format!("the pool counts {counters:?}, expected {:?}", self.counters)
        })
    }
}
