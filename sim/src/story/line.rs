//! The lines of the story.

use super::words::Slot;

/// A column of the story: the party that caused an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// A client, or the operator.
    Client,
    /// The pool.
    #[default]
    Pool,
    /// A connection's end at the shell.
    Connection,
    /// A backend.
    Backend,
}

/// One line.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Line {
    /// Microseconds since the start.
    pub at_us: f64,
    /// The fact's number, if the pool received one.
    pub step: Option<u64>,
    /// The lane of the line.
    pub lane: Lane,
    /// The receiving lane, if any.
    pub to: Option<Lane>,
    /// The event, in words.
    pub text: String,
    /// The pool's orders.
    pub orders: Vec<String>,
    /// True if the line is an injected fault.
    pub fault: bool,
    /// The names of the requests and backends it concerns.
    pub about: Vec<String>,
    /// Slots in use after the fact, if the pool received one.
    pub slots: Vec<Slot>,
    /// Waiting and live requests after the fact.
    pub requests: Option<(u32, u32)>,
}
