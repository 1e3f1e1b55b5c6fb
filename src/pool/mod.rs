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
//! `on_timer`; beneath them the tables `slots`, `request`, `balance`, `health`, `timer`. What must
//! hold at every step is in `invariants`.

pub mod config;
pub mod input;
pub mod limits;
pub mod output;
pub mod retry;
pub mod time;
pub mod token;

mod balance;
pub mod canonical;
mod connection;
mod dispatch;
mod health;
mod heap;
mod invariants;
mod on_connection;
mod on_request;
mod on_stream;
mod on_timer;
mod random;
mod request;
mod slots;
mod stats;
mod timer;
mod transitions;

pub use config::{
    BackendConfig, Config, ConfigError, HealthConfig, Probing, RetryConfig, Strategy, Timeouts,
};
pub use connection::{DrainCause, SlotState};
pub use input::{ConnectFailure, Input, Protocol, StreamFailure};
pub use limits::Limits;
pub use output::{CloseReason, Handled, Outcome, Output, Rejection};
pub use retry::Evidence;
pub use stats::{Counters, SlotStats, SlotView, Stats};
pub use time::Instant;
pub use timer::TimerReason;
pub use token::{BackendId, ConnectionToken, RequestId, StreamToken};
pub use transitions::Transitions;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use balance::Balancer;
use health::Health;
use heap::IndexedHeap;
use random::Random;
use request::Requests;
use slots::{Slots, Stale};
use timer::Timers;

/// What the pool knows of a backend besides its connections.
#[derive(Clone, Debug)]
struct Backend {
    health: Health,
    /// Whether its health alone allows its use; counted in `Pool::usable`.
    usable: bool,
    /// Dials in a row that failed, or connections that ended without a single response.
    dial_failures: u32,
    /// Smoothed time from a request's dispatch to its response head, nanoseconds; 0 if unknown.
    response_time: u64,
    /// Doublings of the PING interval that the backend asked for.
    calm: u32,
    /// Streams that the next connection is expected to bring.
    expected_streams: u32,
}

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
    backends: Vec<Backend>,
    /// Backends that are not healthy, least recently ejected first.
    ejected: IndexedHeap,
    ejections: u64,
    /// The backend that is tried because all are out.
    fail_open: Option<BackendId>,
    /// Backends that may be used on their own account.
    usable: u32,
    /// Requests on a second or later attempt, or waiting for one.
    retrying: u32,
    phase: Phase,
    outputs: VecDeque<Output>,
    outputs_max: usize,
    counters: Counters,
}

impl Pool {
    /// Builds a pool, with every byte it will ever use. The same configuration, seed and facts give
    /// the same orders, on every machine.
    ///
    /// # Errors
    /// The first value of the configuration that is out of bounds.
    pub fn new(config: Config, seed: u64) -> Result<Self, ConfigError> {
        config.check()?;
        let count = config.backends.len();
        let slots = Slots::new(count, &config.limits);
        let number = |size: usize| u32::try_from(size).expect("bounded by the limits");
        let timers =
            Timers::new(number(slots.len()), number(config.limits.requests), number(count));
        // One input can end or open each request once, reset each stream of one connection, and
        // dial or close each slot once; the rest is for single orders.
        let outputs_max =
            config.limits.requests + config.limits.streams_per_connection + 2 * slots.len() + 8;
        let cap = number(config.limits.streams_per_connection);
        let backend = |backend: &BackendConfig| Backend {
            health: Health::NEW,
            usable: true,
            dial_failures: 0,
            response_time: 0,
            calm: 0,
            expected_streams: if backend.exclusive {
                1
            } else {
                limits::STREAMS_BEFORE_SETTINGS.min(cap)
            },
        };
        let mut pool = Self {
            random: Random::new(seed),
            requests: Requests::new(config.limits.requests),
            waiting: IndexedHeap::new(config.limits.requests),
            timers,
            balancer: Balancer::new(config.strategy, &config.backends),
            backends: config.backends.iter().map(backend).collect(),
            ejected: IndexedHeap::new(count),
            ejections: 0,
            fail_open: None,
            usable: number(count),
            retrying: 0,
            phase: Phase::Running,
            outputs: VecDeque::with_capacity(outputs_max),
            outputs_max,
            counters: Counters::default(),
            slots,
            config,
        };
        for index in 0..count {
            pool.refresh(backend_id(index));
        }
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
        let handled = match input {
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
            Input::ResponseStarted { stream, status: _ } => self.on_response_started(now, stream),
            Input::ResponseEnded { stream } => self.on_response_ended(now, stream),
            Input::StreamFailed { stream, failure } => self.on_stream_failed(now, stream, failure),
            Input::ResetSent { stream } => self.on_reset_sent(now, stream),
            Input::ShutdownRequested => self.on_shutdown(now),
            Input::Timeout => self.on_timeout(now),
        };
        match handled {
            Handled::Stale => self.counters.stale += 1,
            Handled::Refused => self.counters.refused += 1,
            Handled::Done | Handled::Accepted(_) | Handled::Rejected(_) => {
                self.dispatch(now);
                self.close_when_drained();
            }
        }
        #[cfg(test)]
        self.check_invariants();
        handled
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

    /// Whether requests may go to the backend: its health allows it, or all are out and it is the
    /// one that is tried.
    #[must_use]
    pub fn may_be_used(&self, backend: BackendId) -> bool {
        usize::from(backend.0) < self.backends.len()
            && self.balancer.is_member(balance::Set::Usable, backend)
    }

    /// Whether nothing speaks against the backend: it is neither ejected nor on trial.
    #[must_use]
    pub fn is_healthy(&self, backend: BackendId) -> bool {
        let backend = self.backends.get(usize::from(backend.0));
        backend.is_some_and(|backend| matches!(backend.health, Health::Healthy { .. }))
    }

    /// Until when no further connection to the backend is dialled, if dials have failed.
    #[must_use]
    pub fn backoff_until(&self, backend: BackendId) -> Option<Instant> {
        let known = usize::from(backend.0) < self.backends.len();
        known.then(|| self.timers.armed(timer::Timer::Backoff(u32::from(backend.0)))).flatten()
    }

    /// The backend that is tried although it is out, because all are.
    #[must_use]
    pub fn fail_open(&self) -> Option<BackendId> {
        self.fail_open
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
