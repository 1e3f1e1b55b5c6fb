//! The model's tables: connections, streams and requests as the facts and orders so far imply them.

use baton::pool::{
    BackendId, BackendToken, CloseReason, Config, ConnectionToken, Counters, Evidence,
    FailureCause, Input, Instant, RequestId, StreamToken, TimerReason,
};

use std::time::Duration;

use super::backend::ModelBackend;
use super::time::Time as _;
use super::turns::Turns;
use super::{Invariant, Verdict, fail, require};
use crate::coverage::Chances;

/// A connection slot.
#[derive(Clone, Debug, Default)]
pub(super) struct ModelConnection {
    pub(super) phase: ConnectionPhase,
    pub(super) generation: u32,
    /// True for HTTP/1.1, false for HTTP/2.
    pub(super) http1: bool,
    pub(super) limit: u32,
    pub(super) load: u32,
    pub(super) opened: u32,
    pub(super) last_stream_id: u32,
    /// When the current phase began.
    pub(super) since: Instant,
    /// Bounds within which it reaches its maximum age, once it is connected.
    pub(super) ages_between: Option<(Instant, Instant)>,
    /// When its load last became zero, or when it connected.
    pub(super) idle_since: Instant,
    /// The longest that it may have been idle since then, as settings and announcements were.
    pub(super) idle_most: Duration,
    /// When it became idle before it last got its first stream, if nothing has arrived since.
    pub(super) idle_before: Option<Instant>,
    /// How long its backend keeps it open while it is idle, as announced.
    pub(super) keep_alive: Option<Duration>,
    /// When a frame last arrived or its load last rose from zero.
    pub(super) quiet_since: Instant,
    /// The latest value of `quiet_since`; the clock may go back.
    pub(super) quiet_latest: Instant,
    /// How long it had carried requests under which nothing arrived, before its load last rose from
    /// zero; `None` once anything has arrived since.
    pub(super) silent_before: Option<Duration>,
    /// The PING that is unanswered.
    pub(super) ping: Option<ModelPing>,
    /// PINGs answered since a part of a message last arrived.
    pub(super) pongs: u32,
    /// When the last of these was answered.
    pub(super) ponged_at: Instant,
    /// A stream was opened since the last PING.
    pub(super) opened_since_ping: bool,
    /// Malformed responses so far.
    pub(super) malformed: u32,
    /// When it is closed, if the pool considered it suspect after the last step and no frame has
    /// arrived since.
    pub(super) suspect_until: Option<Instant>,
    /// A delivery check was ordered and not answered.
    pub(super) delivery_check: bool,
    /// It is suspect and its host has acknowledged since: it does not count for the limit.
    pub(super) is_busy: bool,
    /// It was busy when its backend began to drain.
    pub(super) drained_busy: bool,
    /// The longest that it might be silent at any time since its load rose from zero, or since a
    /// response after PINGs.
    pub(super) silence_most: Duration,
    /// When its dial is given up.
    pub(super) dials_until: Instant,
    /// Streams that its dial is expected to bring; 0 once the dial is slow.
    pub(super) expected: u32,
    /// When its dial becomes slow.
    pub(super) slow_at: Instant,
    /// The longest drain timeout since it began to drain.
    pub(super) drain_most: Duration,
    /// Responses started on it.
    pub(super) responses: u32,
    /// It was closed without GOAWAY under requests, and no cut-off request has been reported yet.
    pub(super) closed_without_goaway: bool,
    /// The time at which the connection ends at the latest, set when its backend is drained or
    /// removed.
    pub(super) ends_at: Option<Instant>,
    /// True if it drains only because of its backend: it must not end before `ends_at`, and takes
    /// streams again if the drain is cancelled.
    pub(super) only_with_backend: bool,
}

impl ModelConnection {
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect_until.is_some()
    }
}

