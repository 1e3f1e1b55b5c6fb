//! The acts of directives as the catalogue of the proxy's world lists them, and the phases in which
//! they cannot happen.

use super::expected::Expected::{self, Always, Never};
use super::phase::Phase;
use crate::plan::{Act, Change, Direction, ProcessAct, Stage, WireEffect};

baton::words! {
    /// The end of the proxy that a connection is at.
    pub enum Side {
        /// A connection of a client.
        Client = "client",
        /// A connection to a backend.
        Backend = "backend",
    }

    /// An act on a connection, or on a request on one.
    pub enum Deed {
        /// Pieces of what the proxy reads.
        PiecesIn = "pieces of bytes in",
        /// Pieces of what it writes.
        PiecesOut = "pieces of bytes out",
        /// Cuts at frames of what it reads.
        FramesIn = "cuts at frames in",
        /// Cuts at frames of what it writes.
        FramesOut = "cuts at frames out",
        /// More time for bytes to it.
        DelayIn = "delay in",
        /// More time for bytes from it.
        DelayOut = "delay out",
        /// A stall of bytes to it.
        StallIn = "stall in",
        /// A stall of bytes from it.
        StallOut = "stall out",
        /// A small buffer for bytes to it.
        RoomIn = "small buffer in",
        /// A small buffer for bytes from it.
        RoomOut = "small buffer out",
        /// The end of bytes to it.
        EndIn = "end in",
        /// The end of bytes from it.
        EndOut = "end out",
        /// A reset, which has no direction.
        NetworkReset = "reset of the connection",
        /// An error of the peer's writing.
        ErrorIn = "error after bytes in",
        /// An error of the proxy's writing.
        ErrorOut = "error after bytes out",
        /// Bytes to it vanish.
        VanishIn = "vanishing bytes in",
        /// Bytes from it vanish.
        VanishOut = "vanishing bytes out",
        /// The proxy's process does not read.
        AsleepIn = "sleep of the reader of bytes in",
        /// The peer's process does not read.
        AsleepOut = "sleep of the reader of bytes out",
        /// The peer's end without `close_notify`.
        NoCloseNotifyIn = "no close_notify in",
        /// The proxy's end without `close_notify`.
        NoCloseNotifyOut = "no close_notify out",
        /// The client cancels.
        Cancel = "cancel",
        /// The client stops reading.
        ClientStopsReading = "client stops reading",
        /// Frames vanish.
        BlackHole = "black hole",
        /// The backend stops reading.
        StopReading = "backend stops reading",
        /// The connection breaks.
        Break = "break",
        /// Every connection breaks.
        DisconnectAll = "break of all connections",
        /// A backend restarts.
        Restart = "restart",
        /// A backend is unreachable.
        Unreachable = "unreachable backend",
        /// SETTINGS.
        Settings = "settings",
        /// GOAWAY.
        GoAway = "goaway",
        /// RST_STREAM.
        Reset = "reset of the stream",
        /// A response without an end.
        NeverFinish = "response without an end",
        /// Almost no window.
        StarveUpload = "starved upload",
        /// Another status.
        Status = "status",
        /// A break before the first SETTINGS.
        BreakAtPreface = "break at the preface",
        /// TCP does not connect.
        FailTcp = "failed dial of TCP",
        /// TLS does not connect.
        FailTls = "failed dial of TLS",
        /// SETTINGS do not come.
        FailSettings = "failed dial at SETTINGS",
        /// TCP takes its time.
        StallTcp = "stalled dial of TCP",
        /// TLS takes its time.
        StallTls = "stalled dial of TLS",
        /// SETTINGS take their time.
        StallSettings = "stalled dial at SETTINGS",
    }

    /// An act on the whole process or on a backend, which touches no connection by itself.
    pub enum ProcessDeed {
        /// SIGTERM.
        Shutdown = "shutdown",
        /// Another SIGTERM.
        ShutdownAgain = "second shutdown",
        /// A reload with another pool.
        Replace = "reload that replaces the pool",
        /// A reload with one more backend.
        Add = "reload that adds a backend",
        /// A reload with one backend less.
        Remove = "reload that removes a backend",
        /// A reload with another weight.
        Weight = "reload that changes a weight",
        /// A reload with another setting.
        Change = "reload that changes a setting",
        /// A reload that turns health checks on or off.
        ChangeChecks = "reload that turns health checks on or off",
        /// A reload with another strategy.
        ChangeStrategy = "reload that changes the strategy",
        /// A reload with several settings.
        ChangeAll = "reload that changes settings",
        /// A drain.
        Drain = "drain",
        /// Its opposite.
        Undrain = "undrain",
        /// Health checks with a wrong result.
        HealthChecks = "wrong health checks",
        /// Another protocol.
        SwitchProtocol = "switch of the protocol",
        /// A reload with one more listener.
        OpenListener = "reload that adds a listener",
        /// A reload with one listener less.
        CloseListener = "reload that removes a listener",
        /// A reload with a listener elsewhere.
        MoveListener = "reload that moves a listener",
        /// Another certificate.
        Certificate = "another certificate",
        /// A reload with an error.
        WrongConfiguration = "reload that is refused",
        /// Other addresses for the name of a backend.
        Name = "other addresses for a name",
    }
}

