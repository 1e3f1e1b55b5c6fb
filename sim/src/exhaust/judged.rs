//! A pool and its checker, and what each step of a search does to them.

use baton::pool::{Config, Handled, Input, Instant, Pool, canonical};

use super::identity::of_pool;
use super::search::Scratch;
use crate::checker::{Checker, Invariant, Violation};
use crate::panics::caught;

/// A pool and its checker.
#[derive(Clone)]
pub(super) struct Judged {
    pub(super) pool: Pool,
    pub(super) checker: Checker,
}

impl Judged {
    pub(super) fn new(config: Config) -> Self {
        let checker = Checker::new(&config);
        Self { pool: Pool::new(config, 0).expect("the scope is within bounds"), checker }
    }

    /// When the next timer is due, unless that is almost never.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let (at, _) = self.pool.poll_timeout()?;
        (at.0.saturating_sub(now.0) < canonical::FAR).then(|| now.max(at))
    }

    /// Gives the pool a fact and judges what it does. The orders are in `scratch`.
    pub(super) fn step(
        &mut self,
        now: Instant,
        input: Input,
        scratch: &mut Scratch,
    ) -> Result<Handled, Violation> {
        let Self { pool, checker } = self;
        let Scratch { coverage, orders, .. } = scratch;
        caught(|| checker.step(pool, now, input, coverage, orders, |_, _, _| {}))
    }

    /// Gives the pool an ineffective fact, which must change nothing: neither now nor after it is
    /// the identity of the pool another one than `before`.
    pub(super) fn ineffective(
        &mut self,
        now: Instant,
        input: Input,
        before: u128,
        scratch: &mut Scratch,
    ) -> Result<(), Violation> {
        let handled = self.step(now, input, scratch)?;
        let refused = matches!(handled, Handled::Stale | Handled::Refused);
        if !refused || of_pool(&self.pool, now) != before {
            let what = format!("{input:?}, answered {handled:?}, changed the pool");
            return Err(Violation { invariant: Invariant::NoResurrection, what });
        }
        Ok(())
    }
}
