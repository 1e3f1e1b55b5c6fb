//! Faults, and the moments that trigger them.

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};

use super::process::ProcessAct;
use super::wire::{Direction, WireEffect};
use crate::faults::Family;

/// One fault, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct Directive {
    /// The family of faults it belongs to.
    pub family: Family,
    /// The moment that triggers it.
    pub when: When,
    /// Delay after that moment.
    pub after_us: u64,
    /// The effect.
    pub act: Act,
}

/// A moment in the life of something. Connections of a backend and streams of a connection are
/// numbered from 1 in creation order; requests have an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub enum When {
    /// The start of the run.
    Start,
    /// The dial of a connection begins.
    Dialled {
        /// Its backend.
        backend: u16,
        /// The connection's number.
        connection: u32,
    },
    /// A connection is up.
    Connected {
        /// Its backend.
        backend: u16,
        /// The connection's number.
        connection: u32,
    },
    /// A stream reaches a moment of its life.
    Stream {
        /// Its backend.
        backend: u16,
        /// The connection's number.
        connection: u32,
        /// The stream's number.
        stream: u32,
        /// The moment.
        moment: Moment,
    },
    /// A connection of a client is up. Only the world of the proxy has these.
    Client {
        /// The index of the client.
        client: u8,
        /// The connection's number.
        connection: u32,
    },
    /// A request reaches a moment of its life, on its current stream.
    Request {
        /// Its id.
        request: u32,
        /// The moment.
        moment: Moment,
    },
    /// A request reaches a moment of its life; the effect is on the connection of its client. Only
    /// the world of the proxy has these.
    AtClient {
        /// Its id.
        request: u32,
        /// The moment.
        moment: Moment,
    },
}

/// Moments in the life of a request and of the stream that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum Moment {
    /// The request arrived from the client (requests only).
    Arrived,
    /// The pool ordered a stream for it.
    Ordered,
    /// Its HEADERS were written.
    Written,
    /// The backend read its HEADERS and has not started working.
    Read,
    /// Half of its body was sent.
    HalfSent,
    /// The whole request was sent.
    Sent,
    /// The response head is in flight.
    Answered,
    /// The end of the response is in flight.
    Ended,
}

/// The last stream id in a GOAWAY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum LastId {
    /// 2^31 - 1: the first of a graceful pair (RFC 9113, 6.8).
    Greatest,
    /// The highest stream that the backend has read, which is the truth.
    Read,
    /// Zero: no stream.
    Zero,
    /// One stream below the highest read; false if that one was processed.
    BelowRead,
    /// One stream above the highest read.
    AboveRead,
}

/// RFC 9113 error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[expect(missing_docs, reason = "the names are those of RFC 9113, 7")]
pub enum Code {
    NoError = 0x0,
    Protocol = 0x1,
    Internal = 0x2,
    Refused = 0x7,
    Cancel = 0x8,
    EnhanceYourCalm = 0xb,
    Http11Required = 0xd,
}

impl Code {
    /// The number on the wire (RFC 9113, 7).
    #[must_use]
    pub fn number(self) -> u32 {
        self as u32
    }
}

/// The stage at which a dial fails or stalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum Stage {
    /// TCP does not connect.
    Tcp,
    /// TCP connects, TLS does not.
    Tls,
    /// TLS connects, the first SETTINGS does not come.
    Settings,
}

/// Stale or misplaced inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum StaleInput {
    /// `Connected` for a connection that is up or gone.
    Connected,
    /// `ConnectFailed` for a connection that is up or gone.
    ConnectFailed,
    /// `ConnectionClosed` for a dial in flight, which ends it, or a second one for a lost
    /// connection.
    ConnectionClosed,
    /// `GoAwayReceived` with the greatest last id, also during the dial.
    GoAway,
    /// `MaxStreamsChanged` to the current value, also during the dial.
    MaxStreams,
    /// `KeepAliveAnnounced` with three seconds, also during the dial.
    KeepAlive,
    /// `FrameReceived` although no frame arrived.
    Frame,
    /// `Pong`, possibly without a PING in flight.
    Pong,
    /// `DeliveryChecked` without a check.
    DeliveryChecked,
    /// `StreamOpened` for a stream that is open.
    StreamOpened,
    /// `RequestSent`, possibly before the stream is open.
    RequestSent,
    /// `ResponseStarted`, possibly before the stream is open, or repeated.
    ResponseStarted,
    /// `ResponseEnded` before the response started.
    ResponseEnded,
    /// `BodyProgressed`, possibly before the stream is open.
    BodyProgressed,
    /// `UploadBlocked`, possibly before the stream is open.
    UploadBlocked,
    /// `StreamFailed` for a stream that was ordered and is not open.
    NotSent,
    /// `ResetSent` for a stream without a reset.
    ResetSent,
}

