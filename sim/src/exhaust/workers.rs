//! The search of the pools of two workers for the same backends. The first orders the health checks
//! of the process, and hands each result to the second, as the shell does: by a queue of commands.
//! The operator's orders go to both, by a queue each.
//!
//! A command waits for any time, in its order. The pools are separate values, so that a step in one
//! cannot change the other; only a command can. Both share the clock, and a worker is never late:
//! time passes when the earlier of the two next timers is due.
//!
//! Beyond what the checkers of the pools demand, once no command is under way:
//! - a backend is down in one pool if and only if it is down in the other;
//! - it is in service, drained or removed in both, as the operator has ordered.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton::pool::{
    BackendId, BackendState, BackendToken, Config, Handled, HealthChecking, Input, Instant, Output,
};

use super::found::Fact;
use super::identity::{Seen, identity, of_pool};
use super::judged::Judged;
use super::scope::{Scope, Spent, config};
use super::search::{Failure, Space, Trial};
use crate::checker::{Invariant, Verdict, require};

/// The worker whose pool orders the health checks, and the one that gets their results.
const FIRST: usize = 0;
const SECOND: usize = 1;
/// Health checks in a row that take a backend down, or bring it up.
const IN_A_ROW: u32 = 2;

/// The states of two pools.
pub(super) struct Workers<'a> {
    scope: &'a Scope,
    /// The identities of each worker's pools in which the ineffective facts were tried. The states
    /// of the other pool make no difference to that.
    tried: [Mutex<Seen>; 2],
}

/// A state of two pools.
#[derive(Clone)]
pub(super) struct State {
    pools: [Arc<Judged>; 2],
    /// The identities of the pools, now.
    identities: [u128; 2],
    /// The commands under way to each worker, the oldest first.
    commands: [Vec<Command>; 2],
    /// The service of each backend as the operator ordered it last.
    ordered: Vec<Service>,
    /// Health checks ordered so far.
    checks: usize,
    now: Instant,
    spent: Spent,
}

/// A command to a worker about the backend with this index. No backend is added, so that it has
/// the same index in both pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Command {
    /// A health check passed or failed.
    Checked(u16, bool),
    Drain(u16),
    CancelDrain(u16),
    Remove(u16),
}

/// The service of a backend, as an operator knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Service {
    In,
    Drained,
    Removed,
}

/// A step: a fact that a worker's pool gets, or a command that the worker carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Fact(Input),
    Command(Command),
}

impl Space for Workers<'_> {
    type State = State;

    fn start(&self) -> (State, u128) {
        let now = Instant::ZERO;
        let pools = [FIRST, SECOND].map(|worker| Arc::new(Judged::new(self.config(worker))));
        let state = State {
            identities: [FIRST, SECOND].map(|worker| of_pool(&pools[worker].pool, now)),
            pools,
            commands: [Vec::new(), Vec::new()],
            ordered: vec![Service::In; self.scope.backends],
            checks: 0,
            now,
            spent: Spent::default(),
        };
        let identity = state.identity();
        (state, identity)
    }

    fn explore(&self, state: State, trial: &mut Trial<'_, State>) -> Result<(), Failure> {
        for worker in [FIRST, SECOND] {
            let mut facts = Vec::new();
            state.pools[worker].checker.choices(&mut facts);
            if worker == FIRST {
                state.pools[worker].checker.health_check_choices(&mut facts);
            }
            self.scope.keep_next(&mut facts);
            for input in facts {
                self.step(&state, worker, Cause::Fact(input), trial)?;
            }
            if let Some(command) = state.commands[worker].first() {
                self.step(&state, worker, Cause::Command(*command), trial)?;
            }
            let mut tried = self.tried[worker].lock().expect("no thread panics");
            let is_new = tried.insert(state.identities[worker]);
            drop(tried);
            if is_new {
                state.try_ineffective(worker, trial)?;
            }
        }
        if self.scope.operator {
            for command in state.orders() {
                self.order(&state, command, trial);
            }
        }
        Ok(())
    }
}

