//! The size of comparisons of the two worlds.

/// The size of one comparison, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Requests whose accounts agree.
    pub requests: u64,
}

impl Compared {
    pub(crate) fn merge(&mut self, other: Self) {
        self.requests += other.requests;
    }
}
