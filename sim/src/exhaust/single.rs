//! The search of one pool.

use baton::pool::{Input, Instant};

use super::found::Fact;
use super::identity::{identity, of_pool};
use super::judged::Judged;
use super::scope::{Scope, Spent, config};
use super::search::{Failure, Space, Trial};

/// The states of one pool.
pub(super) struct Single<'a>(pub(super) &'a Scope);

/// A state of one pool.
pub(super) struct State {
    judged: Judged,
    now: Instant,
    spent: Spent,
}

impl Space for Single<'_> {
    type State = State;

    fn start(&self) -> (State, u128) {
        let judged = Judged::new(config(self.0));
        let (now, spent) = (Instant::ZERO, Spent::default());
        let identity = identity(&[of_pool(&judged.pool, now)], spent, &());
        (State { judged, now, spent }, identity)
    }

    fn explore(&self, mut state: State, trial: &mut Trial<'_, State>) -> Result<(), Failure> {
        let mut facts = std::mem::take(&mut trial.scratch.facts);
        facts.clear();
        self.choices(&state, &mut facts);
        for input in &facts {
            self.step(&state, *input, trial)?;
        }
        facts.clear();
        state.judged.checker.ineffective_choices(&mut facts);
        let at = state.now;
        let before = of_pool(&state.judged.pool, at);
        for input in facts.drain(..) {
            trial.count();
            let judged = state.judged.ineffective(at, input, before, &mut trial.scratch);
            judged.map_err(|violation| Failure {
                violation,
                fact: Fact { at, worker: None, input },
            })?;
        }
        trial.scratch.facts = facts;
        Ok(())
    }
}

impl Single<'_> {
    /// Adds every fact that is possible in a state.
    fn choices(&self, state: &State, facts: &mut Vec<Input>) {
        let checker = &state.judged.checker;
        checker.choices(facts);
        if self.0.operator {
            checker.operator_choices(facts);
            checker.health_check_choices(facts);
        }
        if self.0.reported {
            checker.reported_choices(facts);
        }
        self.0.keep_next(facts);
    }

    /// Tries a fact in a state, if it is within the scope.
    fn step(
        &self,
        state: &State,
        input: Input,
        trial: &mut Trial<'_, State>,
    ) -> Result<(), Failure> {
        let Some(spent) = state.spent.after(self.0, input) else {
            return Ok(());
        };
        let at = match input {
            Input::Timeout => state.judged.due(state.now),
            _ => Some(state.now),
        };
        let Some(at) = at else {
            return Ok(());
        };
        trial.count();
        let fact = Fact { at, worker: None, input };
        let mut judged = state.judged.clone();
        let handled = judged.step(at, input, &mut trial.scratch);
        let _ = handled.map_err(|violation| Failure { violation, fact })?;
        let identity = identity(&[of_pool(&judged.pool, at)], spent, &());
        trial.reach(fact, identity, || {
            // After the last request has ended, nothing can go wrong with one.
            let goes_on = spent.requests < self.0.requests || judged.checker.live() > 0;
            goes_on.then_some(State { judged, now: at, spent })
        });
        Ok(())
    }
}
