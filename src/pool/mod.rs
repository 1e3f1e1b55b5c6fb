//! The pool: a state machine that decides everything about backends, connections and requests, and
//! does no I/O.
//!
//! Three verbs drive it. [`Pool::handle`] takes in one fact; [`Pool::poll_output`] gives the orders
//! that follow, which must all be fetched before the next fact; [`Pool::poll_timeout`] says when to
//! call `handle` with [`Input::Timeout`] at the latest. The pool reads no clock, draws no
//! randomness but from its seed, and allocates nothing after [`Pool::new`].
//!
//! A request waits for any backend it may use, not for one dial; every event that makes room serves
//! the oldest that waits. There is one path for every request, whether a connection exists, must be
//! dialled, or dies under way.
//!
//! **Contract of whoever drives it.** Orders are carried out in the order in which they were given.
//! `StreamOpened` is reported before a byte of the request can be written, and if it is answered
//! `Stale`, none is. `ConnectionClosed` comes before the reports of the streams that died with the
//! connection.
//!
//! Reading order: [`input`], [`output`], `on_request`, `dispatch`, `on_stream`, `on_connection`,
//! `on_timer`, `on_backend`, `on_health`; beneath them the tables `slots`, `request`, `backend`,
//! `balance`, `health`, `timer`. What must
//! hold at every step is in `invariants`.

pub mod backend;
pub mod config;
pub mod input;
pub mod limits;
pub mod output;
pub mod retry;
pub mod setting;
pub mod time;
pub mod token;

mod balance;
pub mod canonical;
mod connection;
mod dispatch;
mod health;
mod heap;
mod invariants;
mod on_backend;
mod on_connection;
mod on_health;
mod on_request;
mod on_stream;
mod on_timer;
mod random;
mod rebuild;
mod request;
mod slots;
mod stats;
mod timer;
mod transitions;
mod views;

pub use backend::{BackendState, BackendView, StateCause};
pub use config::{
    BackendConfig, Config, ConfigError, HealthConfig, Probing, RetryConfig, Strategy, Timeouts,
};
pub use connection::{DrainCause, SlotState};
pub use input::{ConnectFailure, Input, Protocol, ShutdownCause, StreamFailure};
pub use invariants::Mismatch;
pub use limits::Limits;
pub use output::{CloseReason, Handled, Outcome, Output, Rejection};
pub use rebuild::Planted;
pub use retry::Evidence;
pub use setting::Setting;
pub use stats::{Counters, SlotStats, SlotView, Stats};
pub use time::Instant;
pub use timer::TimerReason;
pub use token::{BackendId, BackendToken, ConnectionToken, RequestId, StreamToken};
pub use transitions::Transitions;
pub use views::StreamView;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use backend::Backend;
use balance::Balancer;
use heap::IndexedHeap;
use random::Random;
use request::Requests;
use slots::{Slots, Stale};
use timer::Timers;

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Finishing what was accepted.
    Draining,
    /// The drain deadline passed: nothing is accepted any more.
    Over,
}

/// One worker's pool for one cluster of backends.
///
/// - Facts: [`handle`](Self::handle).
/// - Orders: [`poll_output`](Self::poll_output), [`poll_timeout`](Self::poll_timeout).
/// - Getters: everything else.
#[derive(Clone, Debug)]
pub struct Pool {
    config: Config,
    random: Random,
    slots: Slots,
    requests: Requests,
    /// Requests in state `Waiting`, oldest first.
    waiting: IndexedHeap,
    timers: Timers,
    balancer: Balancer,
    /// A place for each backend that there may be.
    backends: Vec<Backend>,
    in_service: u32,
    /// Of those in service, the ones that nothing speaks against.
    healthy: u32,
    /// Of those in service, the ones that passive health speaks against.
    ejected: u32,
    /// Removed backends that still have connections.
    leaving: u32,
    /// A connection of a removed backend ended: it may be gone.
    emptied: bool,
    /// So few are healthy that all in service are used.
    panicking: bool,
    /// Requests on a second or later attempt, or waiting for one.
    retrying: u32,
    phase: Phase,
    outputs: VecDeque<Output>,
    outputs_max: usize,
    counters: Counters,
}

