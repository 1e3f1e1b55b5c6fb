//! The table of the events that are legal for a connection in each state. The moves, the
//! documentation and the catalogue of moves that a simulation must have seen come from it.

use super::{Connection, DrainCause, Event, Lifecycle};
use crate::words;

words! {
    /// A state in the table: a [`SlotState`](super::SlotState), with three kinds of draining.
    pub(crate) enum ConnectionState {
        Empty = "empty",
        Connecting = "connecting",
        /// Ready, below its limit.
        Available = "available",
        /// Ready, at its limit or above.
        InUse = "in_use",
        Suspect = "suspect",
        /// Draining; this is final.
        Draining = "draining",
        /// Draining because its backend is drained, which the operator can cancel.
        DrainingBackend = "draining_backend",
        /// Closed; the owners of its streams have yet to report how each one ended.
        Lost = "lost",
    }
}

/// Makes [`next`] and the catalogue of legal moves from rows of the form
/// `name: event if guard, states => lifecycle;`.
macro_rules! table {
    ($connection:ident: $(
        $row:ident: $event:pat $(if $guard:ident)?, $($state:ident)|+ => $next:expr;
    )+) => {
        /// Returns the next lifecycle of a connection after an event; `None` if the event is not
        /// legal in the present state. Load and limit decide whether a ready connection is
        /// available or in use.
        ///
        /// | event | legal in | next |
        /// |---|---|---|
        $(#[doc = concat!(
            "| ", stringify!($row), $(", if ", stringify!($guard),)? " | ",
            $(stringify!($state), " ",)+ "| `", stringify!($next), "` |"
        )])+
        pub(super) fn next($connection: &Connection, event: Event) -> Option<Lifecycle> {
            match event {
                $($event => {
                    let legal = matches!($connection.exact_state(), $(ConnectionState::$state)|+)
                        $(&& $connection.$guard())?;
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

table! { connection:
    dialled: Event::Dialled { expected },
        Empty => Lifecycle::Connecting { expected };
    established: Event::Established,
        Connecting => Lifecycle::Ready;
    dial_ended: Event::DialEnded,
        Connecting => Lifecycle::Empty;
    reserved: Event::Reserved,
        Available => connection.lifecycle;
    released: Event::Released if is_loaded,
        Available | InUse | Suspect | Draining | DrainingBackend | Lost => connection.lifecycle;
    silent: Event::Silent,
        Available | InUse => Lifecycle::Suspect;
    alive: Event::Alive,
        Suspect => Lifecycle::Ready;
    drain: Event::Drain(
            cause @ (DrainCause::GoAway
            | DrainCause::MaxAge
            | DrainCause::MaxRequests
            | DrainCause::Unfit)
        ),
        Available | InUse | Suspect | DrainingBackend => Lifecycle::Draining(cause);
    drain_backend: Event::Drain(cause @ DrainCause::Backend),
        Available | InUse | Suspect => Lifecycle::Draining(cause);
    lost: Event::Drain(cause @ DrainCause::Lost),
        Available | InUse | Suspect | Draining | DrainingBackend => Lifecycle::Draining(cause);
    resumed: Event::Resumed,
        DrainingBackend => Lifecycle::Ready;
    closed: Event::Closed if is_unloaded,
        Available | InUse | Suspect | Draining | DrainingBackend | Lost => Lifecycle::Empty;
}
