//! The world around a pool: clients, network, backends and a shell, in virtual time.
//!
//! Every part is a model that obeys its own rules (TCP keeps the order of each direction, a backend
//! obeys RFC 9113, the shell obeys the contract of `baton::pool`) until a directive breaks one. The
//! models only schedule events. Only [`World::tell`] gives facts to the pool, and the checker
//! judges the pool there.

mod client;
mod dial;
mod guide;
mod inject;
mod operator;
mod phases;
mod play;
mod seat;
mod server;
mod shell;
mod stale_input;
pub(crate) mod tables;
mod workers;

use std::collections::BTreeMap;

use baton::pool::{
    BackendId, Handled, HealthChecking, Input, Instant, Output, Pool, Setting, ShutdownCause,
};

use crate::checker::{Checker, Invariant, SideBySide, Verdict, Violation, require};
use crate::coverage::{Cell, Coverage, sometimes};
use crate::draw::{Domain, Draws};
use crate::plan::{Plan, Span, Ties};
use crate::trace::{Trace, What};
pub(crate) use guide::Guide;
pub(crate) use play::{first_met, play};
use seat::Seat;
pub(crate) use tables::{DownFrame, UpFrame};
use tables::{Event, Exchange, HealthResult, Link, NEVER, NONE, Scope, Server, SimulatedRequest};

/// A run with more facts than this is considered endless.
const FACTS_MAX: u64 = 400_000;
/// Facts kept for repetition.
const HISTORY_MAX: usize = 512;

/// One pool, and what surrounds it.
pub(crate) struct World<'a> {
    plan: &'a Plan,
    seat: Seat,
    draws: Draws,
    pool: Pool,
    checker: Checker,
    coverage: &'a mut Coverage,
    trace: &'a mut Trace,
    /// Nanoseconds since the start.
    now: u64,
    /// Scheduled events by time, by their order among those of the same time, and by number.
    queue: BTreeMap<(u64, u32, u32), Event>,
    scheduled: u32,
    delays: u32,
    links: Vec<Link>,
    exchanges: Vec<Exchange>,
    requests: Vec<SimulatedRequest>,
    servers: Vec<Server>,
    /// The backend in each of the pool's backend slots.
    owners: Vec<u32>,
    /// The backend being added.
    joining: u32,
    /// The last link of each connection slot.
    slots: Vec<u32>,
    /// The last request at each index of the pool's table.
    places: Vec<u32>,
    history: Vec<Input>,
    facts: u64,
    /// Until `.0`, the shell's clock lags by `.1` nanoseconds.
    clock_back: (u64, u64),
    /// Until `.0`, timeouts are late by `.1` nanoseconds.
    timers_late: (u64, u64),
    phase: tables::RunPhase,
    /// The shutdown cause given to the pool, if any; the end of the process takes precedence.
    shutdown: Option<ShutdownCause>,
    longest_response: u64,
    handled_orders: Vec<Output>,
    /// The request whose arrival is being handled.
    arriving: u32,
    /// Number of retrying requests before a GOAWAY that arrived while the queue was full.
    retrying_before: Option<u32>,
    /// The times of another world, in a comparison.
    guide: Option<Guide>,
    /// Results of health checks that other workers are yet to learn.
    judged: Vec<HealthResult>,
    /// Results that this worker is yet to learn, and when the last of them arrives.
    results_due: u32,
    informed_at: u64,
    /// The worker that checks health has been stopped.
    is_orphaned: bool,
    /// The model and the pool after the step that broke an invariant.
    broken: Option<SideBySide>,
}

impl<'a> World<'a> {
    /// Creates a world at its start.
    pub(crate) fn new(plan: &'a Plan, coverage: &'a mut Coverage, trace: &'a mut Trace) -> Self {
        Self::at(Seat::first(&plan.pool), plan, coverage, trace)
    }

