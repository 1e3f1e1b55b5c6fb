//! Compares the pool's view of its backends, and its round-robin turns, with the model.

use baton::pool::{BackendId, Instant, Pool, Strategy};

use super::model::Model;
use super::time::Time as _;
use super::{Invariant, Verdict, require};

/// The number of times that a backend with capacity may be passed over, for each configured
/// backend.
const PASSED_OVER_MAX: u32 = 3;

impl Model {
    /// Checks round robin: a backend with capacity is not passed over repeatedly. A few times are
    /// allowed, because dials and retries take turns too. Not checked with slow start.
    pub(super) fn take_turn(&mut self, backend: BackendId, attempt: u8) -> Verdict {
        let slowly = !self.config.timeouts.slow_start.is_zero();
        if self.config.strategy != Strategy::RoundRobin || slowly {
            return Ok(());
        }
        let most = PASSED_OVER_MAX * self.backends.len() as u32;
        for index in 0..self.backends.len() {
            let ready = self.may_be_used(index) && self.has_room(index);
            let state = &mut self.backends[index];
            if index == usize::from(backend.0) || !ready {
                state.passed_over = 0;
            } else if attempt == 1 {
                state.passed_over += 1;
            }
            let times = state.passed_over;
            require(times <= most, Invariant::Fairness, || {
                format!("backend {index} had capacity and was passed over {times} times in a row")
            })?;
        }
        Ok(())
    }

    /// Checks that the pool's view of its backends equals the model.
    pub(super) fn compare_backends(&self, now: Instant, pool: &Pool) -> Verdict {
        require(self.joining.is_none(), Invariant::CommandLegality, || {
            "a backend was added in an occupied slot".to_owned()
        })?;
        require(self.judgement_due.is_none(), Invariant::Health, || {
            "a health check was reported, but the pool ordered no judgement".to_owned()
        })?;
        let fail_open = self.is_fail_open();
        require(pool.is_fail_open() == fail_open, Invariant::Health, || {
            format!("the pool is fail-open: {}, expected {fail_open}", pool.is_fail_open())
        })?;
        for index in 0..self.backends.len() {
            self.compare_backend(now, index, pool)?;
            self.compare_backoff(index, pool)?;
        }
        Ok(())
    }

    fn compare_backend(&self, now: Instant, index: usize, pool: &Pool) -> Verdict {
        let backend = BackendId(index as u16);
        let state = &self.backends[index];
        let own = state.state();
        let reported = state.reported.map(|(reported, _)| reported);
        require(reported == own, Invariant::Health, || {
            format!("backend {index} is {own:?}; the pool reported {:?}", state.reported)
        })?;
        let view = pool.backend(backend);
        let seen = view.map(|it| (it.state, it.since, it.token.generation, it.weight));
        let known = state.reported.map(|(own, since)| (own, since, state.generation, state.weight));
        require(seen == known, Invariant::Health, || {
            format!("backend {index} is {seen:?}, expected {known:?}")
        })?;
        let requests = view.map_or(0, |view| view.requests);
        require(requests == state.requests, Invariant::DerivedCounts, || {
            format!("backend {index} has {requests} requests, expected {}", state.requests)
        })?;
        let reported = (pool.may_be_used(backend), pool.is_healthy(backend));
        let own = (self.may_be_used(index), state.is_healthy());
        require(reported == own, Invariant::Health, || {
            let health = state.health;
            format!(
                "backend {index} is usable and healthy: {reported:?}, expected {own:?} ({health:?})"
            )
        })?;
        let share = self.share(now, index);
        require(pool.share(backend, now) == share, Invariant::Fairness, || {
            let reported = pool.share(backend, now);
            format!("backend {index} gets {reported} % of its weight, expected {share}")
        })
    }

    /// A returned backend gets a tenth of its share at first, and more as time passes.
    pub(super) fn share(&self, now: Instant, index: usize) -> u64 {
        let whole = self.config.timeouts.slow_start.as_nanos();
        match self.backends[index].returned {
            Some(returned) if now.past(returned).as_nanos() < whole => {
                let past = now.past(returned).as_nanos();
                ((past * 100 / whole) as u64).max(10)
            }
            _ => 100,
        }
    }

    fn compare_backoff(&self, index: usize, pool: &Pool) -> Verdict {
        let until = pool.backoff_until(BackendId(index as u16));
        require(self.fits_backoff(index, until), Invariant::Timers, || {
            let backoff = self.backends[index].backoff;
            format!("backend {index} is in backoff until {until:?}, expected {backoff:?}")
        })
    }

    /// True if a backend may be in backoff until then, or may be in none.
    pub(super) fn fits_backoff(&self, index: usize, until: Option<Instant>) -> bool {
        match (until, self.backends[index].backoff) {
            (None, None) => true,
            (Some(until), Some((least, most))) => least <= until && until <= most,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}
