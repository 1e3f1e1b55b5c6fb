//! The state that the model implies beside the state that the pool itself shows, in the same words:
//! what a report shows of the step that broke an invariant.

use baton::pool::{BackendToken, ConnectionToken, Instant, RequestId, StreamToken};

/// A thing that both sides describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thing {
    /// The pool as a whole.
    Pool,
    /// The pool's counters.
    Counters,
    Backend(BackendToken),
    Connection(ConnectionToken),
    Stream(StreamToken),
    Request(RequestId),
    /// The earliest deadline of anything.
    Deadline,
}

/// A piece of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Text(String),
    /// A thing, which people know by another name than its token.
    Thing(Thing),
}

/// A description of a thing by one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said(pub(crate) Vec<Part>);

impl Said {
    /// Clauses, with commas between them. Empty ones are left out.
    pub(super) fn clauses(clauses: impl IntoIterator<Item = String>) -> Self {
        let clauses: Vec<_> = clauses.into_iter().filter(|clause| !clause.is_empty()).collect();
        Self::default().text(clauses.join(", "))
    }

    /// Continues with a text.
    pub(super) fn text(mut self, text: impl Into<String>) -> Self {
        self.0.push(Part::Text(text.into()));
        self
    }

    /// Continues with the name of a thing.
    pub(super) fn name(mut self, thing: Thing) -> Self {
        self.0.push(Part::Thing(thing));
        self
    }

    /// Adds in brackets what only this side knows.
    pub(super) fn more(self, clauses: impl IntoIterator<Item = String>) -> Self {
        let more = Self::clauses(clauses);
        if more == Self::clauses([]) {
            return self;
        }
        let mut said = self.text(" (");
        said.0.extend(more.0);
        said.text(")")
    }
}

/// One thing, as both sides describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) thing: Thing,
    pub(crate) model: Said,
    pub(crate) pool: Said,
    /// True if the pool is not as the model allows.
    pub(crate) differs: bool,
}

/// How far the model has followed the pool in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reached {
    /// The model is as before the fact; the pool has answered it.
    #[default]
    Answer,
    /// The model has the fact, and none of the orders.
    Fact,
    /// The model has the orders before this one, counted from 1, and possibly a part of this one.
    Order { nth: u32, of: u32 },
    /// The model has the fact and all orders.
    All,
}

/// The model and the pool after a step that broke an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SideBySide {
    /// The index of the pool, if there are several.
    pub(crate) pool: usize,
    /// The step, if it is counted.
    pub(crate) step: u64,
    pub(crate) reached: Reached,
    pub(crate) rows: Vec<Row>,
}

/// A time as stories show it.
pub(super) fn time(at: Instant) -> String {
    if at.0 == u64::MAX { "never".to_owned() } else { format!("{:.3} ms", at.0 as f64 / 1e6) }
}

/// A number with the name of what it counts, in the singular or the plural.
pub(super) fn count(number: u64, singular: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {singular}{ending}")
}

/// The text if it applies, or an empty one.
pub(super) fn clause(applies: bool, text: &str) -> String {
    if applies { text.to_owned() } else { String::new() }
}
