//! The models' state of clients, connections, streams and backends.

use std::collections::VecDeque;

use baton::pool::{
    BackendToken, ConnectionToken, Evidence, Input, Output, RequestId, Setting, StreamToken,
};

use crate::faults::Family;
use crate::ping_rule::PingRule;
use crate::plan::{BackendPlan, Stage, StaleInput};

/// No index.
pub(super) const NONE: u32 = u32::MAX;
/// A time that is never reached.
pub(super) const NEVER: u64 = u64::MAX;

/// A frame to the backend, or its equivalent over HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpFrame {
    /// The request head of an exchange.
    Headers(u32),
    /// The end of a request body.
    BodyEnd(u32),
    /// RST_STREAM.
    Reset(u32),
    /// PING.
    Ping,
    /// Acknowledges a SETTINGS frame with this stream limit.
    SettingsAck(u32),
    /// The connection is closed.
    Close,
}

/// A frame from the backend, or its equivalent over HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DownFrame {
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    Settings(u32),
    /// GOAWAY with last id and code.
    GoAway(u32, u32),
    /// A 1xx head.
    Informational(u32),
    /// The response head of an exchange.
    Head(u32),
    /// A part of the response body.
    Data(u32),
    /// The end of the response.
    End(u32),
    /// RST_STREAM with its code.
    Reset(u32, u32),
    /// A malformed response to an exchange.
    Malformed(u32),
    /// PING with ACK.
    Pong,
    /// The connection is closed.
    Close,
}

impl UpFrame {
    /// Moves the index of its exchange.
    pub(crate) fn shift(&mut self, by: u32) {
        match self {
            Self::Headers(exchange) | Self::BodyEnd(exchange) | Self::Reset(exchange) => {
                *exchange += by;
            }
            Self::Ping | Self::SettingsAck(_) | Self::Close => {}
        }
    }
}

impl DownFrame {
    /// Moves the index of its exchange.
    pub(crate) fn shift(&mut self, by: u32) {
        match self {
            Self::Informational(exchange)
            | Self::Head(exchange)
            | Self::Data(exchange)
            | Self::End(exchange)
            | Self::Reset(exchange, _)
            | Self::Malformed(exchange) => *exchange += by,
            Self::Settings(_) | Self::GoAway(..) | Self::Pong | Self::Close => {}
        }
    }

    /// True for what HEADERS and DATA are.
    pub(super) fn carries_message(self) -> bool {
        match self {
            Self::Informational(_)
            | Self::Head(_)
            | Self::Data(_)
            | Self::End(_)
            | Self::Malformed(_) => true,
            Self::Settings(_) | Self::GoAway(..) | Self::Reset(..) | Self::Pong | Self::Close => {
                false
            }
        }
    }
}

/// Returns the time of the next element of a sequence that keeps its order: `earliest`, but later
/// than the previous element's time, which is in `last`, by `gap` at least.
pub(super) fn in_turn(last: &mut u64, earliest: u64, gap: u64) -> u64 {
    *last = (*last + gap).max(earliest);
    *last
}

/// The things that a trigger concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) link: u32,
    pub(super) exchange: u32,
    pub(super) request: u32,
}

impl Scope {
    pub(super) const NOTHING: Self = Self { link: NONE, exchange: NONE, request: NONE };
}

/// The phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunPhase {
    /// The pool does not exist yet.
    Before,
    /// Directives take effect.
    Faults,
    /// No more faults; what is pending ends.
    Healing,
    /// Recovery requests, one after the other.
    Recovering { sent: u32, in_a_row: u32 },
    /// The pool waits for the other pools of its world to recover.
    Recovered,
    /// Shutdown was requested.
    Closing,
    /// The run has ended.
    Done,
}

/// The result of a health check, for another worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct HealthResult {
    pub(super) server: u16,
    /// How often the backend had been added.
    pub(super) added: u32,
    pub(super) passed: bool,
}

/// A scheduled event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Arrive(u32),
    Fire(u32, Scope),
    DialEnds(u32),
    Up(u32, UpFrame),
    Down(u32, DownFrame),
    Order(Output),
    Tell(Input),
    StaleInput(StaleInput, Scope),
    HalfSent(u32),
    BodySent(u32),
    Head(u32),
    Data(u32),
    End(u32),
    LateSettings(u32),
    ResumeReading(u32),
    DeadPath(u32),
    BreakAll(u16),
    Heal,
    /// The time bound of a phase is over.
    Deadline(RunPhase),
    RecoveryRequest,
    Operate(Operation),
    /// Another worker reports the result of a health check of this backend.
    HealthReported(u16),
    /// Another worker, with a pool of this world, tells a result.
    Informed(HealthResult),
    /// Another pool replaces this one.
    Replaced,
}

/// An operator's action.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    /// Gives a fact to the pool.
    Tell(Input),
    /// Adds a backend with a weight.
    Add(u16, u16),
    /// Changes several settings at once.
    Reconfigure([Setting; 3]),
}

/// The result of a dial, as directives determine it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DialFate {
    #[default]
    Succeeds,
    Fails(Stage),
    /// Continues after this many nanoseconds; never if `NEVER`.
    Stalls(u64),
    BreaksAtPreface,
}