/// A configuration value that the operator changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
pub enum Change {
    /// [`HealthConfig::failures`](baton::pool::HealthConfig::failures)
    Failures(u32),
    /// [`HealthConfig::ejected_percent_max`](baton::pool::HealthConfig::ejected_percent_max)
    EjectedPercentMax(u32),
    /// [`HealthConfig::fail_open_percent`](baton::pool::HealthConfig::fail_open_percent)
    FailOpenPercent(u32),
    /// [`HealthConfig::fall`](baton::pool::HealthConfig::fall)
    Fall(u32),
    /// [`Config::strategy`](baton::pool::Config::strategy)
    Strategy(super::StrategyPlan),
    /// [`Config::health_checking`](baton::pool::Config::health_checking): ordered or off.
    HealthChecking(bool),
    /// [`RetryConfig::attempts`](baton::pool::RetryConfig::attempts) to zero, which is refused.
    NoAttempts,
    /// Any other setting that may change. Only the world of the pool has these.
    Setting {
        /// Its key in a plan.
        name: super::LiveName,
        /// Its value in the plan's unit: milliseconds for times.
        value: u32,
    },
}

/// The effect of a directive. Effects on a connection apply to the trigger's connection; without
/// one they do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub enum Act {
    /// Frames vanish from now on.
    BlackHole {
        /// Frames to the backend.
        to_backend: bool,
        /// Frames from the backend.
        from_backend: bool,
    },
    /// The backend allows this many streams from now on.
    Settings {
        /// SETTINGS_MAX_CONCURRENT_STREAMS.
        max_streams: u32,
    },
    /// The client cancels its request.
    Cancel,
    /// The backend sends GOAWAY.
    GoAway {
        /// The last stream id.
        last: LastId,
        /// The error code.
        code: Code,
    },
    /// The connection breaks; both ends detect it.
    Break,
    /// The connection breaks between our preface and the peer's SETTINGS, after it was reported up.
    BreakAtPreface,
    /// The dial fails.
    FailDial {
        /// The stage at which it fails.
        stage: Stage,
    },
    /// The dial stalls.
    StallDial {
        /// The stage at which it stalls.
        stage: Stage,
        /// Duration; forever if `None`.
        for_us: Option<u64>,
    },
    /// The backend resets the stream.
    Reset {
        /// The error code.
        code: Code,
    },
    /// The backend stops reading the connection.
    StopReading {
        /// Duration; forever if `None`.
        for_us: Option<u64>,
    },
    /// The client stops reading: the end of its response is delayed.
    ClientStopsReading {
        /// Duration; until faults stop if `None`.
        for_us: Option<u64>,
    },
    /// The backend grants almost no window: the request body takes longer.
    StarveUpload {
        /// Added time; until faults stop if `None`.
        for_us: Option<u64>,
    },
    /// The backend does not continue the response until faults stop, and does not close.
    NeverFinish,
    /// The shell repeats earlier facts.
    Replay {
        /// Number of facts from the newest one back to the first repeated one.
        back: u32,
        /// Number of facts.
        count: u32,
    },
    /// The task that reports on the stream or connection stalls: its facts arrive late.
    HoldReports {
        /// Duration.
        for_us: u64,
    },
    /// Timeout calls are late.
    LateTimers {
        /// Added delay.
        by_us: u64,
        /// Duration.
        for_us: u64,
    },
    /// A timeout is called although no timer is due.
    EarlyTimeout,
    /// The shell gives a stale or misplaced input, but none that misreports what was sent or
    /// executed.
    StaleInput {
        /// The input.
        fact: StaleInput,
    },
    /// A backend restarts: its connections break, and dials are refused for a while.
    Restart {
        /// The backend.
        backend: u16,
        /// True if it first sends GOAWAY and finishes its streams.
        graceful: bool,
        /// Time during which dials are refused.
        down_us: u64,
    },
    /// Every connection of every backend breaks at once.
    DisconnectAll,
    /// A backend is unreachable for a while: dials fail or hang, connections are dead paths.
    Unreachable {
        /// The backend.
        backend: u16,
        /// True if dials hang; false if they fail.
        hangs: bool,
        /// Duration.
        for_us: u64,
    },
    /// The clock jumps forward: everything due in between happens late.
    ClockForward {
        /// Distance.
        by_us: u64,
    },
    /// The clock that the shell reads goes back for a while.
    ClockBack {
        /// Distance.
        by_us: u64,
        /// Duration.
        for_us: u64,
    },
    /// The backend switches to HTTP/1.1 (or back to HTTP/2); open streams are reset with
    /// HTTP_1_1_REQUIRED.
    SwitchProtocol {
        /// The backend.
        backend: u16,
        /// True for HTTP/1.1.
        http1: bool,
    },
    /// The operator requests a shutdown.
    Shutdown,
    /// The operator replaces the pool.
    Replace,
    /// The operator adds a backend that the pool does not have.
    Add {
        /// The backend.
        backend: u16,
        /// Its weight; a value out of bounds is refused.
        weight: u16,
    },
    /// The operator removes a backend.
    Remove {
        /// The backend.
        backend: u16,
    },
    /// The operator drains a backend.
    Drain {
        /// The backend.
        backend: u16,
        /// Time until the drain deadline.
        within_us: u64,
    },
    /// The operator undrains a backend.
    Undrain {
        /// The backend.
        backend: u16,
    },
    /// The operator changes a weight.
    Weight {
        /// The backend.
        backend: u16,
        /// The new weight; a value out of bounds is refused.
        weight: u16,
    },
    /// The operator changes a configuration value.
    Change {
        /// The value.
        change: Change,
    },
    /// The operator changes several configuration values at once, as a reload does. One that is out
    /// of bounds refuses all.
    ChangeAll {
        /// The values, in their order.
        changes: [Change; 3],
    },
    /// Health checks of a backend give a wrong result for a while, or are lost.
    HealthChecks {
        /// The backend.
        backend: u16,
        /// The result; lost if `None`.
        passed: Option<bool>,
        /// Duration.
        for_us: u64,
    },
    /// The backend answers with this status.
    Status {
        /// RFC 9110, 15.
        status: u16,
    },
    /// The network does this to one direction of the connection. Only the world of the proxy has
    /// bytes.
    Wire {
        /// The direction.
        direction: Direction,
        /// The effect.
        effect: WireEffect,
    },
    /// The operator changes the process or its files. Only the world of the proxy has these.
    Process {
        /// The change.
        act: ProcessAct,
    },
}