impl Pool {
    /// Builds a pool, with room for all that it will ever keep; a clone takes that when it needs it.
    /// The same configuration, seed and facts give the same orders, on every machine.
    ///
    /// # Errors
    /// The first value of the configuration that is out of bounds.
    pub fn new(config: Config, seed: u64) -> Result<Self, ConfigError> {
        config.check()?;
        let count = config.limits.backends;
        let slots = Slots::new(count, &config.limits);
        let number = |size: usize| u32::try_from(size).expect("bounded by the limits");
        let timers =
            Timers::new(number(slots.len()), number(config.limits.requests), number(count));
        // One input can end or open each request once, reset each stream of one connection, dial or
        // close each slot once, and say twice of each backend what became of it; the rest is for
        // single orders.
        let outputs_max = config.limits.requests
            + config.limits.streams_per_connection
            + 2 * slots.len()
            + 2 * count
            + 8;
        let mut pool = Self {
            random: Random::new(seed),
            requests: Requests::new(config.limits.requests),
            waiting: IndexedHeap::new(config.limits.requests),
            timers,
            balancer: Balancer::new(config.strategy, config.timeouts.slow_start, count),
            backends: (0..count).map(|_| Backend::vacant()).collect(),
            in_service: 0,
            healthy: 0,
            ejected: 0,
            leaving: 0,
            emptied: false,
            panicking: false,
            retrying: 0,
            phase: Phase::Running,
            outputs: VecDeque::with_capacity(outputs_max),
            outputs_max,
            counters: Counters::default(),
            slots,
            config,
        };
        let backends = core::mem::take(&mut pool.config.backends);
        for (index, backend) in backends.iter().enumerate() {
            let (weight, exclusive) = (backend.weight, backend.exclusive);
            pool.add_backend(Instant::ZERO, backend_id(index), weight, exclusive);
        }
        // Whoever built it knows what it was built from.
        pool.outputs.clear();
        pool.config.backends = backends;
        pool.check_invariants();
        Ok(pool)
    }

    /// Retires each connection slot after so many incarnations, as if tokens were narrower. With the
    /// full 32 bits nobody lives to see it; simulation does.
    ///
    /// # Panics
    /// If the pool was used before.
    pub fn narrow_generations(&mut self, most: u32) {
        assert!(self.counters.dials == 0, "generations are narrowed before the first dial");
        self.slots.narrow_generations(most);
    }

    /// Takes in one fact. `now` never lies before that of an earlier call by more than the clock's
    /// own disorder; a smaller one is allowed and means what it says.
    ///
    /// # Panics
    /// If orders that followed from the previous fact were not fetched: the caller would carry them
    /// out against a later state.
    pub fn handle(&mut self, now: Instant, input: Input) -> Handled {
        assert!(self.outputs.is_empty(), "fetch all outputs before the next input");
        let handled = self.take_in(now, input);
        match handled {
            Handled::Stale => self.counters.stale += 1,
            Handled::Refused => self.counters.refused += 1,
            Handled::Done
            | Handled::Accepted(_)
            | Handled::Rejected(_)
            | Handled::Added(_)
            | Handled::Rebuilt(_) => {
                self.dispatch(now);
                self.close_when_drained();
                self.let_go_of_removed();
            }
        }
        #[cfg(test)]
        self.check_invariants();
        handled
    }

    fn take_in(&mut self, now: Instant, input: Input) -> Handled {
        match input {
            Input::RequestArrived { idempotent, has_body } => {
                self.on_request_arrived(now, idempotent, has_body)
            }
            Input::ReplayBufferExceeded { request, stream } => self
                .known_request(request, |pool, index| {
                    pool.on_replay_buffer_exceeded(now, index, stream)
                }),
            Input::RequestCancelled { request } => {
                self.known_request(request, |pool, index| pool.on_request_cancelled(now, index))
            }
            Input::Connected { connection, protocol, max_streams } => {
                self.on_connected(now, connection, protocol, max_streams)
            }
            Input::ConnectFailed { connection, reason: _ } => {
                self.on_connect_failed(now, connection)
            }
            Input::MaxStreamsChanged { connection, max_streams } => {
                self.on_max_streams_changed(now, connection, max_streams)
            }
            Input::GoAwayReceived { connection, last_stream_id, code } => {
                self.on_go_away(now, connection, last_stream_id, code)
            }
            Input::FrameReceived { connection } => self.on_frame(now, connection),
            Input::Pong { connection } => self.on_pong(now, connection),
            Input::ConnectionClosed { connection, sent_through } => {
                self.on_connection_closed(now, connection, sent_through)
            }
            Input::StreamOpened { stream, stream_id } => {
                self.on_stream_opened(now, stream, stream_id)
            }
            Input::RequestSent { stream } => self.on_request_sent(now, stream),
            Input::ResponseStarted { stream, status } => {
                self.on_response_started(now, stream, status)
            }
            Input::ResponseEnded { stream } => self.on_response_ended(now, stream),
            Input::StreamFailed { stream, failure } => self.on_stream_failed(now, stream, failure),
            Input::ResetSent { stream } => self.on_reset_sent(now, stream),
            Input::BodyProgressed { stream, bytes } => self.on_body_progressed(now, stream, bytes),
            Input::BackendAdded { weight, exclusive } => {
                self.on_backend_added(now, weight, exclusive)
            }
            Input::BackendRemoved { backend } => self.on_backend_removed(now, backend),
            Input::DrainRequested { backend, within } => {
                self.on_drain_requested(now, backend, within)
            }
            Input::DrainCancelled { backend } => self.on_drain_cancelled(now, backend),
            Input::WeightChanged { backend, weight } => self.on_weight_changed(backend, weight),
            Input::ProbeFinished { backend, number, passed } => {
                self.on_probe_finished(now, backend, number, passed)
            }
            Input::SettingChanged { setting } => self.on_setting_changed(now, setting),
            Input::AuditRequested => self.on_audit(now),
            Input::ShutdownRequested { cause } => self.on_shutdown(now, cause),
            Input::Timeout => self.on_timeout(now),
        }
    }

