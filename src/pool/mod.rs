//! The pool: a state machine that makes every decision about backends, connections and requests,
//! and does no I/O.
//!
//! Three functions drive it. [`Pool::handle`] takes one fact. [`Pool::poll_output`] returns the
//! orders that follow from that fact; all of them must be fetched before the next fact.
//! [`Pool::poll_timeout`] returns the deadline for the next call of `handle` with
//! [`Input::Timeout`]. A reload is a fact too large for an [`Input`]: [`Pool::reconfigure`] takes
//! it. The pool reads no clock and draws random numbers only from its seed. After [`Pool::new`] it
//! allocates nothing but the table of a backend that is added at a place that none had before.
//!
//! A waiting request is not tied to a dial: it may take a stream of any backend it may use. Every
//! event that frees capacity serves the oldest waiting request first. All requests take the same
//! path, whether a connection exists, must be dialled, or is lost while it carries the request.
//!
//! **Contract of the driver.** The driver carries out orders in the order in which they were given.
//! It reports `StreamOpened` before it writes any byte of the request; if the pool answers `Stale`,
//! it writes none. It reports `ConnectionClosed` before it reports the ends of the streams that the
//! connection carried.
//!
//! Reading order: [`settings`], [`input`], [`output`], `on_request`, `dispatch`, `on_stream`,
//! `on_connection`, `on_timer`, `suspicion`, `on_backend`, `on_health`, `blame`. They use the
//! tables `slots`, `request`, `backend`, `balance`, `health`, `lanes` and `timer`. `invariants`
//! states what holds after every fact.
//!
//! # Glossary
//!
//! | term | meaning |
//! |---|---|
//! | fact | an [`Input`]: something that happened, reported to the pool |
//! | order | an [`Output`]: something that the driver must carry out or may log |
//! | token | names one use of a backend index, slot, stream entry or request index |
//! | generation | counts the uses of a slot or index, so that old tokens can be recognised |
//! | stale | a token whose thing no longer exists, or a fact about such a thing |
//! | backend | one server address of the cluster |
//! | in service | neither draining nor removed; health is not considered |
//! | healthy | in service, up, and neither ejected nor half-open |
//! | usable | may get a request now: its health allows it, or the pool fails open |
//! | slot | an entry of the connection table: empty, or one dial or connection |
//! | dial | an attempt to establish a connection, until its handshake is done |
//! | slow dial | a dial that took longer than [`Timeouts::silence`]; no request counts on it |
//! | expected streams | streams that a dial is expected to provide; 0 for a slow dial |
//! | connection | an established connection to a backend, HTTP/2 or HTTP/1.1 |
//! | stream | one request and its response on a connection |
//! | load | streams of a connection that are reserved, open, or reset but not yet on the wire |
//! | limit | streams that a connection may carry: the peer's limit, at most the operator's |
//! | capacity | streams that a connection could open now: limit less load while it is ready |
//! | lifecycle | empty, connecting, ready, suspect or draining; the life of a slot |
//! | stale connection | turned out to be closed when it was used after being idle |
//! | suspect | silent for too long with a load: gets no new streams until a frame arrives |
//! | delivery check | a question to the operating system: does the backend's host acknowledge data? |
//! | draining | gets no new streams; what is open may finish until a deadline |
//! | lost | closed, but the ends of some of its streams are not yet reported |
//! | attempt | one try of a request on one stream |
//! | evidence | what the end of an attempt proves about work done by the backend |
//! | retry budget | how many requests may be on a second or later attempt at once |
//! | waiting | accepted, but without a stream: in the queue |
//! | deferred | waiting for a place in the retry budget, before it is in the queue again |
//! | dispatch | gives free streams to waiting requests and orders the dials they need |
//! | backoff | delay before the next dial of a backend whose dials failed |
//! | doubt | a failure that may be the request's own fault waits for another backend's answer |
//! | passive health | ejection of a backend because requests or dials failed |
//! | ejection | leaving a backend out for some time because of failures |
//! | ejection overflow | a due ejection that is skipped because enough backends are ejected |
//! | half-open | after an ejection: the backend gets one request at a time |
//! | trial request | the request that a half-open backend gets |
//! | health check | an active check of a backend, independent of requests; it sets up or down |
//! | fail-open | health is ignored because too few backends are healthy |
//! | slow start | growth of a backend's share of requests after it comes back |
//! | virtual time | orders the backends for round robin and weighted choice |
//! | recount | computes every counter, set and timer again and compares |
//! | retired | a slot or request index whose generations are used up: it is not reused |
//! | audit | a recount that the driver makes at run time; a mismatch ends the process |

