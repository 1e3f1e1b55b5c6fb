//! What the models keep of clients, connections, streams and backends.

use std::cmp::Ordering;
use std::collections::VecDeque;

use baton::pool::{BackendToken, ConnectionToken, Input, Output, Protocol, RequestId, StreamToken};

use crate::plan::{BackendPlan, Forged, Miscount, Stage};

/// No index.
pub(super) const NONE: u32 = u32::MAX;
/// A time that never comes.
pub(super) const NEVER: u64 = u64::MAX;

/// A frame, or what stands for one over HTTP/1.1, to the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpFrame {
    /// The request head of an exchange.
    Headers(u32),
    /// The end of its body.
    BodyEnd(u32),
    /// RST_STREAM.
    Reset(u32),
    /// PING.
    Ping,
    /// The SETTINGS that allowed so many streams are in force here.
    SettingsAck(u32),
    /// The connection is closed.
    Close,
}

/// A frame, or what stands for one over HTTP/1.1, from the backend.
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
    /// A part of its body.
    Data(u32),
    /// The end of the response.
    End(u32),
    /// RST_STREAM with its code.
    Reset(u32, u32),
    /// The answer to a PING.
    Pong,
    /// The connection is closed.
    Close,
}

/// What a trigger was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) link: u32,
    pub(super) exchange: u32,
    pub(super) request: u32,
}

impl Scope {
    pub(super) const NOTHING: Self = Self { link: NONE, exchange: NONE, request: NONE };
}

/// Something that happens at a time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Arrive(u32),
    Fire(u32, Scope),
    DialEnds(u32),
    Up(u32, UpFrame),
    Down(u32, DownFrame),
    Order(Output),
    Tell(Input),
    Forge(Forged, Scope),
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
    Deadline,
    Probe,
    Operate(Operation),
}

/// What the operator does by hand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    /// Changes something.
    Tell(Input),
    /// Adds a backend with a weight.
    Add(u16, u16),
    /// Has the pool audit itself, after something was miscounted.
    Audit(Option<Miscount>),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Scheduled {
    pub(super) at: u64,
    pub(super) tie: u32,
    pub(super) order: u32,
    pub(super) event: Event,
}

impl Scheduled {
    fn key(&self) -> (u64, u32, u32) {
        (self.at, self.tie, self.order)
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// What becomes of a dial, as directives wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DialFate {
    Succeeds,
    Fails(Stage),
    /// After so long (nanoseconds) it goes on; never if `NEVER`.
    Stalls(u64),
    BreaksAtPreface,
}

/// One connection, with both its ends.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) token: ConnectionToken,
    pub(super) backend: u16,
    /// Which of the backend's connections, from 1.
    pub(super) nth: u32,
    pub(super) protocol: Protocol,
    pub(super) fate: DialFate,
    /// The shell holds it open: dialled and neither closed nor lost.
    pub(super) up: bool,
    /// The shell has closed it, lost it, or its dial ended without one.
    pub(super) over: bool,
    /// The backend's end is gone.
    pub(super) server_gone: bool,
    pub(super) drops_up: bool,
    pub(super) drops_down: bool,
    /// The backend does not read until then.
    pub(super) reads_from: u64,
    /// Frames that wait for the backend to read.
    pub(super) backlog: VecDeque<UpFrame>,
    pub(super) next_stream_id: u32,
    pub(super) sent_through: u32,
    /// Exchanges by ordinal.
    pub(super) exchanges: Vec<u32>,
    /// When the last frame of each direction arrives, the last fact of the connection's task is
    /// told, and the last order about it carried out: each keeps its order.
    pub(super) up_at: u64,
    pub(super) down_at: u64,
    pub(super) tell_at: u64,
    pub(super) order_at: u64,
    pub(super) draws: u64,
    // The backend's end.
    pub(super) open: u32,
    pub(super) highest_read: u32,
    pub(super) streams_read: u32,
    pub(super) allowed: u32,
    pub(super) acknowledged: u32,
    pub(super) go_away_last: Option<u32>,
    pub(super) pings: u32,
}

impl Link {
    pub(super) fn new(token: ConnectionToken, backend: u16, nth: u32) -> Self {
        Self {
            token,
            backend,
            nth,
            protocol: Protocol::Http2,
            fate: DialFate::Succeeds,
            up: false,
            over: false,
            server_gone: false,
            drops_up: false,
            drops_down: false,
            reads_from: 0,
            backlog: VecDeque::new(),
            next_stream_id: 1,
            sent_through: 0,
            exchanges: Vec::new(),
            up_at: 0,
            down_at: 0,
            tell_at: 0,
            order_at: 0,
            draws: 0,
            open: 0,
            highest_read: 0,
            streams_read: 0,
            allowed: u32::MAX,
            acknowledged: u32::MAX,
            go_away_last: None,
            pings: 0,
        }
    }

    /// Keys its draws.
    pub(super) fn key(&self) -> u64 {
        u64::from(self.backend) << 32 | u64::from(self.nth)
    }
}

/// One attempt at a request: a stream, with both its ends.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) token: StreamToken,
    pub(super) link: u32,
    pub(super) request: u32,
    pub(super) id: RequestId,
    pub(super) stream_id: u32,
    /// The shell has nothing more to report of it.
    pub(super) reported: bool,
    /// The shell opened it and its HEADERS may be written.
    pub(super) opened: bool,
    /// The shell wrote all of the request.
    pub(super) sent: bool,
    /// The end of the response reached the shell.
    pub(super) answered: bool,
    /// The shell told the start of the response out of place.
    pub(super) start_forged: bool,
    /// The end of the response waits for the client.
    pub(super) held: bool,
    pub(super) upload_from: u64,
    /// The upload waits for the end of faults.
    pub(super) upload_hangs: bool,
    pub(super) tell_at: u64,
    pub(super) draws: u64,
    // The backend's end.
    pub(super) read: bool,
    pub(super) body_read: bool,
    pub(super) executed: bool,
    /// The backend is through with it: answered, reset, or its connection is gone.
    pub(super) done: bool,
    pub(super) head_sent: bool,
    pub(super) complete: bool,
    pub(super) never_finishes: bool,
    /// Work that waits for faults to stop.
    pub(super) waits_to_heal: bool,
    pub(super) status: u16,
}

/// One client and its request.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) id: Option<RequestId>,
    pub(super) arrived: bool,
    pub(super) ended: bool,
    pub(super) cancelled: bool,
    pub(super) exchange: Option<u32>,
    pub(super) executions: u32,
    /// A backend said that it had not processed what it had.
    pub(super) lied_to: bool,
    pub(super) reads_from: u64,
    pub(super) buffer_exceeded: bool,
    /// The one exchange that has the whole body, once it outgrew the buffer.
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
    /// Dials fail or hang until then.
    pub(super) down_until: u64,
    pub(super) hangs: bool,
    /// Its last token; it may be gone.
    pub(super) token: Option<BackendToken>,
    /// Until when probes do not say what is so, and what they say; lost if `None`.
    pub(super) probes_say: (u64, Option<bool>),
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
            probes_say: (0, None),
        }
    }

    /// The SETTINGS it sends unless a directive says otherwise.
    pub(super) fn max_streams(&self) -> u32 {
        self.plan.max_streams.unwrap_or(u32::MAX)
    }
}
