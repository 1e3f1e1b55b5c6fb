//! Several pools in one world: one for each worker, and one that replaces another. The first worker
//! checks the health of the backends and reports its results to the others, in order but late. The
//! operator's orders and the faults of backends reach all pools at the same time. Each pool has its
//! own share of the requests, and its own connections: a directive about "the 2nd connection of
//! backend 1" is about that of each pool.

use baton::pool::{BackendState, HealthChecking, ShutdownCause};

use super::tables::{Event, HealthResult, NEVER, RunPhase, in_turn};
use super::{World, tables};
use crate::checker::{Invariant, SideBySide, Verdict, Violation, require};
use crate::draw::Domain;
use crate::plan::{Act, Change, Plan, When};

/// The longest time until a worker learns a result, in nanoseconds.
const INFORMED_LATE_MAX: u64 = 20_000_000;

/// The pools of all workers, each with what surrounds it.
pub(super) struct Workers<'a> {
    worlds: Vec<World<'a>>,
    /// True if workers that know the same results must have the same backends down.
    must_agree: bool,
}

impl<'a> Workers<'a> {
    pub(super) fn new(plan: &Plan, worlds: Vec<World<'a>>) -> Self {
        Self { worlds, must_agree: has_settled_checks(plan) }
    }

    pub(super) fn run(&mut self) -> Verdict {
        while let Some(place) = self.next()? {
            self.turn(place)?;
            self.pass_on(place);
            self.check_agreement()?;
        }
        for (place, world) in self.worlds.iter().enumerate() {
            world.check_quiescence().map_err(|violation| of_pool(place, violation))?;
        }
        Ok(())
    }

    /// Records the coverage that only the whole run shows. Returns the model and the pool after the
    /// step that broke an invariant, if one did, and the virtual time in nanoseconds.
    pub(super) fn finish(mut self) -> (Option<SideBySide>, u64) {
        let now = self.worlds.iter().map(World::now).max().unwrap_or_default();
        self.worlds.iter_mut().for_each(World::finish);
        (self.worlds.iter_mut().find_map(World::take_broken), now)
    }

    /// A pool begins, or processes its next event.
    fn turn(&mut self, place: usize) -> Verdict {
        if self.worlds[place].phase == RunPhase::Before {
            self.begin(place);
            return Ok(());
        }
        self.worlds[place].turn().map_err(|violation| of_pool(place, violation))
    }

    /// The pool whose next event is the first; `None` if all have ended. All pools close once all
    /// have recovered: before, one may need the health checks of another.
    fn next(&mut self) -> Result<Option<usize>, Violation> {
        let recovers = |world: &World<'_>| {
            !matches!(world.phase, RunPhase::Recovered | RunPhase::Closing | RunPhase::Done)
        };
        if !self.worlds.iter().any(recovers) {
            for (place, world) in self.worlds.iter_mut().enumerate() {
                if world.phase == RunPhase::Recovered {
                    world.start_closing().map_err(|violation| of_pool(place, violation))?;
                }
            }
        }
        let times = self.worlds.iter().enumerate();
        let times = times.filter_map(|(place, world)| Some((world.next_at()?, place)));
        Ok(times.min().map(|(_, place)| place))
    }

    /// A pool begins. One that replaces another one finds the backends as they are. Its
    /// configuration is that at the start: earlier orders of the operator are not repeated.
    fn begin(&mut self, place: usize) {
        let from = self.worlds[place].seat.from;
        if from > 0 {
            let before = self.worlds[place - 1].servers.clone();
            for (server, before) in self.worlds[place].servers.iter_mut().zip(before) {
                let token = server.token;
                *server = tables::Server { token, added: 0, connections: 0, ..before };
            }
        }
        self.worlds[place].begin();
    }

    /// Reports the results of health checks to the other workers.
    fn pass_on(&mut self, from: usize) {
        let judged = std::mem::take(&mut self.worlds[from].judged);
        let (now, seat) = (self.worlds[from].now, self.worlds[from].seat);
        let over = self.worlds[from].shutdown.is_some();
        for world in &mut self.worlds {
            if world.seat.worker == seat.worker || world.phase == RunPhase::Before {
                continue;
            }
            world.is_orphaned |= over && seat.until == NEVER && !seat.is_informed();
            for result in &judged {
                world.will_learn(now, *result);
            }
        }
    }

    /// Checks that all workers have taken the same backends down for their health checks, once they
    /// know the same results.
    fn check_agreement(&self) -> Verdict {
        let checks = &self.worlds[0];
        let knows = |world: &World<'_>| {
            world.seat.from == 0 && world.shutdown.is_none() && world.results_due == 0
        };
        if !self.must_agree || !checks.orders_checks() || !knows(checks) {
            return Ok(());
        }
        for world in self.worlds[1..].iter().filter(|world| knows(world)) {
            for server in 0..world.servers.len() {
                let (one, other) = (checks.is_down(server), world.is_down(server));
                let same_backend = checks.servers[server].added == world.servers[server].added;
                let agree = one.is_none() || other.is_none() || one == other || !same_backend;
                require(agree, Invariant::Health, || {
                    format!(
                        "backend {server} is down in one worker and not in another, which know the \
                         same results: {one:?} and {other:?} in pool {}",
                        world.seat.pool
                    )
                })?;
            }
        }
        Ok(())
    }
}

fn of_pool(place: usize, violation: Violation) -> Violation {
    Violation { what: format!("(pool {place}) {}", violation.what), ..violation }
}