pub mod backend;
pub mod config;
pub mod input;
pub mod limits;
pub mod outcome;
pub mod output;
pub mod retry;
pub mod setting;
pub mod settings;
pub mod time;
pub mod token;

mod balance;
mod blame;
pub mod canonical;
pub mod cause;
mod connection;
mod dispatch;
mod health;
mod heap;
mod invariants;
mod lanes;
mod mismatch;
mod on_backend;
mod on_connection;
mod on_health;
mod on_request;
mod on_stream;
mod on_timer;
mod pings;
mod random;
mod reconfigure;
mod request;
mod slots;
mod stats;
mod suspicion;
mod timer;
#[cfg(any(test, feature = "simulation"))]
mod transitions;
mod views;
mod words;

pub use backend::{BackendState, BackendView, StateCause};
pub use cause::{EndedBy, FailedAttempt, FailureCause, Limit};
pub use config::{BackendConfig, HealthChecking, Strategy};
pub use connection::{DrainCause, SlotState};
pub use input::{ConnectFailure, Input, Protocol, ShutdownCause, StreamFailure};
pub use mismatch::Mismatch;
pub use outcome::{CloseReason, Outcome, OutcomeKind, Rejection};
pub use output::{Handled, Output};
pub use reconfigure::Setting;
pub use retry::Evidence;
pub use setting::ConfigError;
pub use settings::{Config, HealthConfig, Limits, RetryConfig, Timeouts};
pub use stats::{Counters, SlotStats, SlotView, Stats, StreamView};
pub use time::Instant;
pub use timer::TimerReason;
pub use token::{BackendId, BackendToken, ConnectionToken, RequestId, StreamToken};
#[cfg(any(test, feature = "simulation"))]
pub use transitions::Transitions;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use backend::Backend;
use balance::Balancer;
use heap::IndexedHeap;
use random::Random;
use request::Requests;
use slots::{Slots, Stale};
use timer::Timers;
use token::backend_id;

/// State of the shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PoolPhase {
    Running,
    /// Finishes what was accepted.
    Draining,
    /// The drain deadline passed: the pool accepts nothing any more.
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
    /// Requests that wait for a place in the retry budget, by their arrival.
    deferred: IndexedHeap,
    timers: Timers,
    balancer: Balancer,
    /// Table of backends, by [`BackendId`]; entries may be vacant.
    backends: Vec<Backend>,
    in_service: u32,
    /// Healthy backends in service.
    healthy: u32,
    /// Backends in service that are ejected or half-open.
    ejected: u32,
    /// Removed backends that still have connections.
    removed: u32,
    /// True if a removed backend may have lost its last connection, so that it can be freed.
    removal_pending: bool,
    /// True if health is ignored because too few backends are healthy (fail-open).
    fail_open: bool,
    /// Requests that are on a second or later attempt, or wait for one.
    retrying: u32,
    phase: PoolPhase,
    outputs: VecDeque<Output>,
    outputs_max: usize,
    counters: Counters,
}

