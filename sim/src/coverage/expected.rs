//! The expectation that a long run meets a cell of the catalogue.

/// If a long run meets a cell of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// It must be met.
    Always,
    /// It cannot be met, for this reason.
    Never(&'static str),
}