impl Deed {
    /// The act on a connection, or on a request on one; `None` for other acts.
    pub(crate) fn of(act: Act) -> Option<Self> {
        Some(match act {
            Act::Wire { direction, effect } => Self::of_effect(direction, effect),
            Act::Cancel => Self::Cancel,
            Act::ClientStopsReading { .. } => Self::ClientStopsReading,
            Act::BlackHole { .. } => Self::BlackHole,
            Act::StopReading { .. } => Self::StopReading,
            Act::Break => Self::Break,
            Act::DisconnectAll => Self::DisconnectAll,
            Act::Restart { .. } => Self::Restart,
            Act::Unreachable { .. } => Self::Unreachable,
            Act::Settings { .. } => Self::Settings,
            Act::GoAway { .. } => Self::GoAway,
            Act::Reset { .. } => Self::Reset,
            Act::NeverFinish => Self::NeverFinish,
            Act::StarveUpload { .. } => Self::StarveUpload,
            Act::Status { .. } => Self::Status,
            Act::BreakAtPreface => Self::BreakAtPreface,
            Act::FailDial { stage: Stage::Tcp } => Self::FailTcp,
            Act::FailDial { stage: Stage::Tls } => Self::FailTls,
            Act::FailDial { stage: Stage::Settings } => Self::FailSettings,
            Act::StallDial { stage: Stage::Tcp, .. } => Self::StallTcp,
            Act::StallDial { stage: Stage::Tls, .. } => Self::StallTls,
            Act::StallDial { stage: Stage::Settings, .. } => Self::StallSettings,
            _ => return None,
        })
    }

    fn of_effect(direction: Direction, effect: WireEffect) -> Self {
        let (inwards, outwards) = match effect {
            WireEffect::Pieces(_) => (Self::PiecesIn, Self::PiecesOut),
            WireEffect::PiecesAtFrames => (Self::FramesIn, Self::FramesOut),
            WireEffect::Delay { .. } => (Self::DelayIn, Self::DelayOut),
            WireEffect::Stall { .. } => (Self::StallIn, Self::StallOut),
            WireEffect::Room(_) => (Self::RoomIn, Self::RoomOut),
            WireEffect::End => (Self::EndIn, Self::EndOut),
            WireEffect::Reset => (Self::NetworkReset, Self::NetworkReset),
            WireEffect::ErrorAfter(_) => (Self::ErrorIn, Self::ErrorOut),
            WireEffect::Vanish => (Self::VanishIn, Self::VanishOut),
            WireEffect::Asleep { .. } => (Self::AsleepIn, Self::AsleepOut),
            WireEffect::NoCloseNotify => (Self::NoCloseNotifyIn, Self::NoCloseNotifyOut),
        };
        match direction {
            Direction::In => inwards,
            Direction::Out => outwards,
        }
    }

    /// True if it is done to what a stream carries: its own phase counts, not those of others.
    pub(crate) fn is_about_a_stream(self) -> bool {
        use Deed::{NeverFinish, Reset, StarveUpload, Status};
        matches!(self, NeverFinish | Reset | StarveUpload | Status)
    }

    /// True if a client does it to its own request.
    pub(crate) fn is_of_a_client(self) -> bool {
        matches!(self, Self::Cancel | Self::ClientStopsReading)
    }

    /// True if it is about the dial of a connection.
    fn is_about_a_dial(self) -> bool {
        use Deed::{BreakAtPreface, FailSettings, FailTcp, FailTls};
        use Deed::{StallSettings, StallTcp, StallTls};
        matches!(
            self,
            BreakAtPreface | FailSettings | FailTcp | FailTls | StallSettings | StallTcp | StallTls
        )
    }

    /// True if it is done to the bytes of a connection.
    fn is_of_the_network(self) -> bool {
        (self as usize) < Self::Cancel as usize
    }