    /// Creates a world for one of several pools.
    fn at(seat: Seat, plan: &'a Plan, coverage: &'a mut Coverage, trace: &'a mut Trace) -> Self {
        let config = plan.config();
        let places = config.limits.backends;
        let slots = 2 * config.limits.connections_per_backend * places;
        let at_start = plan.backends_at_start();
        let seed = plan.seed.wrapping_add(seat.pool as u64);
        let (pool, checker) = plan.pool.build(at_start, seed, seat.is_informed());
        let owner = |place: usize| if place < at_start { place as u32 } else { NONE };
        let server = |(index, backend)| {
            let view = pool.backend(BackendId(index as u16)).filter(|_| index < at_start);
            Server::new(backend, view.map(|view| view.token))
        };
        let servers = plan.backends.iter().enumerate().map(server).collect();
        Self {
            plan,
            seat,
            draws: Draws::new(seed),
            checker,
            pool,
            coverage,
            trace,
            now: seat.from,
            queue: BTreeMap::new(),
            scheduled: 0,
            delays: 0,
            links: Vec::new(),
            exchanges: Vec::new(),
            requests: plan.requests.iter().map(|_| SimulatedRequest::default()).collect(),
            servers,
            owners: (0..places).map(owner).collect(),
            joining: NONE,
            slots: vec![NONE; slots],
            places: vec![NONE; config.limits.requests],
            history: Vec::new(),
            facts: 0,
            clock_back: (0, 0),
            timers_late: (0, 0),
            phase: tables::RunPhase::Before,
            shutdown: None,
            longest_response: 0,
            handled_orders: Vec::new(),
            arriving: NONE,
            retrying_before: None,
            guide: None,
            judged: Vec::new(),
            results_due: 0,
            informed_at: 0,
            is_orphaned: false,
            broken: None,
        }
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// Returns the first invariant that does not hold.
    pub(crate) fn run(&mut self) -> Verdict {
        self.begin();
        while self.phase != tables::RunPhase::Done {
            self.turn()?;
        }
        self.check_blame()?;
        self.check_quiescence()
    }

    /// Runs until a cell of the catalogue is met, and returns the time in nanoseconds; `None` if it
    /// is not met.
    pub(crate) fn run_until_met(&mut self, cell: Cell) -> Option<u64> {
        self.begin();
        while self.phase != tables::RunPhase::Done && !self.coverage.has_met(cell) {
            self.turn().ok()?;
        }
        self.coverage.has_met(cell).then_some(self.now)
    }

    /// Virtual time so far, nanoseconds.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// The model and the pool after the step that broke an invariant, if one did.
    pub(crate) fn take_broken(&mut self) -> Option<SideBySide> {
        self.broken.take()
    }

    /// Records the coverage that only the whole run shows.
    pub(crate) fn finish(&mut self) {
        self.coverage.transitions(self.pool.transitions());
        let ejection_overflow = self.pool.stats().counters.ejection_overflow > 0;
        sometimes!(self.coverage, EjectionOverflow, ejection_overflow);
    }

    fn turn(&mut self) -> Verdict {
        self.step()?;
        self.end_healing_early()
    }

    /// The time of the next event or timer; `None` if nothing is left to do.
    fn next_at(&self) -> Option<u64> {
        let event = self.queue.first_key_value().map(|((at, ..), _)| *at);
        let timer = self.timer_turn().map(|(at, _)| at);
        let next = event.into_iter().chain(timer).min().map(|at| at.max(self.now));
        match self.phase {
            tables::RunPhase::Before => Some(self.seat.from),
            tables::RunPhase::Done => None,
            tables::RunPhase::Recovered => next,
            _ => next.or(Some(self.now)),
        }
    }

    fn begin(&mut self) {
        self.phase = tables::RunPhase::Faults;
        for index in 0..self.plan.requests.len() {
            let at = self.plan.requests[index].at_us * 1_000;
            if !self.seat.serves(index, at) {
                self.requests[index].ended = true;
                continue;
            }
            match self.guided_arrival(index as u32) {
                Some(turn) => self.schedule_in_turn(turn, Event::Arrive(index as u32)),
                None => self.schedule(at, Event::Arrive(index as u32)),
            }
        }
        self.schedule((self.plan.heal.at_us * 1_000).max(self.now), Event::Heal);
        if self.seat.until != NEVER {
            self.schedule(self.seat.until, Event::Replaced);
        }
        if self.plan.pool.config.health_checking == HealthChecking::Reported {
            let interval = self.health_check_interval();
            for backend in 0..self.plan.backends.len() {
                let event = Event::HealthReported(backend as u16);
                self.schedule(self.now + interval, event);
            }
        }
        self.trigger(crate::plan::When::Start, Scope::NOTHING);
    }

    /// Processes the next event or timer, whichever is first.
    fn step(&mut self) -> Verdict {
        let event = self.queue.first_key_value().map(|((at, tie, _), _)| (*at, *tie));
        let timer = self.timer_turn();
        match (timer, event) {
            (Some(timer), Some(event)) if timer > event => self.pop(),
            (Some(timer), _) => {
                self.now = self.now.max(timer.0);
                self.met_timeout(timer);
                self.tell(Input::Timeout).map(drop)
            }
            (None, Some(_)) => self.pop(),
            (None, None) => {
                self.phase = tables::RunPhase::Done;
                Ok(())
            }
        }
    }

    /// The time of the shell's next timeout call, and its place among the events of that time.
    fn timer_turn(&self) -> Option<(u64, u32)> {
        let (deadline, _) = self.pool.poll_timeout()?;
        if deadline.0 == u64::MAX {
            return None;
        }
        let span = self.plan.network.timer;
        let late =
            self.draws.between(Domain::Timers, deadline.0, 0, span.least_us, span.most_us) * 1_000;
        let extra = if self.now < self.timers_late.0 { self.timers_late.1 } else { 0 };
        let back = self.clock_reading(self.now).0.abs_diff(self.now);
        let at = deadline.0.saturating_add(late + extra + back);
        Some(self.guided_timeout(at))
    }

    fn pop(&mut self) -> Verdict {
        let Some(((at, ..), event)) = self.queue.pop_first() else {
            return Ok(());
        };
        self.now = self.now.max(at);
        match event {
            Event::Arrive(request) => return self.arrive(request),
            Event::Fire(directive, scope) => self.inject(directive, scope),
            Event::DialEnds(link) => self.dial_ends(link),
            Event::Up(link, frame) => return self.read(link, frame),
            Event::Down(link, frame) => self.receive(link, frame),
            Event::Order(order) => return self.carry_out(order),
            Event::Tell(input) => return self.tell(input).map(drop),
            Event::StaleInput(fact, scope) => return self.send_stale_input(fact, scope),
            Event::HalfSent(exchange) => return self.half_sent(exchange),
            Event::BodySent(exchange) => self.body_sent(exchange),
            Event::Head(exchange) => self.head(exchange),
            Event::Data(exchange) => self.data(exchange),
            Event::End(exchange) => self.end(exchange),
            Event::LateSettings(link) => self.late_settings(link),
            Event::ResumeReading(link) => self.resume_reading(link),
            Event::DeadPath(link) => self.dead_path(link),
            Event::BreakAll(backend) => self.break_all(backend),
            Event::Heal => return self.heal(),
            Event::Deadline(phase) => return self.deadline(phase),
            Event::RecoveryRequest => return self.recovery_request(),
            Event::Operate(operation) => return self.operate(operation),
            Event::HealthReported(backend) => return self.report_health(backend),
            Event::Informed(result) => return self.learn(result),
            Event::Replaced => return self.replaced(),
        }
        Ok(())
    }

    fn count_fact(&mut self) -> Verdict {
        self.facts += 1;
        require(self.facts < FACTS_MAX, Invariant::Timers, || {
            format!("no end after {FACTS_MAX} facts: something repeats forever")
        })
    }

    /// Gives a fact to the pool. All facts pass through here, but for several settings at once.
    fn tell(&mut self, input: Input) -> Result<Handled, Violation> {
        self.count_fact()?;
        let at = self.clock_reading(self.now);
        self.note_situation(input);
        let mut orders = std::mem::take(&mut self.handled_orders);
        let seen = |handled, orders: &[Output], pool: &Pool| {
            self.trace.record(self.now, at, input, handled, orders, pool);
        };
        let (pool, coverage) = (&mut self.pool, &mut *self.coverage);
        let verdict = self.checker.step(pool, at, input, coverage, &mut orders, seen);
        let handled = self.keep_state_if_broken(verdict)?;
        // A refused fact was impossible; repeated later, it could become possible without being
        // true.
        if handled != Handled::Refused {
            self.remember(input);
        }
        self.note_backend(handled);
        self.take_all(input, orders)?;
        Ok(handled)
    }

    /// Changes several settings of the pool at once.
    fn reconfigure(&mut self, settings: &[Setting]) -> Verdict {
        self.count_fact()?;
        let at = self.clock_reading(self.now);
        let mut orders = std::mem::take(&mut self.handled_orders);
        let seen = |handled, orders: &[Output], pool: &Pool| {
            self.trace.record_settings(self.now, at, settings, handled, orders, pool);
        };
        let (pool, coverage) = (&mut self.pool, &mut *self.coverage);
        let verdict = self.checker.reconfigure(pool, at, settings, coverage, &mut orders, seen);
        let _ = self.keep_state_if_broken(verdict)?;
        let setting = settings[settings.len() - 1];
        self.take_all(Input::SettingChanged { setting }, orders)
    }

    fn keep_state_if_broken(
        &mut self,
        verdict: Result<Handled, Violation>,
    ) -> Result<Handled, Violation> {
        if verdict.is_err() {
            let step = self.trace.fact_count();
            self.broken = Some(self.checker.side_by_side(&self.pool, self.seat.pool, step));
        }
        verdict
    }

    /// Carries out the orders that follow from a fact.
    fn take_all(&mut self, input: Input, orders: Vec<Output>) -> Verdict {
        for order in &orders {
            self.note_order(input, *order);
            self.take(*order)?;
        }
        self.note_result();
        self.handled_orders = orders;
        Ok(())
    }

    fn remember(&mut self, input: Input) {
        if matches!(
            input,
            Input::RequestArrived { .. }
                | Input::BackendAdded { .. }
                | Input::SettingChanged { .. }
                | Input::Timeout
                | Input::ShutdownRequested { .. }
        ) {
            return;
        }
        if self.history.len() == HISTORY_MAX {
            self.history.drain(..HISTORY_MAX / 2);
        }
        self.history.push(input);
    }

    /// The shell's clock.
    fn clock_reading(&self, now: u64) -> Instant {
        let (until, by) = self.clock_back;
        Instant(if now < until { now.saturating_sub(by) } else { now })
    }

    fn schedule(&mut self, at: u64, event: Event) {
        let order = self.scheduled + 1;
        let tie = match self.plan.network.ties {
            _ if self.guide.is_some() => 0,
            Ties::Fifo => order,
            Ties::Lifo => u32::MAX - order,
            Ties::Shuffled => {
                self.draws.between(Domain::Ties, u64::from(order), 0, 0, 0xffff_ffff) as u32
            }
        };
        self.schedule_in_turn((at, tie), event);
    }

    fn schedule_in_turn(&mut self, (at, tie): (u64, u32), event: Event) {
        self.scheduled += 1;
        self.queue.insert((at, tie, self.scheduled), event);
    }

    /// A delay of one entity in nanoseconds, including its deviation.
    fn delay(&mut self, domain: Domain, span: Span, entity: u64, ordinal: u64) -> u64 {
        let drawn = self.draws.between(domain, entity, ordinal, span.least_us, span.most_us);
        let number = self.delays;
        self.delays += 1;
        let mut extra = 0;
        for deviation in &self.plan.deviations {
            if deviation.delay == number {
                extra += deviation.by_us;
            }
        }
        (drawn + extra) * 1_000
    }

    fn note(&mut self, what: What) {
        self.trace.note(self.now, what);
    }
}
