//! The states of a connection, its events, and the table of the events that are legal in each
//! state. The transitions, their documentation and the catalogue of transitions that a simulation
//! must have seen come from the table.

use crate::words;

/// Why a connection is draining.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DrainCause {
    /// The peer sent GOAWAY or `Connection: close`.
    GoAway,
    /// The connection reached its maximum age.
    MaxAge,
    /// The connection carried the maximum number of requests, by configuration or by HTTP/2
    /// identifiers.
    MaxRequests,
    /// A stream ended in a way that makes the connection unfit for further streams, for example
    /// with a malformed response.
    Unfit,
    /// The backend of the connection was drained or removed.
    Backend,
    /// The connection is closed, but the owners of its streams have yet to report how each one
    /// ended.
    Lost,
}

/// Lifecycle of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lifecycle {
    Empty,
    /// The slot owns a dial that is expected to provide this many streams; 0 once the dial is slow.
    Connecting {
        expected: u32,
    },
    Ready,
    Suspect,
    /// Suspect, but its host acknowledges what is sent to it.
    Busy,
    Draining(DrainCause),
}

words! {
    /// Public state of a slot, for the admin API, metrics and logs.
    pub enum SlotState {
        /// The slot is free.
        Empty = "empty",
        /// A dial is in progress.
        Connecting = "connecting",
        /// Ready, and below its limit.
        Available = "available",
        /// Ready, and at its limit, or above it after the peer lowered the limit.
        InUse = "in_use",
        /// Silent for too long with work outstanding; gets no new streams until a frame arrives.
        Suspect = "suspect",
        /// Gets no new streams.
        Draining = "draining",
    }
}

/// Event in the life of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    Dialled { expected: u32 },
    Established,
    DialEnded,
    Reserved,
    Released,
    Silent,
    Acknowledged,
    Alive,
    Drain(DrainCause),
    Resumed,
    ResumedBusy,
    Closed,
}

words! {
    /// A state in the table: a [`SlotState`], with three kinds of draining.
    pub(crate) enum ConnectionState {
        Empty = "empty",
        Connecting = "connecting",
        /// Ready, below its limit.
        Available = "available",
        /// Ready, at its limit or above.
        InUse = "in_use",
        Suspect = "suspect",
        /// Suspect, but its host acknowledges what is sent to it.
        Busy = "busy",
        /// Draining; this is final.
        Draining = "draining",
        /// Draining because its backend is drained, which the operator can cancel.
        DrainingBackend = "draining_backend",
        /// Closed; the owners of its streams have yet to report how each one ended.
        Lost = "lost",
    }
}

/// Makes [`next`] and the catalogue of legal transitions from rows of the form
/// `name: event if condition, states => lifecycle;`.
macro_rules! table {
    ($lifecycle:ident, $load:ident: $(
        $row:ident: $event:pat $(if $condition:expr)?, $($state:ident)|+ => $next:expr;
    )+) => {
        /// Returns the next lifecycle of a connection after an event; `None` if the event is not
        /// legal in the present state. Load and limit decide whether a ready connection is
        /// available or in use.
        ///
        /// | event | legal in | next |
        /// |---|---|---|
        $(#[doc = concat!(
            "| ", stringify!($row), $(" if ", stringify!($condition),)? " | ",
            $(stringify!($state), " ",)+ "| `", stringify!($next), "` |"
        )])+
        #[inline]
        pub(super) fn next(
            $lifecycle: Lifecycle,
            $load: u32,
            limit: u32,
            event: Event,
        ) -> Option<Lifecycle> {
            let state = $lifecycle.state($load, limit);
            match event {
                $($event => {
                    let legal =
                        matches!(state, $(ConnectionState::$state)|+) $(&& $condition)?;
                    legal.then_some($next)
                })+
            }
        }

        /// The rows of the table.
        #[cfg(any(test, feature = "simulation"))]
        #[allow(non_camel_case_types, reason = "these are the names of events in reports")]
        #[derive(Clone, Copy)]
        enum Row { $($row),+ }

        /// The name of each event, and the states in which the event is legal.
        #[cfg(any(test, feature = "simulation"))]
        pub(crate) const LEGAL: &[(&str, &[ConnectionState])] =
            &[$((stringify!($row), &[$(ConnectionState::$state),+])),+];

        /// Returns the index of an event in [`LEGAL`].
        #[cfg(any(test, feature = "simulation"))]
        #[allow(unused_variables, reason = "only the kind of the event matters")]
        pub(crate) fn row(event: Event) -> usize {
            let row = match event { $($event => Row::$row),+ };
            row as usize
        }
    };
}