/// One connection with both ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    pub(super) token: ConnectionToken,
    pub(super) backend: u16,
    /// The number among the backend's connections, from 1.
    pub(super) nth: u32,
    /// True for HTTP/1.1, false for HTTP/2.
    pub(super) http1: bool,
    pub(super) fate: DialFate,
    /// The SYN of the dial arrives at this time.
    pub(super) syn_at: u64,
    /// The dial succeeded at the shell.
    pub(super) up: bool,
    /// The shell closed or lost it, or its dial failed.
    pub(super) over: bool,
    /// The backend's end is closed.
    pub(super) server_gone: bool,
    pub(super) drops_up: bool,
    pub(super) drops_down: bool,
    /// The shell's system has waited since then for an acknowledgement that does not come.
    pub(super) unacknowledged_since: Option<u64>,
    /// A delivery check was ordered and not answered.
    pub(super) delivery_check: bool,
    /// The backend does not read before this time.
    pub(super) reads_from: u64,
    /// Frames that wait for the backend to read.
    pub(super) backlog: VecDeque<UpFrame>,
    pub(super) next_stream_id: u32,
    pub(super) sent_through: u32,
    /// Exchanges by ordinal.
    pub(super) exchanges: Vec<u32>,
    /// Times of the last frame in each direction, of the last fact from the connection's task, and
    /// of the last order about it; each sequence keeps its order.
    pub(super) up_at: u64,
    pub(super) down_at: u64,
    pub(super) tell_at: u64,
    pub(super) order_at: u64,
    pub(super) draws: u64,
    /// The last id of the last GOAWAY that arrived.
    pub(super) last_id: Option<u32>,
    /// The backend broke the protocol, which ended the connection.
    pub(super) is_malformed: bool,
    // State of the backend's end.
    pub(super) open: u32,
    pub(super) highest_read: u32,
    pub(super) streams_read: u32,
    pub(super) allowed: u32,
    pub(super) acknowledged: u32,
    pub(super) go_away_last: Option<u32>,
    /// It closes as soon as it is idle.
    pub(super) closes: bool,
    pub(super) ping_rule: PingRule,
    /// The family of the last fault that hit it.
    pub(super) last_fault: Option<Family>,
}

impl Link {
    pub(super) fn new(token: ConnectionToken, backend: u16, nth: u32) -> Self {
        Self {
            token,
            backend,
            nth,
            next_stream_id: 1,
            allowed: u32::MAX,
            acknowledged: u32::MAX,
            ..Self::default()
        }
    }

    /// True if the backend's host gets nothing, or its acknowledgements do not arrive.
    pub(super) fn is_dead_path(&self) -> bool {
        self.drops_up || self.drops_down
    }

    /// The key of its draws.
    pub(super) fn key(&self) -> u64 {
        u64::from(self.backend) << 32 | u64::from(self.nth)
    }
}

/// One attempt of a request: a stream with both ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Exchange {
    pub(super) token: StreamToken,
    pub(super) link: u32,
    pub(super) request: u32,
    pub(super) id: RequestId,
    pub(super) stream_id: u32,
    /// The shell has nothing more to report about it.
    pub(super) reported: bool,
    /// The shell opened it; its HEADERS may be written.
    pub(super) opened: bool,
    /// The shell wrote the whole request.
    pub(super) sent: bool,
    /// The end of the response reached the shell.
    pub(super) answered: bool,
    /// A stale or misplaced `ResponseStarted` was reported for it.
    pub(super) response_start_reported: bool,
    /// The end of the response waits for the client.
    pub(super) held: bool,
    pub(super) upload_from: u64,
    /// The upload waits for the end of faults.
    pub(super) upload_hangs: bool,
    pub(super) tell_at: u64,
    pub(super) draws: u64,
    // State of the backend's end.
    pub(super) read: bool,
    pub(super) body_read: bool,
    pub(super) executed: bool,
    /// The backend has finished it: answered, reset, or its connection is closed.
    pub(super) done: bool,
    pub(super) head_sent: bool,
    pub(super) complete: bool,
    pub(super) never_finishes: bool,
    /// Its work continues when faults stop.
    pub(super) waits_to_heal: bool,
    pub(super) status: u16,
}

/// One client and its request.
#[derive(Clone, Debug, Default)]
pub(super) struct SimulatedRequest {
    pub(super) id: Option<RequestId>,
    pub(super) arrived: bool,
    pub(super) ended: bool,
    pub(super) cancelled: bool,
    pub(super) exchange: Option<u32>,
    /// How far its last attempt that failed had come.
    pub(super) evidence: Option<Evidence>,
    pub(super) executions: u32,
    /// True if a backend claimed not to have processed the request although it executed it.
    pub(super) lied_to: bool,
    pub(super) reads_from: u64,
    pub(super) buffer_exceeded: bool,
    /// The only exchange with the whole body, once the body exceeded the buffer.
    pub(super) whole_body: Option<u32>,
    pub(super) tell_at: u64,
    pub(super) completed: bool,
    pub(super) idempotent: bool,
}

/// One backend.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) plan: BackendPlan,
    pub(super) http1: bool,
    pub(super) connections: u32,
    /// Dials fail or hang before this time.
    pub(super) down_until: u64,
    pub(super) hangs: bool,
    /// Its last token, which may be gone.
    pub(super) token: Option<BackendToken>,
    /// Until `.0`, health checks give the result in `.1`; lost if `None`.
    pub(super) health_check_override: (u64, Option<bool>),
    /// How often the operator has added it.
    pub(super) added: u32,
}

impl Server {
    pub(super) fn new(plan: &BackendPlan, token: Option<BackendToken>) -> Self {
        Self {
            plan: *plan,
            http1: plan.http1,
            connections: 0,
            down_until: 0,
            hangs: false,
            token,
            health_check_override: (0, None),
            added: 0,
        }
    }

    /// The stream limit that it sends unless a directive changes it.
    pub(super) fn max_streams(&self) -> u32 {
        self.plan.max_streams.unwrap_or(u32::MAX)
    }
}