impl Pool {
    /// Builds a pool and allocates everything that it and its backends will ever use. A clone
    /// allocates its tables as it grows. The same configuration, seed and facts give the same
    /// orders on every machine.
    ///
    /// # Errors
    /// The first value of the configuration that is out of bounds.
    pub fn new(config: Config, seed: u64) -> Result<Self, ConfigError> {
        config.check()?;
        let count = config.limits.backends;
        let slots = Slots::new(count, &config.limits);
        let number = |size: usize| u32::try_from(size).expect("bounded by the limits");
        let timers =
            Timers::new(number(slots.per_backend()), number(config.limits.requests), number(count));
        // One input can fail one attempt of each request, end or open each request once, reset each
        // stream of one connection, dial or close each slot once, and report two changes of each
        // backend. The rest is for single orders.
        let outputs_max = 2 * config.limits.requests
            + config.limits.streams_per_connection
            + 2 * count * slots.per_backend()
            + 2 * count
            + 8;
        let mut pool = Self {
            random: Random::new(seed),
            requests: Requests::new(config.limits.requests),
            waiting: IndexedHeap::new(config.limits.requests),
            deferred: IndexedHeap::new(config.limits.requests),
            timers,
            balancer: Balancer::new(config.strategy, config.timeouts.slow_start, count),
            backends: (0..count).map(|_| Backend::vacant()).collect(),
            in_service: 0,
            healthy: 0,
            ejected: 0,
            removed: 0,
            removal_pending: false,
            fail_open: false,
            retrying: 0,
            phase: PoolPhase::Running,
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
        // The caller passed these backends, so they are not reported.
        pool.outputs.clear();
        pool.config.backends = backends;
        pool.check_invariants();
        Ok(pool)
    }

    /// Retires each connection slot after `most` generations, so that a simulation reaches the last
    /// one. The full 32 bits do not run out in practice.
    ///
    /// # Panics
    /// If the pool was used before.
    #[cfg(any(test, feature = "simulation"))]
    pub fn narrow_generations(&mut self, most: u32) {
        self.slots.narrow_generations(most);
    }

    /// Takes one fact. `now` may go backwards; deadlines are compared with the value given.
    ///
    /// # Panics
    /// If orders from the previous fact were not fetched: the caller would carry them out against a
    /// later state.
    pub fn handle(&mut self, now: Instant, input: Input) -> Handled {
        assert!(self.outputs.is_empty(), "fetch all outputs before the next input");
        let handled = self.take_in(now, input);
        self.follow_up(now, handled);
        handled
    }

    /// Takes one fact: several settings were changed at run time. [`Input::SettingChanged`] is the
    /// same for one setting; a list would not fit an [`Input`]. Returns `Refused` and changes
    /// nothing if a value is out of bounds.
    ///
    /// # Panics
    /// As [`handle`](Self::handle).
    pub fn reconfigure(&mut self, now: Instant, changes: &[Setting]) -> Handled {
        assert!(self.outputs.is_empty(), "fetch all outputs before the next input");
        let handled = self.on_settings_changed(now, changes);
        self.follow_up(now, handled);
        handled
    }

    /// Counts the result of a fact, and does what follows from it.
    #[inline]
    fn follow_up(&mut self, now: Instant, handled: Handled) {
        match handled {
            Handled::Stale => self.counters.stale += 1,
            Handled::Refused => self.counters.refused += 1,
            Handled::Done | Handled::Accepted(_) | Handled::Rejected(_) | Handled::Added(_) => {
                if self.has_follow_up() {
                    self.carry_on(now);
                }
            }
        }
        #[cfg(test)]
        self.check_invariants();
    }

    /// False if no request waits and nothing is to be closed or freed, as after most facts.
    #[inline]
    fn has_follow_up(&self) -> bool {
        let waits = !self.waiting.is_empty() || !self.deferred.is_empty();
        waits || self.phase != PoolPhase::Running || self.removal_pending
    }

    /// Dispatches requests, and closes connections and frees removed backends that are no longer
    /// needed.
    #[inline(never)]
    fn carry_on(&mut self, now: Instant) {
        self.dispatch(now);
        self.close_when_drained();
        self.free_removed();
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
            Input::KeepAliveAnnounced { connection, timeout } => {
                self.on_keep_alive(connection, timeout)
            }
            Input::FrameReceived { connection, carries_message } => {
                self.on_frame(now, connection, carries_message)
            }
            Input::Pong { connection } => self.on_pong(now, connection),
            Input::DeliveryChecked { connection, unanswered } => {
                self.on_delivery_checked(now, connection, unanswered)
            }
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
            Input::UploadBlocked { stream } => self.on_upload_blocked(stream),
            Input::BackendAdded { weight, exclusive } => {
                self.on_backend_added(now, weight, exclusive)
            }
            Input::BackendRemoved { backend } => self.on_backend_removed(now, backend),
            Input::DrainRequested { backend, within } => {
                self.on_drain_requested(now, backend, within)
            }
            Input::DrainCancelled { backend } => self.on_drain_cancelled(now, backend),
            Input::WeightChanged { backend, weight } => self.on_weight_changed(backend, weight),
            Input::HealthCheckFinished { backend, number, passed } => {
                self.on_health_check_finished(now, backend, number, passed)
            }
            Input::SettingChanged { setting } => self.on_settings_changed(now, &[setting]),
            Input::ShutdownRequested { cause } => self.on_shutdown(now, cause),
            Input::Timeout => self.on_timeout(now),
        }
    }