table! { lifecycle, load:
    dialled: Event::Dialled { expected },
        Empty => Lifecycle::Connecting { expected };
    established: Event::Established,
        Connecting => Lifecycle::Ready;
    dial_ended: Event::DialEnded,
        Connecting => Lifecycle::Empty;
    reserved: Event::Reserved,
        Available => lifecycle;
    released: Event::Released if load > 0,
        Available | InUse | Suspect | Busy | Draining | DrainingBackend | Lost => lifecycle;
    silent: Event::Silent,
        Available | InUse => Lifecycle::Suspect;
    acknowledged: Event::Acknowledged,
        Suspect => Lifecycle::Busy;
    alive: Event::Alive,
        Suspect | Busy => Lifecycle::Ready;
    drain: Event::Drain(
            cause @ (DrainCause::GoAway
            | DrainCause::MaxAge
            | DrainCause::MaxRequests
            | DrainCause::Unfit)
        ),
        Available | InUse | Suspect | Busy | DrainingBackend => Lifecycle::Draining(cause);
    drain_backend: Event::Drain(cause @ DrainCause::Backend),
        Available | InUse | Suspect | Busy => Lifecycle::Draining(cause);
    lost: Event::Drain(cause @ DrainCause::Lost),
        Available | InUse | Suspect | Busy | Draining | DrainingBackend =>
            Lifecycle::Draining(cause);
    resumed: Event::Resumed,
        DrainingBackend => Lifecycle::Ready;
    resumed_busy: Event::ResumedBusy,
        DrainingBackend => Lifecycle::Busy;
    closed: Event::Closed if load == 0,
        Available | InUse | Suspect | Busy | Draining | DrainingBackend | Lost =>
            Lifecycle::Empty;
}

impl Lifecycle {
    /// True if the connection takes streams, or may do so again.
    pub(crate) fn may_take_streams(self) -> bool {
        matches!(
            self,
            Self::Ready | Self::Suspect | Self::Busy | Self::Draining(DrainCause::Backend)
        )
    }

    /// Returns the state of a connection with this load and limit.
    pub(super) fn state(self, load: u32, limit: u32) -> ConnectionState {
        match self {
            Self::Empty => ConnectionState::Empty,
            Self::Connecting { .. } => ConnectionState::Connecting,
            Self::Ready if load < limit => ConnectionState::Available,
            Self::Ready => ConnectionState::InUse,
            Self::Suspect => ConnectionState::Suspect,
            Self::Busy => ConnectionState::Busy,
            Self::Draining(DrainCause::Backend) => ConnectionState::DrainingBackend,
            Self::Draining(DrainCause::Lost) => ConnectionState::Lost,
            Self::Draining(
                DrainCause::GoAway
                | DrainCause::MaxAge
                | DrainCause::MaxRequests
                | DrainCause::Unfit,
            ) => ConnectionState::Draining,
        }
    }
}

impl From<ConnectionState> for SlotState {
    fn from(state: ConnectionState) -> Self {
        match state {
            ConnectionState::Empty => Self::Empty,
            ConnectionState::Connecting => Self::Connecting,
            ConnectionState::Available => Self::Available,
            ConnectionState::InUse => Self::InUse,
            ConnectionState::Suspect | ConnectionState::Busy => Self::Suspect,
            ConnectionState::Draining
            | ConnectionState::DrainingBackend
            | ConnectionState::Lost => Self::Draining,
        }
    }
}
