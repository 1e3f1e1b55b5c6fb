//! Counters by one label.

/// Counters by a label whose few values are known to the program. Those given to [`Counts::of`] are
/// there from the start, so that they can be seen to be zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(Vec<(&'static str, u64)>);

impl Counts {
    /// Zeros.
    #[must_use]
    pub fn of(labels: &[&'static str]) -> Self {
        Self(labels.iter().map(|label| (*label, 0)).collect())
    }

    /// Counts one.
    pub fn add(&mut self, label: &'static str) {
        self.add_many(label, 1);
    }

    /// Adds the counts of another worker.
    pub fn merge(&mut self, other: &Self) {
        for (label, count) in &other.0 {
            self.add_many(label, *count);
        }
    }

    /// Every label with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().copied()
    }

    /// Counts several.
    pub fn add_many(&mut self, label: &'static str, more: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == label) {
            Some((_, count)) => *count += more,
            None => self.0.push((label, more)),
        }
    }
}

/// RFC 9113, 7: the names of error codes. What peers make up is all one.
const CODES: [&str; 15] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
    "unknown",
];

/// The name of an error code, `unknown` if RFC 9113 knows none.
#[must_use]
pub fn code_name(code: u32) -> &'static str {
    CODES[code_index(code)]
}

fn code_index(code: u32) -> usize {
    let unknown = CODES.len() - 1;
    usize::try_from(code).map_or(unknown, |code| code.min(unknown))
}

/// Counters by error code of HTTP/2 (RFC 9113, 7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codes([u64; CODES.len()]);

impl Codes {
    /// Counts one.
    pub fn add(&mut self, code: u32) {
        self.0[code_index(code)] += 1;
    }

    /// Adds other counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, others) in self.0.iter_mut().zip(&other.0) {
            *mine += others;
        }
    }

    /// Name and count of each that is not zero.
    pub fn counted(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CODES.iter().zip(&self.0).filter(|(_, count)| **count > 0).map(|(name, n)| (*name, *n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_known_from_the_start_are_zero_and_others_come_when_they_happen() {
        let mut counts = Counts::of(&["a", "b"]);
        counts.add("b");
        counts.add("c");
        let mut sum = counts.clone();
        sum.merge(&counts);
        assert_eq!(sum.iter().collect::<Vec<_>>(), [("a", 0), ("b", 2), ("c", 2)]);
    }

    #[test]
    fn error_codes_have_their_names_and_made_up_ones_are_all_one() {
        let mut codes = Codes::default();
        for code in [0, 7, 7, 13, 14, u32::MAX] {
            codes.add(code);
        }
        let expected =
            [("NO_ERROR", 1), ("REFUSED_STREAM", 2), ("HTTP_1_1_REQUIRED", 1), ("unknown", 2)];
        assert_eq!(codes.counted().collect::<Vec<_>>(), expected);
    }
}