/// True if each worker gets each result once, and no setting of health checks changes: workers that
/// learn a result before and after the change may judge it differently.
fn has_settled_checks(plan: &Plan) -> bool {
    let is_of_checks = |change: &Change| match change {
        Change::Fall(_) | Change::HealthChecking(_) => true,
        Change::Setting { name, .. } => name.is_of_checks(),
        _ => false,
    };
    plan.directives.iter().all(|directive| match &directive.act {
        Act::Change { change } => !is_of_checks(change),
        Act::ChangeAll { changes } => !changes.iter().any(is_of_checks),
        // A result that one worker gets twice counts twice.
        Act::Replay { .. } => false,
        // Elsewhere the workers meet the moment at different times, between different results.
        Act::Add { .. } | Act::Remove { .. } | Act::Drain { .. } | Act::Undrain { .. } => {
            directive.when == When::Start
        }
        _ => true,
    })
}

impl World<'_> {
    /// Another worker has found a result: this one learns it later, in the order of the results.
    fn will_learn(&mut self, now: u64, result: HealthResult) {
        let place = self.seat.pool as u64;
        let late =
            self.draws.between(Domain::Workers, place, self.informed_at, 0, INFORMED_LATE_MAX);
        let at = in_turn(&mut self.informed_at, now + late, 1);
        self.results_due += 1;
        self.schedule(at.max(self.now), Event::Informed(result));
    }

    /// The worker learns the result of another one's health check.
    pub(super) fn learn(&mut self, result: HealthResult) -> Verdict {
        self.results_due -= 1;
        let HealthResult { server, added, passed } = result;
        let known = &self.servers[usize::from(server)];
        let over = matches!(self.phase, RunPhase::Closing | RunPhase::Done);
        match known.token.filter(|_| known.added == added && !over) {
            Some(backend) => {
                let number = 0;
                let input = baton::pool::Input::HealthCheckFinished { backend, number, passed };
                self.tell(input).map(drop)
            }
            None => Ok(()),
        }
    }

    /// The operator stops this pool, because another one takes its place.
    pub(super) fn replaced(&mut self) -> Verdict {
        let cause = ShutdownCause::PoolReplaced;
        self.shutdown.get_or_insert(cause);
        self.tell(baton::pool::Input::ShutdownRequested { cause }).map(drop)
    }

    fn orders_checks(&self) -> bool {
        self.pool.config().health_checking == HealthChecking::Ordered
    }

    /// True if the pool has taken the backend down; `None` unless it is in service.
    fn is_down(&self, server: usize) -> Option<bool> {
        let state = self.state_of(server as u16)?;
        let in_service = !matches!(state, BackendState::Draining | BackendState::Removed);
        in_service.then_some(state == BackendState::Down)
    }
}

#[cfg(test)]
mod tests {
    use super::super::seat::Seat;
    use super::*;
    use crate::coverage::Coverage;
    use crate::faults::{Family, Profile};
    use crate::plan::{Directive, WorldName};
    use crate::trace::Trace;

    /// Two workers, and a backend that cannot be reached for a while.
    fn plan() -> Plan {
        let mut plan = crate::faults::plan(1, Profile::Calm, WorldName::Pool);
        plan.pool.workers = 2;
        plan.pool.config.health_checking = HealthChecking::Ordered;
        plan.pool.config.timeouts.health_check_interval = std::time::Duration::from_secs(1);
        plan.heal.at_us = 60_000_000;
        plan.directives = vec![Directive {
            family: Family::Unreachable,
            when: When::Start,
            after_us: 1_000_000,
            act: Act::Unreachable { backend: 0, hangs: false, for_us: 30_000_000 },
        }];
        plan
    }

    /// Runs the plan; if `loses`, no worker learns anything. Returns true if the backend was down
    /// in the second worker.
    fn run(plan: &Plan, loses: bool) -> (Verdict, bool) {
        let seats = Seat::all(&plan.pool);
        let mut parts = [(); 2].map(|()| (Coverage::default(), Trace::hash_only()));
        let worlds = seats.iter().zip(&mut parts);
        let worlds =
            worlds.map(|(seat, (coverage, trace))| World::at(*seat, plan, coverage, trace));
        let mut all = Workers::new(plan, worlds.collect());
        let (mut verdict, mut was_down) = (Ok(()), false);
        while let (Ok(()), Ok(Some(place))) = (&verdict, all.next()) {
            verdict = all.turn(place);
            if loses {
                all.worlds[place].judged.clear();
            }
            all.pass_on(place);
            was_down |= all.worlds[1].is_down(0) == Some(true);
            verdict = verdict.and_then(|()| all.check_agreement());
        }
        (verdict, was_down)
    }

    #[test]
    fn a_worker_takes_backends_down_for_the_checks_of_another() {
        assert_eq!(run(&plan(), false), (Ok(()), true));
    }

    #[test]
    fn a_worker_that_learns_nothing_is_found() {
        let (verdict, was_down) = run(&plan(), true);
        let found = verdict.expect_err("the workers disagree");
        assert_eq!((found.invariant, was_down), (Invariant::Health, false));
        assert!(found.what.contains("in one worker and not in another"), "{}", found.what);
    }

    #[test]
    fn requests_after_the_replacement_go_to_the_other_pool() {
        let mut plan = plan();
        plan.pool.replaced_at_us = Some(5_000);
        let seats = Seat::all(&plan.pool);
        let serves = |place, at| seats.iter().position(|seat| seat.serves(place, at));
        assert_eq!([serves(0, 0), serves(1, 0)], [Some(0), Some(1)]);
        assert_eq!([serves(0, 5_000_000), serves(1, 5_000_000)], [Some(0), Some(2)]);
        assert!(seats[2].is_informed());
    }
}
