//! The parts of every catalogue: counts, and the entries of the list.

/// Counts by index in a table; the list ends with the last cell that was met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts(Vec<u64>);

impl Counts {
    pub(super) fn add(&mut self, place: usize, more: u64) {
        if place >= self.0.len() {
            self.0.resize(place + 1, 0);
        }
        self.0[place] += more;
    }

    pub(super) fn get(&self, place: usize) -> u64 {
        self.0.get(place).copied().unwrap_or_default()
    }

    /// The places that were met.
    pub(super) fn met(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().filter(|(_, count)| **count > 0).map(|(place, _)| place)
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (place, count) in other.0.iter().enumerate() {
            self.add(place, *count);
        }
    }
}

/// One entry of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// The table it belongs to.
    pub table: &'static str,
    /// The cell or the mark.
    pub name: String,
    /// Number of times it was met.
    pub count: u64,
    /// True if a long run must meet it.
    pub required: bool,
    /// Why it cannot be met, if that is known. If it is met, the catalogue is wrong.
    pub never: Option<&'static str>,
}
