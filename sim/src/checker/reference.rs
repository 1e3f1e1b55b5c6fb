//! A reference balancer for the strategies that take turns. It says exactly which backend gets the
//! next stream or dial, from what the manual says of turns (stride scheduling, Waldspurger 1995):
//!
//! - each stream and each dial uses up a turn, whose length is the inverse of the share;
//! - so does being passed over for lack of room, and then a dial is due unless one is in progress;
//! - the earliest turn is next, the lower index if turns are equal;
//! - a backend that can be used again, or has room again, continues at the time of the last stream
//!   of a first attempt, and collects no missed turns;
//! - after a change of the strategy all turns are equal; a raised weight applies at once.

use baton::pool::{BackendId, Input, Instant, Output, Pool, Strategy, TimerReason};

use super::model::Model;
use super::turns::{Places, TURN};
use super::{Invariant, Verdict, require};

impl Model {
    pub(super) fn is_by_turns(&self) -> bool {
        matches!(self.config.strategy, Strategy::RoundRobin | Strategy::Weighted)
    }

    /// True if the model knows whose turn it is.
    fn knows_turns(&self) -> bool {
        self.is_by_turns() && self.reference.is_exact
    }

    /// Notes how backends can be chosen, after a fact.
    pub(super) fn note_places(&mut self) {
        for index in 0..self.backends.len() {
            self.note_place(index);
        }
    }

    /// Notes how backends can be chosen, after an order that may change that.
    pub(super) fn note_places_after(&mut self, input: Input, order: Output) {
        match order {
            Output::Connect { connection } => {
                self.note_place(usize::from(connection.backend.0));
            }
            Output::OpenStream { stream, .. } => {
                self.note_place(usize::from(stream.connection.backend.0));
            }
            // A silent connection may eject its backend, and health is ignored then.
            Output::Close { .. } | Output::BackendChanged { .. } | Output::BackendGone { .. } => {
                self.note_places();
            }
            Output::RequestEnded { .. } if input == Input::Timeout => self.note_places(),
            Output::RequestEnded { .. }
            | Output::AttemptFailed(_)
            | Output::ResetStream { .. }
            | Output::Ping { .. }
            | Output::CheckDelivery { .. }
            | Output::CheckHealth { .. }
            | Output::HealthCheckJudged { .. } => {}
        }
    }

    pub(super) fn note_place(&mut self, index: usize) {
        if !self.is_by_turns() {
            return;
        }
        let is = self.places_of(index);
        let was = std::mem::replace(&mut self.reference.places[index], is);
        if (is.usable && !was.usable) || (is.room && !was.room) {
            self.reference.forgive(index);
        }
    }

    fn places_of(&self, index: usize) -> Places {
        if !self.may_be_used(index) {
            return Places::default();
        }
        let dial = self.backends[index].backoff.is_none() && self.has_place_for_dial(index);
        let slow_dial = dial && self.has_slow_dial(index);
        let room = self.has_room(index);
        Places { usable: true, room, dial: dial && !slow_dial, slow_dial }
    }

    /// Judges a dial before it is applied. `serves` is the request that gets the stream of another
    /// backend, if it is this one's turn and it has no room.
    pub(super) fn expect_dial(
        &mut self,
        now: Instant,
        backend: usize,
        serves: Option<u32>,
    ) -> Verdict {
        if !self.knows_turns() {
            return Ok(());
        }
        let reference = &self.reference;
        if let Some(request) = serves {
            let next = reference.first(|it| it.usable, self.avoided(request));
            let places = reference.places[backend];
            let idle = self.dials(backend).next().is_none();
            let fits = next == Some(backend) && !places.room && places.dial && idle;
            require(fits, Invariant::Choice, || {
                format!(
                    "backend {backend} is dialled for its turn; the turn is of {next:?}: {reference:?}"
                )
            })?;
            self.reference.dialled_in_turn = Some(backend);
        } else {
            let first = reference.first(|it| it.dial, None);
            let next = first.or_else(|| reference.first(|it| it.slow_dial, None));
            require(next == Some(backend), Invariant::Choice, || {
                format!("backend {backend} is dialled; the turn is of {next:?}: {reference:?}")
            })?;
        }
        self.charge(now, backend);
        Ok(())
    }

    /// Judges the backend of a stream before it is applied.
    pub(super) fn expect_backend_in_turn(
        &mut self,
        now: Instant,
        chosen: usize,
        request: u32,
    ) -> Verdict {
        if !self.knows_turns() {
            return Ok(());
        }
        let avoid = self.avoided(request);
        let mut next = self.reference.first(|it| it.room, avoid);
        if !self.requests[request as usize].needs_live {
            let dialled = self.reference.dialled_in_turn.take();
            let turn = dialled.or_else(|| self.reference.first(|it| it.usable, avoid));
            match turn {
                Some(turn) if self.reference.places[turn].room => next = Some(turn),
                Some(turn) => {
                    let due = dialled.is_none()
                        && self.reference.places[turn].dial
                        && self.dials(turn).next().is_none();
                    require(!due, Invariant::Choice, || {
                        format!("backend {turn} has no room in its turn, and is not dialled")
                    })?;
                    self.charge(now, turn);
                }
                None => {}
            }
        }
        require(next == Some(chosen), Invariant::Choice, || {
            let reference = &self.reference;
            format!("backend {chosen} gets a stream; the turn is of {next:?}: {reference:?}")
        })?;
        if avoid.is_none() {
            self.reference.now = self.reference.now.max(self.reference.turns[chosen]);
        }
        self.charge(now, chosen);
        Ok(())
    }

    /// The backend that has just failed the request.
    pub(super) fn avoided(&self, request: u32) -> Option<usize> {
        let request = &self.requests[request as usize];
        let last = request.last_stream.filter(|_| request.attempts > 0);
        last.map(|last| usize::from(last.connection.backend.0))
    }

    /// Uses up a turn.
    fn charge(&mut self, now: Instant, backend: usize) {
        let weight = match self.config.strategy {
            Strategy::Weighted => u64::from(self.backends[backend].weight),
            Strategy::RoundRobin | Strategy::Random | Strategy::LeastLoaded => 1,
        };
        let share = self.share(now, backend);
        self.reference.turns[backend] += TURN / weight * 100 / share;
    }

    /// Notes that the wait before a dial is over, which the pool alone knows exactly.
    pub(super) fn see_backoff(&mut self, now: Instant, pool: &Pool) -> Verdict {
        if !self.has_fired(TimerReason::Backoff) {
            return Ok(());
        }
        for index in 0..self.backends.len() {
            let Some((least, _)) = self.backends[index].backoff else { continue };
            if pool.backoff_until(BackendId(index as u16)).is_none() {
                require(now >= least, Invariant::Timers, || {
                    format!("the backoff of backend {index} ended before {least:?}")
                })?;
                self.backends[index].backoff = None;
                self.reference.forgive(index);
            }
        }
        Ok(())
    }
}