/// A PING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ModelPing {
    /// The step in which it was sent.
    pub(super) step: u64,
    /// It came five minutes after the one before.
    pub(super) is_spaced: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ConnectionPhase {
    #[default]
    Gone,
    Connecting,
    Up,
    Draining,
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModelStream {
    Free,
    Open { ordinal: u32, stream_id: u32, request: u32 },
    Resetting { ordinal: u32 },
}

/// An entry in the request table.
#[derive(Clone, Debug, Default)]
pub(super) struct ModelRequest {
    pub(super) phase: RequestPhase,
    pub(super) generation: u32,
    pub(super) idempotent: bool,
    pub(super) has_body: bool,
    pub(super) replayable: bool,
    /// Its last failure that it may have caused itself.
    pub(super) doubted: Option<ModelDoubt>,
    /// It was lost on a connection that was dead after being idle.
    pub(super) needs_live: bool,
    /// The head was too large for the backend of its last attempt.
    pub(super) is_too_large: bool,
    pub(super) sent_whole: bool,
    /// The backend takes no more of its body.
    pub(super) is_blocked: bool,
    pub(super) attempts: u8,
    pub(super) arrival: u64,
    pub(super) evidence: Option<Evidence>,
    /// The pool's report of its last attempt, once that has failed.
    pub(super) reported: Option<ReportedFailure>,
    /// The stream of its last attempt.
    pub(super) last_stream: Option<StreamToken>,
    /// The identifier of that stream; 0 until it is known.
    pub(super) last_stream_id: u32,
    /// When it is rejected if it still waits.
    pub(super) queued_until: Instant,
    /// When it was sent whole, or given to a connection.
    pub(super) sent_at: Instant,
    pub(super) response_deadline: Option<Instant>,
    /// Deadline of the next progress of its body.
    pub(super) stalls_at: Option<Instant>,
}

/// A failure that another backend's answer would confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ModelDoubt {
    pub(super) backend: BackendToken,
    /// It counts then: it was not judged at once.
    pub(super) is_open: bool,
}

