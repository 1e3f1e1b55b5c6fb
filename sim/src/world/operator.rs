//! The model operator, who changes the configuration at runtime; the health checks of backends.

use baton::pool::settings::Number;
use baton::pool::{
    BackendState, BackendToken, Handled, HealthChecking, Input, Setting, StateCause,
};

use super::World;
use super::guide::Lane;
use super::tables::{Event, NONE, Operation, RunPhase};
use crate::checker::Verdict;
use crate::coverage::sometimes;
use crate::draw::Domain;
use crate::plan::{Act, Change, Health};

impl World<'_> {
    /// Carries out an act of the operator.
    pub(super) fn inject_into_configuration(&mut self, act: Act) {
        let time = |time_us: u64| std::time::Duration::from_micros(time_us);
        let reported = match act {
            Act::Add { backend, weight } => {
                return self.schedule(self.now, Event::Operate(Operation::Add(backend, weight)));
            }
            Act::ChangeAll { changes } => {
                let changes = changes.map(|change| self.setting(change));
                let operation = Operation::Reconfigure(changes);
                return self.schedule(self.now, Event::Operate(operation));
            }
            Act::HealthChecks { backend, passed, for_us } => {
                let until = self.now + for_us * 1_000;
                self.servers[usize::from(backend)].health_check_override = (until, passed);
                // An unsolicited result, in addition, where no other worker reports its own.
                let number = 0;
                let token = self.token_of(backend).filter(|_| !self.seat.is_informed());
                token.map(|backend| Input::HealthCheckFinished {
                    backend,
                    number,
                    passed: passed.unwrap_or(true),
                })
            }
            Act::Remove { backend } => {
                self.token_of(backend).map(|backend| Input::BackendRemoved { backend })
            }
            Act::Drain { backend, within_us } => self
                .token_of(backend)
                .map(|backend| Input::DrainRequested { backend, within: Some(time(within_us)) }),
            Act::Undrain { backend } => {
                self.token_of(backend).map(|backend| Input::DrainCancelled { backend })
            }
            Act::Weight { backend, weight } => {
                self.token_of(backend).map(|backend| Input::WeightChanged { backend, weight })
            }
            Act::Change { change } => Some(Input::SettingChanged { setting: self.setting(change) }),
            _ => unreachable!("not an act of the operator"),
        };
        if let Some(input) = reported {
            let event = Event::Operate(Operation::Tell(input));
            if self.schedule_guided(Lane::Operator, Some(input), event).is_none() {
                self.schedule(self.now, event);
            }
        }
    }

    /// The last token of a backend, which may be gone.
    fn token_of(&self, server: u16) -> Option<BackendToken> {
        self.servers[usize::from(server)].token
    }

    /// The state that the pool reports for a backend, if it has the backend.
    pub(super) fn state_of(&self, server: u16) -> Option<BackendState> {
        let token = self.token_of(server)?;
        let view = self.pool.backend(token.backend).filter(|view| view.token == token)?;
        Some(view.state)
    }

    pub(super) fn operate(&mut self, operation: Operation) -> Verdict {
        // The clock may have jumped past the end of faults.
        if self.is_healed() {
            return Ok(());
        }
        match operation {
            Operation::Tell(input) => self.tell(input).map(drop),
            Operation::Add(server, weight) => self.add(server, weight),
            Operation::Reconfigure(settings) => self.reconfigure(&settings),
        }
    }

    /// Adds a backend unless the pool has it; a removed one may be added again.
    fn add(&mut self, server: u16, weight: u16) -> Verdict {
        if !matches!(self.state_of(server), None | Some(BackendState::Removed)) {
            return Ok(());
        }
        self.joining = u32::from(server);
        let exclusive = self.servers[usize::from(server)].plan.http1;
        let handled = self.tell(Input::BackendAdded { weight, exclusive })?;
        self.joining = NONE;
        if let Handled::Added(token) = handled {
            sometimes!(self.coverage, PlaceReused, token.generation > 1);
        }
        Ok(())
    }

    /// Records an added backend's slot before the orders that follow.
    pub(super) fn note_backend(&mut self, handled: Handled) {
        if let Handled::Added(token) = handled {
            self.owners[usize::from(token.backend.0)] = self.joining;
            let server = &mut self.servers[self.joining as usize];
            server.token = Some(token);
            server.added += 1;
        }
    }

    /// Starts a health check. Its result arrives unless the backend hangs or the result is lost.
    pub(super) fn send_health_check(&mut self, backend: BackendToken, number: u32) {
        let index = self.owners[usize::from(backend.backend.0)] as usize;
        let key = (index as u64) << 32 | u64::from(number) | 1 << 62;
        let dial = self.delay(Domain::Dials, self.plan.network.dial, key, 0);
        let work = self.delay(Domain::Work, self.servers[index].plan.work, key, 1);
        let Some(passed) = self.check_health(index) else { return };
        let at = self.now + dial + if passed { work } else { 0 };
        self.schedule(at, Event::Tell(Input::HealthCheckFinished { backend, number, passed }));
    }

    /// The result of a health check that a backend gets now; `None` if there is none.
    fn check_health(&self, server: usize) -> Option<bool> {
        let server = &self.servers[server];
        let (until, says) = server.health_check_override;
        if self.now < until {
            return says;
        }
        let is_down = self.now < server.down_until;
        (!is_down || !server.hangs).then_some(!is_down)
    }

    /// Another worker reports the result of its health check, and checks again later.
    pub(super) fn report_health(&mut self, server: u16) -> Verdict {
        if matches!(self.phase, RunPhase::Closing | RunPhase::Done) {
            return Ok(());
        }
        let next = self.now + self.health_check_interval();
        self.schedule(next, Event::HealthReported(server));
        let passed = self.check_health(usize::from(server));
        match self.token_of(server).zip(passed) {
            Some((backend, passed)) => {
                self.tell(Input::HealthCheckFinished { backend, number: 0, passed }).map(drop)
            }
            None => Ok(()),
        }
    }

    pub(super) fn health_check_interval(&self) -> u64 {
        let interval = self.plan.pool.config.timeouts.health_check_interval;
        u64::try_from(interval.as_nanos()).expect("the plan was checked")
    }

    /// Once faults have stopped, adds or undrains every healthy backend.
    pub(super) fn restore_backends(&mut self) -> Verdict {
        for index in 0..self.servers.len() {
            self.servers[index].health_check_override = (0, None);
            if self.plan.heal.backends[index] != Health::Well {
                continue;
            }
            let server = index as u16;
            match self.state_of(server) {
                None | Some(BackendState::Removed) => self.add(server, 1)?,
                Some(BackendState::Draining) => {
                    let backend = self.token_of(server).expect("it has a state");
                    let _ = self.tell(Input::DrainCancelled { backend })?;
                }
                Some(
                    BackendState::Up
                    | BackendState::Ejected
                    | BackendState::HalfOpen
                    | BackendState::Down,
                ) => {}
            }
        }
        Ok(())
    }

    /// Returns true if the backend is in service; there may have been no slot for it.
    pub(super) fn is_in_service(&self, server: usize) -> bool {
        let state = self.state_of(server as u16);
        !matches!(state, None | Some(BackendState::Draining | BackendState::Removed))
    }

    /// Records rare situations that a change of a backend's state shows.
    pub(super) fn note_state(&mut self, state: BackendState, cause: StateCause) {
        let ejected = state == BackendState::Ejected;
        let by_status = ejected && cause == StateCause::GatewayFailures;
        sometimes!(self.coverage, GatewayEjected, by_status);
        let by_health_checks = cause == StateCause::HealthChecks;
        let is_down = by_health_checks && state == BackendState::Down;
        sometimes!(self.coverage, CheckedDown, is_down);
        sometimes!(self.coverage, DownByReport, is_down && self.seat.is_informed());
        sometimes!(self.coverage, CheckedUp, by_health_checks && state != BackendState::Down);
    }

    /// The status of an exchange's response.
    pub(super) fn status_of(&self, exchange: u32) -> u16 {
        self.exchanges[exchange as usize].status
    }
}

