//! What goes wrong, and at which moment of what.

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};

use crate::faults::Family;

/// One thing that goes wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct Directive {
    /// The family of faults it belongs to.
    pub family: Family,
    /// The moment that triggers it.
    pub when: When,
    /// How long after that moment.
    pub after_us: u64,
    /// What happens.
    pub act: Act,
}

/// A moment in the life of something. Connections of a backend and streams of a connection are
/// counted from 1 in the order in which they were made; requests go by their id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub enum When {
    /// The start of the run.
    Start,
    /// The dial of a connection begins.
    Dialled {
        /// Its backend.
        backend: u16,
        /// Which of its connections.
        connection: u32,
    },
    /// A connection is up.
    Connected {
        /// Its backend.
        backend: u16,
        /// Which of its connections.
        connection: u32,
    },
    /// A stream reaches a moment of its life.
    Stream {
        /// Its backend.
        backend: u16,
        /// Which of its connections.
        connection: u32,
        /// Which of its streams.
        stream: u32,
        /// Which moment.
        moment: Moment,
    },
    /// A request reaches a moment of its life, on whatever stream it is then.
    Request {
        /// Its id.
        request: u32,
        /// Which moment.
        moment: Moment,
    },
}

/// Moments in the life of a request and of the stream that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum Moment {
    /// The client asked (requests only).
    Arrived,
    /// The pool ordered a stream for it.
    Ordered,
    /// Its HEADERS were written.
    Written,
    /// The backend read its HEADERS and has not begun to work.
    Read,
    /// Half of its body was sent.
    HalfSent,
    /// All of it was sent.
    Sent,
    /// The response head is on its way.
    Answered,
    /// The end of the response is on its way.
    Ended,
}

/// What a GOAWAY says it processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum LastId {
    /// 2^31 - 1: the first of a graceful pair (RFC 9113, 6.8).
    Greatest,
    /// The highest stream that the backend has read: the truth.
    Read,
    /// None at all.
    Zero,
    /// One stream below the highest read: a lie if that one was worked on.
    BelowRead,
    /// One stream above the highest read.
    AboveRead,
}

/// RFC 9113 error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum Code {
    /// 0x0
    NoError,
    /// 0x1
    Protocol,
    /// 0x2
    Internal,
    /// 0x7
    Refused,
    /// 0x8
    Cancel,
    /// 0xb
    EnhanceYourCalm,
    /// 0xd
    Http11Required,
}

impl Code {
    /// The number on the wire (RFC 9113, 7).
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::NoError => 0x0,
            Self::Protocol => 0x1,
            Self::Internal => 0x2,
            Self::Refused => 0x7,
            Self::Cancel => 0x8,
            Self::EnhanceYourCalm => 0xb,
            Self::Http11Required => 0xd,
        }
    }
}

/// How far a dial comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum Stage {
    /// TCP does not connect.
    Tcp,
    /// TCP connects, TLS does not.
    Tls,
    /// TLS connects, the first SETTINGS does not come.
    Settings,
}

/// Facts out of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum Forged {
    /// `Connected` for a connection that is up or gone.
    Connected,
    /// `ConnectFailed` for a connection that is up or gone.
    ConnectFailed,
    /// `ConnectionClosed` for a dial under way, which ends it, or a second one.
    ConnectionClosed,
    /// `GoAwayReceived` with the greatest last id, also during the dial.
    GoAway,
    /// `MaxStreamsChanged` to what is in force, also during the dial.
    MaxStreams,
    /// `FrameReceived` although no frame came.
    Frame,
    /// `Pong` although perhaps no PING is out.
    Pong,
    /// `StreamOpened` for a stream that is open.
    StreamOpened,
    /// `RequestSent`, perhaps before the stream is open.
    RequestSent,
    /// `ResponseStarted`, perhaps before the stream is open, or again.
    ResponseStarted,
    /// `ResponseEnded` before the response began.
    ResponseEnded,
    /// `BodyProgressed`, perhaps before the stream is open.
    BodyProgressed,
    /// `StreamFailed` for a stream that was ordered and is not open.
    NotSent,
    /// `ResetSent` for a stream that nobody reset.
    ResetSent,
}

/// A value of the configuration that the operator changes. Only values whose deadlines are not armed
/// yet when they change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum Change {
    /// [`HealthConfig::failures`](baton::pool::HealthConfig::failures)
    Failures(u32),
    /// [`HealthConfig::ejected_percent_max`](baton::pool::HealthConfig::ejected_percent_max)
    EjectedPercentMax(u32),
    /// [`HealthConfig::panic_percent`](baton::pool::HealthConfig::panic_percent)
    PanicPercent(u32),
    /// [`HealthConfig::fall`](baton::pool::HealthConfig::fall)
    Fall(u32),
    /// [`Config::strategy`](baton::pool::Config::strategy)
    Strategy(super::StrategyPlan),
    /// [`Config::probing`](baton::pool::Config::probing): ordered or off.
    Probing(bool),
    /// [`RetryConfig::attempts`](baton::pool::RetryConfig::attempts) to zero, which is refused.
    NoAttempts,
}