/// The pool's report of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReportedFailure {
    pub(super) evidence: Evidence,
    pub(super) cause: FailureCause,
    /// The request is to be repeated.
    pub(super) retried: bool,
    /// The step in which it was reported.
    pub(super) step: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum RequestPhase {
    #[default]
    None,
    Waiting,
    /// Waits for a place in the retry budget.
    Deferred,
    Sent(StreamToken),
    Responding(StreamToken),
    /// Its attempt failed in this step; the orders must show whether it is retried or ends.
    PendingOutcome {
        was_responding: bool,
        must_retry: bool,
    },
    /// It must end in this step with this ending.
    Ending(Ending),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Completed,
    Cancelled,
    CutShort,
    AttemptFailed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModelPhase {
    Running,
    /// Ends at this instant.
    Draining(Instant),
    Over,
}

#[derive(Clone)]
pub(super) struct Model {
    pub(super) config: Config,
    pub(super) slots_per_backend: usize,
    pub(super) connections: Vec<ModelConnection>,
    pub(super) streams: Vec<ModelStream>,
    pub(super) requests: Vec<ModelRequest>,
    pub(super) live: u32,
    pub(super) waiting: u32,
    pub(super) arrivals: u64,
    /// The last generation that a slot may have.
    pub(super) generation_max: u32,
    pub(super) phase: ModelPhase,
    /// Requests in `PendingOutcome` or `Ending`.
    pub(super) pending_outcome: Vec<u32>,
    /// Streams whose reset the fact requires.
    pub(super) resets_due: u32,
    /// The number of facts applied so far.
    pub(super) step: u64,
    /// The connection that was closed last in this step, and why.
    pub(super) closed_now: Option<(ConnectionToken, CloseReason)>,
    /// Consecutive timeouts at the same instant.
    pub(super) timeouts: (Instant, u32),
    /// The time of the current step, and the timer that is due in it.
    pub(super) step_at: Instant,
    pub(super) fired: Option<(Instant, TimerReason)>,
    pub(super) backends: Vec<ModelBackend>,
    /// The backend being added, with its weight and `exclusive`.
    pub(super) joining: Option<(BackendToken, u16, bool)>,
    /// The slot whose health check was reported in this step, and true if the check passed.
    pub(super) judgement_due: Option<(usize, bool)>,
    /// The backend of a connection that turned out in this step to be dead after being idle, and
    /// how long a connection must have been idle to be closed with it.
    pub(super) stale: Option<(BackendId, Duration)>,
    /// The counters that the pool must have.
    pub(super) counters: Counters,
    pub(super) reference: Turns,
    /// Random choices of this step.
    pub(super) chances: Option<Chances>,
    /// Streams opened in this step, and dials beyond the waiting requests' need.
    pub(super) served: u32,
    pub(super) extra_dials: u32,
    /// Bit set of backends that could have been dialled when one with a slow dial was dialled
    /// again.
    pub(super) passed_over: u64,
}

impl Model {
    pub(super) fn new(config: &Config) -> Self {
        let slots_per_backend = 2 * config.limits.connections_per_backend;
        let slots = slots_per_backend * config.limits.backends;
        let mut model = Self {
            slots_per_backend,
            connections: vec![ModelConnection::default(); slots],
            streams: vec![ModelStream::Free; slots * config.limits.streams_per_connection],
            requests: vec![ModelRequest::default(); config.limits.requests],
            live: 0,
            waiting: 0,
            arrivals: 0,
            generation_max: u32::MAX,
            phase: ModelPhase::Running,
            pending_outcome: Vec::new(),
            resets_due: 0,
            step: 0,
            closed_now: None,
            timeouts: (Instant::ZERO, 0),
            step_at: Instant::ZERO,
            fired: None,
            backends: vec![ModelBackend::default(); config.limits.backends],
            joining: None,
            judgement_due: None,
            stale: None,
            counters: Counters::default(),
            reference: Turns::new(config.limits.backends),
            chances: None,
            served: 0,
            extra_dials: 0,
            passed_over: 0,
            config: config.clone(),
        };
        model.configure(config);
        model
    }

    /// The slot that a token names, if the token's generation is current.
    pub(super) fn slot(&self, token: ConnectionToken) -> Option<usize> {
        let slot = usize::from(token.slot);
        if usize::from(token.backend.0) >= self.backends.len() || slot >= self.slots_per_backend {
            return None;
        }
        let index = usize::from(token.backend.0) * self.slots_per_backend + slot;
        let connection = &self.connections[index];
        let current =
            connection.phase != ConnectionPhase::Gone && connection.generation == token.generation;
        current.then_some(index)
    }

    pub(super) fn token(&self, slot: usize) -> ConnectionToken {
        ConnectionToken {
            backend: BackendId((slot / self.slots_per_backend) as u16),
            slot: (slot % self.slots_per_backend) as u16,
            generation: self.connections[slot].generation,
        }
    }

    /// How long a connection had been idle before the requests on it, if nothing has arrived since.
    pub(super) fn stale_after(&self, slot: usize) -> Option<Duration> {
        let connection = &self.connections[slot];
        connection.idle_before.map(|since| connection.quiet_since.past(since))
    }

    /// How long a connection has been ready without a stream.
    pub(super) fn idle_for(&self, slot: usize, now: Instant) -> Option<Duration> {
        let connection = &self.connections[slot];
        let idle = connection.phase == ConnectionPhase::Up
            && connection.load == 0
            && !connection.is_suspect();
        idle.then(|| now.past(connection.idle_since))
    }

    /// The entry that a token names, if it holds that stream.
    pub(super) fn stream(&self, token: StreamToken) -> Option<(usize, usize, ModelStream)> {
        let slot = self.slot(token.connection)?;
        let per_connection = self.config.limits.streams_per_connection;
        if usize::from(token.stream) >= per_connection {
            return None;
        }
        let place = slot * per_connection + usize::from(token.stream);
        match self.streams[place] {
            ModelStream::Free => None,
            stream @ (ModelStream::Open { ordinal, .. } | ModelStream::Resetting { ordinal }) => {
                (ordinal == token.ordinal).then_some((slot, place, stream))
            }
        }
    }

    /// The entry that an id names, if it holds that request.
    pub(super) fn request(&self, id: RequestId) -> Option<u32> {
        let request = self.requests.get(id.index as usize)?;
        let current = request.phase != RequestPhase::None && request.generation == id.generation;
        current.then_some(id.index)
    }

    pub(super) fn request_mut(&mut self, index: u32) -> &mut ModelRequest {
        &mut self.requests[index as usize]
    }

    /// Adds an accepted request.
    pub(super) fn accept(&mut self, now: Instant, id: RequestId, input: Input) -> Verdict {
        let Input::RequestArrived { idempotent, has_body } = input else {
            return fail(Invariant::NoResurrection, format!("{input:?} was accepted as a request"));
        };
        let known = self.requests.get(id.index as usize);
        let fresh = known.is_some_and(|request| {
            request.phase == RequestPhase::None && id.generation > request.generation
        });
        require(fresh, Invariant::ExclusiveOwnership, || format!("{id:?} was given out twice"))?;
        self.arrivals += 1;
        self.live += 1;
        self.waiting += 1;
        self.requests[id.index as usize] = ModelRequest {
            phase: RequestPhase::Waiting,
            generation: id.generation,
            idempotent,
            has_body,
            replayable: true,
            sent_whole: !has_body,
            arrival: self.arrivals,
            queued_until: now.plus(self.config.timeouts.queue),
            sent_at: now,
            ..ModelRequest::default()
        };
        Ok(())
    }

    /// Frees a stream's entry and lowers its connection's load.
    pub(super) fn free_stream(&mut self, now: Instant, slot: usize, place: usize) {
        assert_ne!(self.streams[place], ModelStream::Free, "the caller looked it up");
        self.streams[place] = ModelStream::Free;
        let connection = &mut self.connections[slot];
        connection.load -= 1;
        if connection.load == 0 {
            let silent = now.past(connection.quiet_since);
            connection.silent_before = connection.silent_before.map(|before| before + silent);
            if connection.phase == ConnectionPhase::Lost {
                connection.phase = ConnectionPhase::Gone;
            }
            self.begin_idle(now, slot);
        }
    }

    /// A connection carries no stream from now on.
    pub(super) fn begin_idle(&mut self, now: Instant, slot: usize) {
        self.connections[slot].idle_since = now;
        self.connections[slot].idle_most = self.idle_timeout(slot);
    }

    /// The indices of a connection's streams in the table.
    pub(super) fn streams_of(&self, slot: usize) -> std::ops::Range<usize> {
        let per_connection = self.config.limits.streams_per_connection;
        slot * per_connection..(slot + 1) * per_connection
    }

    pub(super) fn set_phase(&mut self, now: Instant, slot: usize, phase: ConnectionPhase) {
        let connection = &mut self.connections[slot];
        connection.phase = phase;
        connection.is_busy = false;
        connection.since = now;
        connection.drain_most = self.config.timeouts.drain;
    }

    /// Requests on a second or later attempt, or waiting for one.
    pub(super) fn retrying(&self) -> u32 {
        let retrying = |request: &&ModelRequest| match request.phase {
            RequestPhase::None
            | RequestPhase::Ending(_)
            | RequestPhase::Deferred
            | RequestPhase::Responding(_) => false,
            RequestPhase::Waiting | RequestPhase::PendingOutcome { .. } => request.attempts >= 1,
            RequestPhase::Sent(_) => request.attempts >= 2,
        };
        self.requests.iter().filter(retrying).count() as u32
    }
}