impl<'a> Workers<'a> {
    pub(super) fn new(scope: &'a Scope) -> Self {
        Self { scope, tried: Default::default() }
    }

    fn config(&self, worker: usize) -> Config {
        let mut config = config(self.scope);
        config.limits.backends = self.scope.backends;
        config.health_checking =
            if worker == FIRST { HealthChecking::Ordered } else { HealthChecking::Reported };
        config.health.fall = IN_A_ROW;
        config.health.rise = IN_A_ROW;
        config.timeouts.health_check_interval = Duration::from_nanos(1);
        config
    }

    /// Tries a step of a worker, if it is within the scope.
    fn step(
        &self,
        state: &State,
        worker: usize,
        cause: Cause,
        trial: &mut Trial<'_, State>,
    ) -> Result<(), Failure> {
        let (input, spent) = match cause {
            Cause::Fact(input) => (input, state.spent.after(self.scope, input)),
            Cause::Command(command) => (command.input(), Some(state.spent)),
        };
        let at = if input == Input::Timeout { state.due(worker) } else { Some(state.now) };
        let (Some(spent), Some(at)) = (spent, at) else {
            return Ok(());
        };
        trial.count();
        let fact = Fact { at, worker: Some(worker), input };
        let failure = |violation| Failure { violation, fact };
        let mut judged = Judged::clone(&state.pools[worker]);
        let handled = judged.step(at, input, &mut trial.scratch).map_err(failure)?;
        let orders = &trial.scratch.orders;
        judge(worker, cause, handled, orders).map_err(failure)?;
        let mut next = State { now: at, spent, ..state.clone() };
        next.pools[worker] = Arc::new(judged);
        if let Cause::Command(_) = cause {
            let _ = next.commands[worker].remove(0);
        }
        for order in orders {
            match order {
                Output::CheckHealth { .. } => next.checks += 1,
                Output::HealthCheckJudged { backend, passed } => {
                    next.commands[SECOND].push(Command::Checked(backend.backend.0, *passed));
                }
                _ => {}
            }
        }
        if next.checks > self.scope.checks {
            return Ok(());
        }
        next.agree().map_err(failure)?;
        for (changed, identity) in next.identities.iter_mut().enumerate() {
            if changed == worker || at != state.now {
                *identity = of_pool(&next.pools[changed].pool, at);
            }
        }
        trial.reach(fact, next.identity(), || Some(next));
        Ok(())
    }

    /// The operator gives an order, if it is within the scope.
    fn order(&self, state: &State, command: Command, trial: &mut Trial<'_, State>) {
        let input = command.input();
        let Some(spent) = state.spent.after(self.scope, input) else {
            return;
        };
        trial.count();
        let mut next = State { spent, ..state.clone() };
        for commands in &mut next.commands {
            commands.push(command);
        }
        next.ordered[command.backend()] = match command {
            Command::Checked(..) => unreachable!("the operator orders no result"),
            Command::Drain(_) => Service::Drained,
            Command::CancelDrain(_) => Service::In,
            Command::Remove(_) => Service::Removed,
        };
        let fact = Fact { at: state.now, worker: None, input };
        trial.reach(fact, next.identity(), || Some(next));
    }
}

impl State {
    fn identity(&self) -> u128 {
        identity(&self.identities, self.spent, &(&self.commands, &self.ordered, self.checks))
    }

    /// When the next timer of a worker is due, unless one of the other is due before.
    fn due(&self, worker: usize) -> Option<Instant> {
        let at = self.pools[worker].due(self.now)?;
        let other = self.pools[1 - worker].due(self.now);
        other.is_none_or(|other| at <= other).then_some(at)
    }

    /// Tries every ineffective fact in the pool of a worker.
    fn try_ineffective(&self, worker: usize, trial: &mut Trial<'_, Self>) -> Result<(), Failure> {
        let mut judged = Judged::clone(&self.pools[worker]);
        let mut facts = Vec::new();
        judged.checker.ineffective_choices(&mut facts);
        for input in facts {
            trial.count();
            let before = self.identities[worker];
            let fact = Fact { at: self.now, worker: Some(worker), input };
            judged
                .ineffective(self.now, input, before, &mut trial.scratch)
                .map_err(|violation| Failure { violation, fact })?;
        }
        Ok(())
    }