impl World<'_> {
    /// The setting that this pool gets. Only the first worker orders health checks.
    fn setting(&self, change: Change) -> Setting {
        match setting(change) {
            Setting::HealthChecking(HealthChecking::Ordered) if self.seat.is_informed() => {
                Setting::HealthChecking(HealthChecking::Reported)
            }
            setting => setting,
        }
    }
}

fn setting(change: Change) -> Setting {
    match change {
        Change::Failures(number) => Setting::Number(Number::Failures, number),
        Change::EjectedPercentMax(share) => Setting::Number(Number::EjectedPercentMax, share),
        Change::FailOpenPercent(share) => Setting::Number(Number::FailOpenPercent, share),
        Change::Fall(number) => Setting::Number(Number::Fall, number),
        Change::Strategy(strategy) => Setting::Strategy(strategy.into()),
        Change::HealthChecking(true) => Setting::HealthChecking(HealthChecking::Ordered),
        Change::HealthChecking(false) => Setting::HealthChecking(HealthChecking::Off),
        Change::NoAttempts => Setting::Number(Number::Attempts, 0),
        Change::Setting { name, value } => name.setting(u64::from(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Draws;
    use crate::faults::{Family, Profile, plan};
    use crate::plan::{Directive, StrategyPlan, When, WorldName};

    const CHANGES: [Change; 12] = [
        Change::Failures(1),
        Change::Failures(3),
        Change::EjectedPercentMax(0),
        Change::EjectedPercentMax(100),
        Change::FailOpenPercent(0),
        Change::FailOpenPercent(100),
        Change::Fall(1),
        Change::Strategy(StrategyPlan::Weighted),
        Change::Strategy(StrategyPlan::LeastLoaded),
        Change::HealthChecking(true),
        Change::HealthChecking(false),
        Change::NoAttempts,
    ];

    #[test]
    fn several_settings_at_once_are_one_change() {
        for seed in 0..150 {
            let mut plan = plan(seed, Profile::Operate, WorldName::Pool);
            let mut stream = Draws::new(seed).stream(Domain::Faults, 1 << 40);
            for _ in 0..20 {
                let changes = [(); 3].map(|()| stream.pick(&CHANGES));
                plan.directives.push(Directive {
                    family: Family::Reconfiguration,
                    when: When::Start,
                    after_us: stream.below(plan.heal.at_us),
                    act: Act::ChangeAll { changes },
                });
            }
            let run = crate::run::judge(&plan);
            assert_eq!(run.violation, None, "seed {seed}");
        }
    }
}
