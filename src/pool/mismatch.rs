//! The result of a failed recount, and the two checks that a recount makes.

use core::fmt;

/// A failed check of a recount: a bug in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mismatch {
    /// The check that failed.
    pub what: &'static str,
    /// Index of the slot, request or backend concerned; 0 if the check is about the whole pool.
    pub place: u32,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.what, self.place)
    }
}

impl core::error::Error for Mismatch {}

/// Fails with `what` unless `holds`.
pub(crate) fn expect(holds: bool, what: &'static str, place: usize) -> Result<(), Mismatch> {
    if holds { Ok(()) } else { Err(Mismatch { what, place: place as u32 }) }
}

/// Fails with `what` unless two values are equal.
pub(crate) fn same<T: PartialEq>(
    one: T,
    other: T,
    what: &'static str,
    place: usize,
) -> Result<(), Mismatch> {
    expect(one == other, what, place)
}