    /// The orders that the operator can give, by what it ordered before.
    fn orders(&self) -> impl Iterator<Item = Command> {
        (0..).zip(&self.ordered).flat_map(|(backend, service)| match service {
            Service::In => vec![Command::Drain(backend), Command::Remove(backend)],
            Service::Drained => vec![Command::CancelDrain(backend), Command::Remove(backend)],
            Service::Removed => Vec::new(),
        })
    }

    /// Checks that both pools have the same opinion of each backend, once no command is under way.
    fn agree(&self) -> Verdict {
        if self.commands.iter().any(|commands| !commands.is_empty()) {
            return Ok(());
        }
        for (index, ordered) in (0..).zip(&self.ordered) {
            let [first, second] = self.states(BackendId(index));
            for state in [first, second] {
                let service = match state {
                    None | Some(BackendState::Removed) => Service::Removed,
                    Some(BackendState::Draining) => Service::Drained,
                    Some(
                        BackendState::Up
                        | BackendState::Ejected
                        | BackendState::HalfOpen
                        | BackendState::Down,
                    ) => Service::In,
                };
                require(service == *ordered, Invariant::Operation, || {
                    format!("backend {index} is {first:?} and {second:?}, ordered: {ordered:?}")
                })?;
            }
            let down = |state| state == Some(BackendState::Down);
            require(down(first) == down(second), Invariant::Health, || {
                format!("backend {index} is {first:?} for one worker, {second:?} for the other")
            })?;
        }
        Ok(())
    }

    /// The state of a backend in each pool.
    fn states(&self, backend: BackendId) -> [Option<BackendState>; 2] {
        [FIRST, SECOND].map(|worker| {
            let view = self.pools[worker].pool.backend(backend);
            view.map(|view| view.state)
        })
    }
}

impl Command {
    fn backend(self) -> usize {
        let (Self::Checked(backend, _)
        | Self::Drain(backend)
        | Self::CancelDrain(backend)
        | Self::Remove(backend)) = self;
        usize::from(backend)
    }

    /// The fact that a worker gives its pool when it carries out the command. A result of a health
    /// check that another worker has made has no number.
    fn input(self) -> Input {
        let token = |backend| BackendToken { backend: BackendId(backend), generation: 1 };
        match self {
            Self::Checked(backend, passed) => {
                Input::HealthCheckFinished { backend: token(backend), number: 0, passed }
            }
            Self::Drain(backend) => {
                let within = Some(Duration::from_nanos(1));
                Input::DrainRequested { backend: token(backend), within }
            }
            Self::CancelDrain(backend) => Input::DrainCancelled { backend: token(backend) },
            Self::Remove(backend) => Input::BackendRemoved { backend: token(backend) },
        }
    }
}