/// What a bug in the pool might miscount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[expect(missing_docs, reason = "each is the variant of the same name of `Planted`")]
pub enum Miscount {
    Load,
    Queue,
    Retries,
    Timer,
    Backends,
    Loads,
    Probe,
    Shutdown,
}

/// What happens. Acts on a connection strike the one of the trigger; without one they do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub enum Act {
    /// Frames vanish from here on.
    BlackHole {
        /// Those to the backend.
        to_backend: bool,
        /// Those from it.
        from_backend: bool,
    },
    /// The backend allows so many streams from now on.
    Settings {
        /// SETTINGS_MAX_CONCURRENT_STREAMS.
        max_streams: u32,
    },
    /// The client goes away.
    Cancel,
    /// The backend says GOAWAY.
    GoAway {
        /// What it says it processed.
        last: LastId,
        /// Why.
        code: Code,
    },
    /// The connection breaks: both ends learn of it.
    Break,
    /// The connection breaks between our preface and the peer's SETTINGS, after it was reported up.
    BreakAtPreface,
    /// The dial fails.
    FailDial {
        /// How far it comes.
        stage: Stage,
    },
    /// The dial stands still for so long.
    StallDial {
        /// Where.
        stage: Stage,
        /// How long; for ever if `None`.
        for_us: Option<u64>,
    },
    /// The backend resets the stream.
    Reset {
        /// Why.
        code: Code,
    },
    /// The backend stops reading the connection.
    StopReading {
        /// How long; for ever if `None`.
        for_us: Option<u64>,
    },
    /// The client stops reading: the end of its response waits.
    ClientStopsReading {
        /// How long; until faults stop if `None`.
        for_us: Option<u64>,
    },
    /// The backend grants next to no window: the body of the request takes longer.
    StarveUpload {
        /// How much longer; until faults stop if `None`.
        for_us: Option<u64>,
    },
    /// The backend never goes on with the response until faults stop, and never closes either.
    NeverFinish,
    /// The shell tells facts again that it told before.
    Replay {
        /// How many facts back the first one lies.
        back: u32,
        /// How many.
        count: u32,
    },
    /// The task that reports on the stream or connection stands still: its facts come late.
    HoldReports {
        /// How long.
        for_us: u64,
    },
    /// Timeouts come late.
    LateTimers {
        /// How much later.
        by_us: u64,
        /// How long that lasts.
        for_us: u64,
    },
    /// A timeout is called although nothing is due.
    EarlyTimeout,
    /// The shell tells a fact that is out of place; never one that would make it a liar about what
    /// was sent or executed.
    Forge {
        /// Which.
        fact: Forged,
    },
    /// A backend restarts: its connections break, and dials are refused for a while.
    Restart {
        /// Which.
        backend: u16,
        /// Whether it says GOAWAY and finishes its streams first.
        graceful: bool,
        /// How long dials are refused.
        down_us: u64,
    },
    /// Every connection of every backend breaks at once.
    DisconnectAll,
    /// A backend is out of reach for a while: dials fail or hang, connections are dead paths.
    Unreachable {
        /// Which.
        backend: u16,
        /// Whether dials hang rather than fail.
        hangs: bool,
        /// How long.
        for_us: u64,
    },
    /// The clock jumps forward: everything due meanwhile happens late.
    ClockForward {
        /// How far.
        by_us: u64,
    },
    /// The clock that the shell reads goes back for a while.
    ClockBack {
        /// How far.
        by_us: u64,
        /// How long.
        for_us: u64,
    },
    /// The backend speaks HTTP/1.1 from now on (or HTTP/2 again); live streams are reset with
    /// HTTP_1_1_REQUIRED.
    SwitchProtocol {
        /// Which.
        backend: u16,
        /// To HTTP/1.1.
        http1: bool,
    },
    /// The operator asks for a shutdown.
    Shutdown,
    /// The operator has another pool take over.
    Replace,
    /// The operator adds a backend that the pool does not have.
    Add {
        /// Which.
        backend: u16,
        /// Its weight; one out of bounds is refused.
        weight: u16,
    },
    /// The operator removes a backend.
    Remove {
        /// Which.
        backend: u16,
    },
    /// The operator drains a backend.
    Drain {
        /// Which.
        backend: u16,
        /// The deadline.
        within_us: u64,
    },
    /// The operator wants a drained backend back.
    Undrain {
        /// Which.
        backend: u16,
    },
    /// The operator changes a weight.
    Weight {
        /// Of which backend.
        backend: u16,
        /// To what; one out of bounds is refused.
        weight: u16,
    },
    /// The operator changes a value.
    Change {
        /// Which, and to what.
        change: Change,
    },
    /// Probes of a backend say for a while what is not so, or get lost.
    Probes {
        /// Of which.
        backend: u16,
        /// What they say; lost if `None`.
        passed: Option<bool>,
        /// How long.
        for_us: u64,
    },
    /// The backend answers with this status.
    Status {
        /// RFC 9110, 15.
        status: u16,
    },
    /// The pool audits itself, after something was miscounted on purpose.
    Miscount {
        /// What; nothing if `None`.
        what: Option<Miscount>,
    },
}