impl Act {
    /// Calls `backend` for the backend that the act names, and `time` for each of its times.
    pub(crate) fn visit(
        &mut self,
        mut backend: impl FnMut(&mut u16),
        mut time: impl FnMut(&mut u64),
    ) {
        match self {
            Self::Restart { backend: named, down_us: one, .. }
            | Self::Unreachable { backend: named, for_us: one, .. }
            | Self::Drain { backend: named, within_us: one }
            | Self::HealthChecks { backend: named, for_us: one, .. } => {
                backend(named);
                time(one);
            }
            Self::SwitchProtocol { backend: named, .. }
            | Self::Add { backend: named, .. }
            | Self::Remove { backend: named }
            | Self::Undrain { backend: named }
            | Self::Weight { backend: named, .. } => backend(named),
            Self::StallDial { for_us, .. }
            | Self::StopReading { for_us }
            | Self::ClientStopsReading { for_us }
            | Self::StarveUpload { for_us } => for_us.iter_mut().for_each(time),
            Self::Wire { effect, .. } => match effect {
                WireEffect::Delay { by_us } => time(by_us),
                WireEffect::Stall { for_us } | WireEffect::Asleep { for_us } => {
                    for_us.iter_mut().for_each(time);
                }
                WireEffect::Pieces(_)
                | WireEffect::PiecesAtFrames
                | WireEffect::Room(_)
                | WireEffect::End
                | WireEffect::Reset
                | WireEffect::ErrorAfter(_)
                | WireEffect::Vanish
                | WireEffect::NoCloseNotify => {}
            },
            Self::Process { act } => act.visit(backend, time),
            Self::HoldReports { for_us: one } | Self::ClockForward { by_us: one } => time(one),
            Self::LateTimers { by_us, for_us } | Self::ClockBack { by_us, for_us } => {
                time(by_us);
                time(for_us);
            }
            Self::BlackHole { .. }
            | Self::Settings { .. }
            | Self::Cancel
            | Self::GoAway { .. }
            | Self::Break
            | Self::BreakAtPreface
            | Self::FailDial { .. }
            | Self::Reset { .. }
            | Self::NeverFinish
            | Self::Replay { .. }
            | Self::EarlyTimeout
            | Self::StaleInput { .. }
            | Self::DisconnectAll
            | Self::Change { .. }
            | Self::ChangeAll { .. }
            | Self::Status { .. }
            | Self::Shutdown
            | Self::Replace => {}
        }
    }
}