    /// Returns the next order that follows from the last fact.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns the deadline for calling [`handle`](Self::handle) with [`Input::Timeout`], and its
    /// reason.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, TimerReason)> {
        self.timers.next().map(|(at, timer)| (at, timer.into()))
    }

    /// Returns the configuration: settings as they are now, backends as they were when the pool was
    /// built.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// True if no request is live and no connection or dial exists.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let count = self.backends.len();
        self.requests.live() == 0
            && (0..count).all(|index| self.slots.count(backend_id(index)) == 0)
    }

    /// Returns the backend at an index, or `None` if there is none.
    #[must_use]
    pub fn backend(&self, backend: BackendId) -> Option<BackendView> {
        let place = self.backends.get(usize::from(backend.0))?;
        place.view(backend, self.balancer.load(backend))
    }

    /// Returns the percentage of its full share that a backend gets: less than 100 during slow
    /// start ([`Timeouts::slow_start`]).
    #[must_use]
    pub fn share(&self, backend: BackendId, now: Instant) -> u64 {
        let known = usize::from(backend.0) < self.backends.len();
        if known { self.balancer.share(u32::from(backend.0), now) } else { 100 }
    }

    /// True if requests may go to the backend: it is in service, and either its health allows it or
    /// the pool fails open.
    #[must_use]
    pub fn may_be_used(&self, backend: BackendId) -> bool {
        usize::from(backend.0) < self.backends.len()
            && self.balancer.is_member(balance::Set::Usable, backend)
    }

    /// True if the backend is in service, up, and neither ejected nor half-open.
    #[must_use]
    pub fn is_healthy(&self, backend: BackendId) -> bool {
        self.backends.get(usize::from(backend.0)).is_some_and(Backend::is_healthy)
    }

    /// Returns when the backend may be dialled again, if failed dials delay it.
    #[must_use]
    pub fn backoff_until(&self, backend: BackendId) -> Option<Instant> {
        let known = usize::from(backend.0) < self.backends.len();
        known.then(|| self.timers.armed(timer::Timer::Backoff(u32::from(backend.0)))).flatten()
    }

    /// True if health is ignored because too few backends are healthy (fail-open).
    #[must_use]
    pub fn is_fail_open(&self) -> bool {
        self.fail_open
    }

    /// Returns the transitions of the connection table that this pool has made.
    #[cfg(any(test, feature = "simulation"))]
    #[must_use]
    pub fn transitions(&self) -> Transitions {
        self.slots.transitions()
    }

    /// Returns the number of streams that could be opened on a backend now.
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

#[cfg(test)]
mod tests;