    /// The next order that follows from the last fact.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`handle`](Self::handle) with [`Input::Timeout`] at the latest, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, TimerReason)> {
        self.timers.next().map(|(at, timer)| (at, timer.into()))
    }

    /// What the pool was built from.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether no request is live and no connection exists.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let count = self.backends.len();
        self.requests.live() == 0
            && (0..count).all(|index| self.slots.count(backend_id(index)) == 0)
    }

    /// A snapshot; counts the tables, so not for every request.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            slots: self.slots.stats(),
            requests: self.requests.live(),
            waiting: self.waiting.len() as u32,
            retrying: self.retrying,
            counters: self.counters,
        }
    }

    /// A slot, if both numbers are within bounds.
    #[must_use]
    pub fn slot(&self, backend: BackendId, slot: u16) -> Option<SlotView> {
        let per_backend = self.slots.len() / self.backends.len();
        let known = usize::from(backend.0) < self.backends.len() && usize::from(slot) < per_backend;
        known.then(|| {
            let index = usize::from(backend.0) * per_backend + usize::from(slot);
            let connection = self.slots.connection(index);
            SlotView {
                state: connection.state(),
                generation: connection.generation,
                streams: connection.load(),
                limit: match connection.lifecycle() {
                    connection::Lifecycle::Connecting { expected } => expected,
                    _ => connection.limit,
                },
            }
        })
    }

    /// The state of a slot, if both numbers are within bounds.
    #[must_use]
    pub fn slot_state(&self, backend: BackendId, slot: u16) -> Option<SlotState> {
        self.slot(backend, slot).map(|slot| slot.state)
    }

    /// The backend in a place, if there is one.
    #[must_use]
    pub fn backend(&self, backend: BackendId) -> Option<BackendView> {
        let place = self.backends.get(usize::from(backend.0))?;
        let (state, since, cause) = place.told?;
        let token = BackendToken { backend, generation: place.generation };
        let requests = self.balancer.load(backend);
        Some(BackendView { token, state, since, cause, weight: place.weight, requests })
    }

    /// The share of its full one that a backend gets, in percent: less than 100 for some time after
    /// it came back ([`Timeouts::slow_start`]).
    #[must_use]
    pub fn share(&self, backend: BackendId, now: Instant) -> u64 {
        let known = usize::from(backend.0) < self.backends.len();
        if known { self.balancer.share(u32::from(backend.0), now) } else { 100 }
    }

    /// Whether requests may go to the backend: it is in service, and its health allows it or too few
    /// are healthy.
    #[must_use]
    pub fn may_be_used(&self, backend: BackendId) -> bool {
        usize::from(backend.0) < self.backends.len()
            && self.balancer.is_member(balance::Set::Usable, backend)
    }

    /// Whether nothing speaks against the backend.
    #[must_use]
    pub fn is_healthy(&self, backend: BackendId) -> bool {
        self.backends.get(usize::from(backend.0)).is_some_and(Backend::is_healthy)
    }

    /// Until when no further connection to the backend is dialled, if dials have failed.
    #[must_use]
    pub fn backoff_until(&self, backend: BackendId) -> Option<Instant> {
        let known = usize::from(backend.0) < self.backends.len();
        known.then(|| self.timers.armed(timer::Timer::Backoff(u32::from(backend.0)))).flatten()
    }

    /// Whether health is ignored because so few backends are healthy.
    #[must_use]
    pub fn is_panicking(&self) -> bool {
        self.panicking
    }

    /// The moves of the table of connections that this pool has made.
    #[must_use]
    pub fn transitions(&self) -> Transitions {
        self.slots.transitions()
    }

    /// Connections of a backend that are ready and carry no stream.
    #[must_use]
    pub fn idle_connections(&self, backend: BackendId) -> u32 {
        if usize::from(backend.0) < self.backends.len() {
            self.slots.count_idle(backend)
        } else {
            0
        }
    }

    /// Streams that could be opened on a backend now.
    #[must_use]
    pub fn available_streams(&self, backend: BackendId) -> u64 {
        if usize::from(backend.0) < self.backends.len() {
            self.slots.total_available_streams(backend)
        } else {
            0
        }
    }

    fn known_request(
        &mut self,
        request: RequestId,
        handle: impl FnOnce(&mut Self, u32) -> Handled,
    ) -> Handled {
        match self.requests.find(request) {
            Ok(index) => handle(self, index),
            Err(Stale) => Handled::Stale,
        }
    }

    fn order(&mut self, output: Output) {
        assert!(self.outputs.len() < self.outputs_max, "the bound on outputs holds");
        self.outputs.push_back(output);
    }
}

fn backend_id(index: usize) -> BackendId {
    BackendId(u16::try_from(index).expect("at most 4096 backends"))
}

#[cfg(test)]
mod tests;
