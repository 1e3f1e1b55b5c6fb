//! Suspect connections: the check of their hosts, and the result.

use std::time::Duration;

use baton::pool::{ConnectionToken, Input, Instant};

use super::model::{ConnectionPhase, Model};
use super::time::Time as _;
use super::{Invariant, Verdict, fail, require};

/// The result of a suspicion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// The host is dead, as far as the system can tell.
    Dead,
    /// The host is alive, and no request is left on the connection.
    Unused,
    /// It is not known yet, or the backend is busy.
    Open,
}

impl Model {
    /// The host of a suspect connection is asked for once its time is over.
    pub(super) fn check_delivery(
        &mut self,
        now: Instant,
        input: Input,
        token: ConnectionToken,
    ) -> Verdict {
        let Some(slot) = self.slot(token) else {
            return fail(
                Invariant::CommandLegality,
                format!("a delivery check of {token:?}, which is gone"),
            );
        };
        let connection = &self.connections[slot];
        let legal = input == Input::Timeout
            && connection.phase == ConnectionPhase::Up
            && connection.suspect_until.is_some_and(|until| now >= until)
            && !connection.delivery_check;
        require(legal, Invariant::CommandLegality, || {
            format!("a delivery check of {token:?} after {input:?}")
        })?;
        let until = now.plus(self.config.timeouts.suspect);
        let connection = &mut self.connections[slot];
        connection.delivery_check = true;
        connection.suspect_until = Some(until);
        Ok(())
    }

    /// A connection whose host is dead must be closed at once, and so must one without a request;
    /// the other ones are asked again.
    pub(super) fn delivery_checked(
        &mut self,
        now: Instant,
        token: ConnectionToken,
        unanswered: Option<u32>,
    ) {
        let slot = self.known(token);
        let patience = self.config.timeouts.suspect;
        let is_useless = is_dead(unanswered) || !self.carries_request(slot);
        let has_place = self.has_connection_place(usize::from(token.backend.0));
        let connection = &mut self.connections[slot];
        assert!(std::mem::take(&mut connection.delivery_check), "answered Done");
        if !connection.is_suspect() {
            return;
        }
        let has_answered = connection.is_busy && connection.ping.is_none();
        if has_answered && has_place && !is_useless {
            return self.recover(now, slot);
        }
        connection.is_busy |= !is_useless;
        let until = if is_useless { now } else { now.plus(patience) };
        connection.suspect_until = Some(until);
    }

    /// A suspect connection takes streams again.
    pub(super) fn recover(&mut self, now: Instant, slot: usize) {
        if self.connections[slot].is_suspect() && self.connections[slot].load == 0 {
            // A suspect connection is not idle; one that recovers without streams is idle from now.
            self.begin_idle(now, slot);
        }
        let connection = &mut self.connections[slot];
        if connection.suspect_until.take().is_some() {
            connection.silence_most = Duration::ZERO;
        }
        connection.is_busy = false;
    }

    /// The result of the suspicion against a connection, if it is due.
    pub(super) fn suspicion(&self, input: Input, token: ConnectionToken, slot: usize) -> Suspicion {
        match input {
            Input::Timeout if self.connections[slot].delivery_check => Suspicion::Dead,
            Input::DeliveryChecked { connection, unanswered } if connection == token => {
                if is_dead(unanswered) {
                    Suspicion::Dead
                } else if self.carries_request(slot) {
                    Suspicion::Open
                } else {
                    Suspicion::Unused
                }
            }
            _ => Suspicion::Open,
        }
    }
}

/// True if a host is dead by what its system knows: it has left two segments in a row unanswered,
/// one of which may have been lost, or the system cannot tell.
fn is_dead(unanswered: Option<u32>) -> bool {
    unanswered.is_none_or(|segments| segments >= 2)
}