    /// True if it needs HTTP/2.
    pub(crate) fn needs_http2(self) -> bool {
        use Deed::{FramesIn, FramesOut, GoAway, Settings};
        matches!(self, FramesIn | FramesOut | GoAway | Settings)
    }

    /// True if it needs TLS.
    pub(crate) fn needs_tls(self) -> bool {
        use Deed::{FailTls, NoCloseNotifyIn, NoCloseNotifyOut, StallTls};
        matches!(self, FailTls | NoCloseNotifyIn | NoCloseNotifyOut | StallTls)
    }

    /// True if it can be done to connections of this side.
    pub(crate) fn is_at(self, side: Side) -> bool {
        match side {
            Side::Client => self.is_of_the_network() || self.is_of_a_client(),
            Side::Backend => !self.is_of_a_client(),
        }
    }

    /// If a long run meets it in a phase.
    pub(super) fn expected(self, side: Side, phase: Phase) -> Expected {
        let tls_only = matches!(self, Self::NoCloseNotifyIn | Self::NoCloseNotifyOut);
        match phase {
            Phase::Connecting if self.is_about_a_stream() || self.is_of_a_client() => {
                Never("there is no request on it yet")
            }
            Phase::Connecting if side == Side::Client || self.is_of_the_network() => {
                Never("a directive for the bytes of a connection waits until it is up")
            }
            _ if self.is_about_a_dial() && phase != Phase::Connecting => {
                Never("it is decided when the dial begins")
            }
            Phase::Idle if self.is_about_a_stream() || self.is_of_a_client() => {
                Never("the request is over")
            }
            Phase::Trailers if tls_only => {
                Never("of what is on its way over TLS, only the records are known")
            }
            Phase::Head if side == Side::Backend && self == Self::NoCloseNotifyIn => {
                Never("over TLS a head is known only once it was read")
            }
            Phase::BodyDown if self == Self::Status => Never("the status was sent before"),
            _ => Always,
        }
    }
}

impl ProcessDeed {
    /// The act on the process; `None` for other acts. `stopped` says that it was asked to stop.
    pub(crate) fn of(act: Act, stopped: bool) -> Option<Self> {
        Some(match act {
            Act::Shutdown if stopped => Self::ShutdownAgain,
            Act::Shutdown => Self::Shutdown,
            Act::Replace => Self::Replace,
            Act::Add { .. } => Self::Add,
            Act::Remove { .. } => Self::Remove,
            Act::Weight { .. } => Self::Weight,
            Act::Change { change } => match change {
                // It is refused, and there is no reload.
                Change::NoAttempts | Change::Setting { .. } => return None,
                Change::HealthChecking(_) => Self::ChangeChecks,
                Change::Strategy(_) => Self::ChangeStrategy,
                _ => Self::Change,
            },
            Act::ChangeAll { .. } => Self::ChangeAll,
            Act::Drain { .. } => Self::Drain,
            Act::Undrain { .. } => Self::Undrain,
            Act::HealthChecks { .. } => Self::HealthChecks,
            Act::SwitchProtocol { .. } => Self::SwitchProtocol,
            Act::Process { act } => match act {
                ProcessAct::OpenListener { .. } => Self::OpenListener,
                ProcessAct::CloseListener { .. } => Self::CloseListener,
                ProcessAct::MoveListener { .. } => Self::MoveListener,
                ProcessAct::Certificate { .. } => Self::Certificate,
                ProcessAct::WrongConfiguration { .. } => Self::WrongConfiguration,
                ProcessAct::Name { .. } => Self::Name,
            },
            Act::Wire { .. }
            | Act::Cancel
            | Act::ClientStopsReading { .. }
            | Act::BlackHole { .. }
            | Act::StopReading { .. }
            | Act::Break
            | Act::DisconnectAll
            | Act::Restart { .. }
            | Act::Unreachable { .. }
            | Act::Settings { .. }
            | Act::GoAway { .. }
            | Act::Reset { .. }
            | Act::NeverFinish
            | Act::StarveUpload { .. }
            | Act::Status { .. }
            | Act::BreakAtPreface
            | Act::FailDial { .. }
            | Act::StallDial { .. } => return None,
            // Only the world of the pool has these.
            Act::Replay { .. }
            | Act::HoldReports { .. }
            | Act::LateTimers { .. }
            | Act::EarlyTimeout
            | Act::StaleInput { .. }
            | Act::ClockForward { .. }
            | Act::ClockBack { .. } => return None,
        })
    }
}