/// Checks what a worker can rely on: the second pool orders no health check and judges none; the
/// first judges each that has finished, once, as it finished; an order is obeyed.
fn judge(worker: usize, cause: Cause, handled: Handled, orders: &[Output]) -> Verdict {
    let judged: Vec<_> = orders
        .iter()
        .filter(|order| {
            matches!(order, Output::CheckHealth { .. } | Output::HealthCheckJudged { .. })
        })
        .copied()
        .collect();
    if worker == SECOND {
        require(judged.is_empty(), Invariant::CommandLegality, || {
            format!("{judged:?} in the pool that only gets results")
        })?;
    }
    match cause {
        Cause::Fact(Input::HealthCheckFinished { backend, passed, .. }) => {
            let expected = [Output::HealthCheckJudged { backend, passed }];
            require(judged == expected, Invariant::Health, || {
                format!("the finished health check led to {judged:?}, expected {expected:?}")
            })
        }
        Cause::Command(Command::Drain(_) | Command::CancelDrain(_) | Command::Remove(_)) => {
            require(handled == Handled::Done, Invariant::Operation, || {
                format!("{cause:?} was answered {handled:?}")
            })
        }
        Cause::Fact(_) | Cause::Command(Command::Checked(..)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exhaust::scope::Faults;
    use crate::exhaust::search::{Scratch, search};

    const SCOPE: Scope = Scope {
        backends: 1,
        connections: 1,
        streams: 1,
        requests: 1,
        faults: Faults(Some(0)),
        operator: true,
        reported: false,
        workers: 2,
        checks: 2,
        late_answers: false,
        states: u64::MAX,
    };
    const BACKEND: BackendToken = BackendToken { backend: BackendId(0), generation: 1 };

    fn give(state: &mut State, worker: usize, input: Input) -> Vec<Output> {
        let mut scratch = Scratch::default();
        let pool = Arc::make_mut(&mut state.pools[worker]);
        assert_eq!(pool.step(state.now, input, &mut scratch), Ok(Handled::Done));
        scratch.orders
    }

    /// The first pool orders a health check, which fails.
    fn fail_one(state: &mut State) {
        state.now = state.due(FIRST).expect("a check is due");
        let orders = give(state, FIRST, Input::Timeout);
        let [Output::CheckHealth { backend: BACKEND, number }] = orders[..] else {
            panic!("a check was due, not {orders:?}");
        };
        let finished = Input::HealthCheckFinished { backend: BACKEND, number, passed: false };
        let _ = give(state, FIRST, finished);
    }

    #[test]
    fn a_result_that_did_not_arrive_is_found() {
        let (mut state, _) = Workers::new(&SCOPE).start();
        let reported = Command::Checked(0, false);
        for _ in 0..IN_A_ROW {
            assert_eq!(state.agree(), Ok(()));
            fail_one(&mut state);
        }
        let found = state.agree().map_err(|found| found.invariant);
        assert_eq!(found, Err(Invariant::Health));
        state.commands[SECOND].push(reported);
        assert_eq!(state.agree(), Ok(()), "it may still arrive");
        state.commands[SECOND].clear();
        for _ in 0..IN_A_ROW {
            assert!(state.agree().is_err());
            let _ = give(&mut state, SECOND, reported.input());
        }
        assert_eq!(state.agree(), Ok(()));
    }

    #[test]
    fn an_order_that_one_worker_did_not_carry_out_is_found() {
        let (mut state, _) = Workers::new(&SCOPE).start();
        state.ordered[0] = Service::Drained;
        let _ = give(&mut state, FIRST, Command::Drain(0).input());
        let found = state.agree().map_err(|found| found.invariant);
        assert_eq!(found, Err(Invariant::Operation));
        let _ = give(&mut state, SECOND, Command::Drain(0).input());
        assert_eq!(state.agree(), Ok(()));
    }

    #[test]
    fn a_health_check_of_the_second_worker_is_found() {
        let timeout = Cause::Fact(Input::Timeout);
        let orders = [Output::CheckHealth { backend: BACKEND, number: 1 }];
        assert_eq!(judge(FIRST, timeout, Handled::Done, &orders), Ok(()));
        assert!(judge(SECOND, timeout, Handled::Done, &orders).is_err());
    }

    #[test]
    fn a_result_that_the_first_worker_keeps_to_itself_is_found() {
        let (backend, passed) = (BACKEND, true);
        let finished = Cause::Fact(Input::HealthCheckFinished { backend, number: 1, passed });
        let judged = |passed| Output::HealthCheckJudged { backend, passed };
        assert_eq!(judge(FIRST, finished, Handled::Done, &[judged(true)]), Ok(()));
        assert!(judge(FIRST, finished, Handled::Done, &[judged(false)]).is_err());
        assert!(judge(FIRST, finished, Handled::Done, &[]).is_err());
    }

    #[test]
    fn a_small_scope_is_closed() {
        let found = search(&Workers::new(&SCOPE), SCOPE.states, |_, _| {});
        assert!(found.closed && found.violation.is_none(), "{}", found.text());
    }
}
