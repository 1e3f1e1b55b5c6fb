//! The phases after the faults: some backends heal, everything pending must end within a bound, new
//! requests must succeed, and after a shutdown nothing may remain.

use std::time::Duration;

use baton::pool::input::code;
use baton::pool::{
    BackendState, CloseReason, Evidence, FailedAttempt, HealthChecking, Input, Outcome, Output,
    Rejection, ShutdownCause, SlotState, TimerReason,
};

use super::World;
use super::tables::{Event, NEVER, RunPhase, SimulatedRequest};
use crate::checker::{Invariant, Verdict, require};
use crate::coverage::sometimes;
use crate::plan::Health;
use crate::trace::What;

/// Recovery requests in a row that must succeed.
const RECOVERY_REQUESTS_IN_A_ROW: u32 = 3;
/// Maximum recovery requests.
const RECOVERY_REQUESTS_MAX: u32 = 80;

impl World<'_> {
    pub(super) fn is_healed(&self) -> bool {
        self.phase != RunPhase::Faults
    }

    /// Faults stop; some backends are healthy from now on, the others stay broken.
    pub(super) fn heal(&mut self) -> Verdict {
        self.phase = RunPhase::Healing;
        self.note(What::Healed);
        self.clock_back = (0, 0);
        self.timers_late = (0, 0);
        for (backend, health) in self.plan.heal.backends.iter().enumerate() {
            let server = &mut self.servers[backend];
            server.down_until = if *health == Health::Well { 0 } else { NEVER };
            server.hangs = *health == Health::Hangs;
            let allowed = server.max_streams();
            for index in self.links_of(backend as u16) {
                if *health == Health::Well {
                    self.links[index as usize].reads_from = self.now;
                    self.resume_reading(index);
                    self.settings(index, allowed);
                } else {
                    self.black_hole(index, true, true);
                }
            }
        }
        self.resume_exchanges();
        self.restore_backends()?;
        let at = self.now + self.plan.bound_ns(self.longest_response);
        self.schedule(at, Event::Deadline(RunPhase::Healing));
        Ok(())
    }

    /// Continues what waited for the end of faults.
    fn resume_exchanges(&mut self) {
        for request in &mut self.requests {
            request.reads_from = 0;
        }
        for exchange in 0..self.exchanges.len() {
            let number = exchange as u32;
            let state = &mut self.exchanges[exchange];
            state.never_finishes = false;
            let starved = std::mem::take(&mut state.upload_hangs);
            state.upload_from = 0;
            let (held, waits, head) = (state.held, state.waits_to_heal, state.head_sent);
            state.waits_to_heal = false;
            if starved {
                self.start_upload(number);
            }
            if held {
                self.deliver_end(number);
            }
            if waits {
                let event = if head { Event::End(number) } else { Event::Head(number) };
                self.schedule(self.now, event);
            }
        }
    }

    /// A pool with health checks is never idle: with them, healing ends once nothing is pending.
    pub(super) fn end_healing_early(&mut self) -> Verdict {
        let checks_ordered = self.pool.config().health_checking != HealthChecking::Off;
        let ended = |request: &SimulatedRequest| request.ended;
        if self.phase == RunPhase::Healing && checks_ordered && self.requests.iter().all(ended) {
            return self.start_recovery_requests();
        }
        Ok(())
    }

    /// Handles the end of the time bound of a phase, unless the phase ended before.
    pub(super) fn deadline(&mut self, of: RunPhase) -> Verdict {
        if self.phase != of {
            return Ok(());
        }
        match self.phase {
            RunPhase::Healing => {
                for (index, request) in self.requests.iter().enumerate() {
                    let pending = request.id.is_some() && !request.ended;
                    require(!pending, Invariant::Liveness, || {
                        let id = self.plan.requests[index].id;
                        format!("request {id} has not ended within the bound after faults stopped")
                    })?;
                }
                self.start_recovery_requests()
            }
            RunPhase::Closing => {
                self.phase = RunPhase::Done;
                Ok(())
            }
            RunPhase::Before
            | RunPhase::Faults
            | RunPhase::Recovering { .. }
            | RunPhase::Recovered
            | RunPhase::Done => Ok(()),
        }
    }

    /// Returns true if a pool with this configuration can succeed on this network: its timeouts
    /// leave time for a dial and a response of every healthy backend.
    fn is_recoverable(&self) -> bool {
        let network = &self.plan.network;
        let pool = &self.plan.pool;
        let trip = 2 * network.wire.most_us + 4 * network.shell.most_us + network.timer.most_us;
        let timeouts = &self.checker.config().timeouts;
        let time = |time: Duration| time.as_micros() as u64;
        let waits = network.dial.most_us + trip;
        let dials = time(timeouts.connect) > waits && time(timeouts.suspect) > trip;
        let health = &self.plan.heal.backends;
        // The pool may wait for a dial to each broken backend before it tries a healthy one.
        let broken = health.iter().filter(|health| **health != Health::Well).count() as u64;
        let queues = time(timeouts.queue) > 2 * waits + broken.max(1) * time(timeouts.silence);
        let well = || {
            let candidates = (0..health.len()).filter(|index| health[*index] == Health::Well);
            candidates.filter(|index| self.is_in_service(*index))
        };
        let checks_ordered = pool.config.health_checking != HealthChecking::Off
            || self.pool.config().health_checking != HealthChecking::Off;
        // Retired slots do not return.
        let is_orphaned = checks_ordered && self.is_orphaned;
        dials
            && queues
            && !is_orphaned
            && pool.generations.is_none()
            && well().next().is_some()
            && well().all(|backend| {
                let server = &self.servers[backend];
                let answer = server.plan.work.most_us + trip;
                server.max_streams() > 0
                    && time(timeouts.response_head) > answer
                    && time(timeouts.drain) > answer + server.plan.body.most_us
                    && time(timeouts.response_stall) > trip + server.plan.body.most_us
                    && (!checks_ordered
                        || time(timeouts.health_check_timeout) > network.dial.most_us + answer)
            })
    }

    fn start_recovery_requests(&mut self) -> Verdict {
        self.restore_backends()?;
        if self.shutdown.is_some() || !self.is_recoverable() {
            return self.end_recovery();
        }
        self.phase = RunPhase::Recovering { sent: 0, in_a_row: 0 };
        self.schedule(self.now, Event::RecoveryRequest);
        Ok(())
    }

    /// Sends a recovery request, once the previous one has ended.
    pub(super) fn recovery_request(&mut self) -> Verdict {
        let RunPhase::Recovering { sent, in_a_row } = self.phase else {
            return Ok(());
        };
        if in_a_row == RECOVERY_REQUESTS_IN_A_ROW {
            return self.end_recovery();
        }
        require(sent < RECOVERY_REQUESTS_MAX, Invariant::Recovery, || {
            format!(
                "of {sent} requests after faults stopped, no {RECOVERY_REQUESTS_IN_A_ROW} in a row succeeded"
            )
        })?;
        self.phase = RunPhase::Recovering { sent: sent + 1, in_a_row };
        let request = self.requests.len() as u32;
        self.requests.push(SimulatedRequest {
            idempotent: sent.is_multiple_of(2),
            ..SimulatedRequest::default()
        });
        self.arrive(request)
    }

    pub(super) fn recovery_request_ended(&mut self, completed: bool) {
        if let RunPhase::Recovering { in_a_row, .. } = &mut self.phase {
            *in_a_row = if completed { *in_a_row + 1 } else { 0 };
            // An ejection or a backoff may have to pass before the next request.
            let timeouts = &self.plan.pool.config.timeouts;
            let wait = timeouts.ejection_min.max(timeouts.backoff_max).as_nanos() as u64;
            let pause = if completed { 1 } else { wait };
            self.schedule(self.now + pause, Event::RecoveryRequest);
        }
    }

    /// The pool closes now, or together with the other pools of its world.
    fn end_recovery(&mut self) -> Verdict {
        if self.plan.pool.is_alone() {
            return self.start_closing();
        }
        self.phase = RunPhase::Recovered;
        Ok(())
    }

    pub(super) fn start_closing(&mut self) -> Verdict {
        self.phase = RunPhase::Closing;
        let cause = ShutdownCause::ProcessEnds;
        if self.shutdown != Some(cause) {
            self.shutdown = Some(cause);
            let _ = self.tell(Input::ShutdownRequested { cause })?;
        }
        let drain = self.plan.pool.config.timeouts.drain.as_nanos() as u64;
        let network = &self.plan.network;
        let late = self.plan.deviations.iter().map(|deviation| deviation.by_us).sum::<u64>();
        let lag = 1_000 * (4 * (network.timer.most_us + network.shell.most_us) + late);
        let at = self.now + drain + lag + 1_000_000;
        self.schedule(at, Event::Deadline(RunPhase::Closing));
        Ok(())
    }

    /// Checks that requests which every backend fails cost none of them its place, and no other
    /// request its answer.
    pub(super) fn check_blame(&self) -> Verdict {
        if !self.plan.has_only_poison() {
            return Ok(());
        }
        let ejections = self.pool.stats().counters.ejections;
        require(ejections == 0, Invariant::Health, || {
            format!("requests that every backend fails ejected {ejections} healthy backends")
        })?;
        let unanswered = self.plan.requests.iter().zip(&self.requests);
        let unanswered = unanswered.filter(|(plan, _)| plan.poison.is_none());
        let mut unanswered = unanswered.filter(|(_, request)| !request.completed);
        require(unanswered.next().is_none(), Invariant::Liveness, || {
            "an honest request beside poisoned ones was not answered".to_owned()
        })
    }

    /// Checks that nothing remains after the shutdown.
    pub(super) fn check_quiescence(&self) -> Verdict {
        let stats = self.pool.stats();
        let empty = self.pool.is_empty() && self.checker.live() == 0;
        require(empty, Invariant::Quiescence, || format!("after the shutdown: {stats:?}"))?;
        let timer = self.pool.poll_timeout();
        let idle = matches!(timer, None | Some((_, TimerReason::Backoff | TimerReason::Ejection)));
        require(idle, Invariant::Quiescence, || {
            format!("after the shutdown a timer is armed: {timer:?}")
        })?;
        self.check_leaks()
    }

    /// Records rare situations that a fact meets.
    pub(super) fn note_situation(&mut self, input: Input) {
        match input {
            Input::GoAwayReceived { connection, .. } => {
                let state = self.pool.slot_state(connection.backend, connection.slot);
                let dialling = state == Some(SlotState::Connecting);
                sometimes!(self.coverage, GoAwayWhileConnecting, dialling);
                let stats = self.pool.stats();
                let full = stats.waiting as usize >= self.plan.pool.config.limits.waiting;
                self.retrying_before = full.then_some(stats.retrying);
            }
            Input::MaxStreamsChanged { connection, max_streams } => {
                let stats = self.pool.stats();
                let zero = max_streams == 0 && stats.waiting > 0;
                sometimes!(self.coverage, LimitZeroWithWaiters, zero);
                let load = self.links[self.link_of(connection) as usize].open;
                sometimes!(self.coverage, LimitBelowLoad, max_streams < load);
            }
            Input::FrameReceived { connection, .. } | Input::Pong { connection } => {
                let state = self.pool.slot_state(connection.backend, connection.slot);
                let last = self.slots[self.slot_place(connection)];
                let current = self.link_of(connection) == last;
                let suspect = current && state == Some(SlotState::Suspect);
                sometimes!(self.coverage, SuspectRecovered, suspect);
            }
            Input::DeliveryChecked { connection, unanswered } => {
                let index = self.link_of(connection);
                self.links[index as usize].delivery_check = false;
                let state = self.pool.slot_state(connection.backend, connection.slot);
                let suspect = state == Some(SlotState::Suspect);
                sometimes!(self.coverage, BusyBackend, suspect && unanswered == Some(0));
            }
            Input::ResponseStarted { stream, .. } => {
                let healthy = self.pool.is_healthy(stream.connection.backend);
                sometimes!(self.coverage, AnsweredWhileHalfOpen, !healthy);
            }
            Input::ShutdownRequested { .. } => {
                let stats = self.pool.stats();
                let busy = stats.waiting > 0 && stats.requests > stats.waiting;
                sometimes!(self.coverage, ShutdownUnderLoad, busy);
            }
            Input::RequestCancelled { .. } => {
                let stats = self.pool.stats();
                let last = stats.waiting == 1 && stats.slots.connecting > 0;
                sometimes!(self.coverage, DialOutlivedItsCause, last);
            }
            _ => {}
        }
    }

    /// Records rare situations that only the state after a fact shows.
    pub(super) fn note_result(&mut self) {
        let retired = self.plan.pool.generations.is_some() && self.pool.stats().slots.retired > 0;
        sometimes!(self.coverage, SlotRetired, retired);
        if let Some(before) = self.retrying_before.take() {
            let more = self.pool.stats().retrying > before;
            sometimes!(self.coverage, RetryAfterGoAwayWithFullQueue, more);
        }
    }

    /// Records rare situations that an order shows.
    pub(super) fn note_order(&mut self, input: Input, order: Output) {
        match order {
            Output::OpenStream { stream, request, attempt, .. } => {
                let index = self.request_of(request);
                let post = !self.requests[index as usize].idempotent;
                sometimes!(self.coverage, PostRetried, attempt > 1 && post);
                sometimes!(self.coverage, SlotReused, stream.connection.generation > 1);
                let backend = stream.connection.backend;
                let state = self.pool.backend(backend).map(|view| view.state);
                let out = matches!(state, Some(BackendState::Ejected | BackendState::Down));
                sometimes!(self.coverage, FailOpen, out);
                let slowly = self.pool.share(backend, self.clock_reading(self.now)) < 100;
                sometimes!(self.coverage, StartedSlowly, slowly);
                sometimes!(self.coverage, Succeeded, self.seat.from > 0);
            }
            Output::AttemptFailed(failed) if failed.retried => {
                let deferred = self.pool.stats().deferred;
                sometimes!(self.coverage, BudgetEmpty, deferred > 0);
            }
            Output::ResetStream { stream, code } => {
                let draining =
                    self.pool.slot_state(stream.connection.backend, stream.connection.slot)
                        == Some(SlotState::Draining);
                sometimes!(self.coverage, ResetWhileDraining, draining);
                let crossed = matches!(input, Input::StreamOpened { .. });
                sometimes!(self.coverage, GoAwayCrossedOpen, crossed);
                sometimes!(self.coverage, EarlyResponse, code == code::NO_ERROR);
            }
            Output::Close { connection, reason } => match reason {
                CloseReason::ConnectDeadline => sometimes!(self.coverage, ConnectDeadline, true),
                CloseReason::Idle => sometimes!(self.coverage, IdleClosed, true),
                CloseReason::Stale => sometimes!(self.coverage, StaleClosed, true),
                CloseReason::DrainDeadline => {
                    sometimes!(self.coverage, DrainDeadline, true);
                    let state = self.pool.backend(connection.backend).map(|view| view.state);
                    let forced =
                        matches!(state, Some(BackendState::Draining | BackendState::Removed));
                    sometimes!(self.coverage, DrainedByForce, forced);
                }
                CloseReason::Silent => {
                    sometimes!(self.coverage, SuspectClosed, true);
                    sometimes!(self.coverage, DeliveryUnknown, self.plan.network.hides_delivery);
                }
                CloseReason::Drained | CloseReason::BackendDrained | CloseReason::Shutdown => {}
            },
            Output::AttemptFailed(FailedAttempt { request, evidence, .. }) => {
                let index = self.request_of(request);
                self.requests[index as usize].evidence = Some(evidence);
            }
            Output::RequestEnded { request, outcome, attempts, .. } => {
                let index = self.request_of(request);
                let evidence = self.requests[index as usize].evidence;
                self.note_outcome(index, input, outcome, attempts, evidence);
            }
            Output::HealthCheckJudged { passed, .. } => {
                sometimes!(self.coverage, HealthCheckLost, !passed && input == Input::Timeout);
            }
            Output::BackendChanged { state, cause, .. } => self.note_state(state, cause),
            Output::BackendGone { .. } => {
                let at_once = matches!(
                    input,
                    Input::BackendRemoved { .. } | Input::BackendAdded { .. } | Input::Timeout
                );
                sometimes!(self.coverage, GoneAfterWork, !at_once);
            }
            Output::Connect { .. }
            | Output::Ping { .. }
            | Output::CheckDelivery { .. }
            | Output::CheckHealth { .. } => {}
        }
    }

    fn note_outcome(
        &mut self,
        index: u32,
        input: Input,
        outcome: Outcome,
        attempts: u8,
        evidence: Option<Evidence>,
    ) {
        let request = &self.requests[index as usize];
        let failed = outcome == Outcome::Rejected(Rejection::AttemptFailed);
        let post = !request.idempotent;
        let exceeded = request.buffer_exceeded;
        let spent = attempts >= self.plan.pool.config.retry.attempts;
        let none = (0..self.servers.len()).all(|index| !self.is_in_service(index));
        let head_sent =
            request.exchange.is_some_and(|exchange| self.exchanges[exchange as usize].head_sent);
        let coverage = &mut *self.coverage;
        let unknown = evidence == Some(Evidence::Unknown);
        sometimes!(coverage, PostNotRetried, failed && post && unknown);
        sometimes!(coverage, AttemptsUsedUp, failed && spent && attempts > 1);
        sometimes!(coverage, NotReplayable, failed && exceeded && !spent);
        let queue = outcome == Outcome::Rejected(Rejection::QueueDeadline);
        sometimes!(coverage, QueueDeadline, queue);
        sometimes!(coverage, NoneInService, queue && none);
        let stalled = outcome == Outcome::Rejected(Rejection::BodyStalled);
        sometimes!(coverage, BodyStalled, stalled);
        let blocked = outcome == Outcome::Rejected(Rejection::UploadBlocked);
        sometimes!(coverage, UploadBlocked, blocked);
        let cut_by_time = outcome == Outcome::CutShort && input == Input::Timeout;
        sometimes!(coverage, ResponseStalled, cut_by_time && self.shutdown.is_none());
        sometimes!(
            coverage,
            ResponseDeadline,
            outcome == Outcome::Rejected(Rejection::ResponseDeadline)
        );
        sometimes!(coverage, CutShort, outcome == Outcome::CutShort);
        sometimes!(coverage, CancelWhileResponding, outcome == Outcome::Cancelled && head_sent);
        let by_shutdown = outcome == Outcome::Rejected(Rejection::ShuttingDown);
        sometimes!(coverage, ShutdownCut, by_shutdown && input == Input::Timeout);
    }
}
