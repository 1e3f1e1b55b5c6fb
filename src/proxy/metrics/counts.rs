//! Counters with one label, and counters by HTTP/2 error code.

use super::merge::{Merge, merge_fields};
use crate::words;

/// Counters with a label of few values, all of them constants. The labels given to [`Counts::of`]
/// are present from the start, with 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(Vec<(&'static str, u64)>);

impl Counts {
    /// Creates counters at 0.
    #[must_use]
    pub fn of(labels: impl IntoIterator<Item = &'static str>) -> Self {
        Self(labels.into_iter().map(|label| (label, 0)).collect())
    }

    /// Adds one.
    pub fn add(&mut self, label: &'static str) {
        self.add_many(label, 1);
    }

    /// Returns every label with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().copied()
    }

    /// Adds a number.
    pub fn add_many(&mut self, label: &'static str, more: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == label) {
            Some((_, count)) => *count += more,
            None => self.0.push((label, more)),
        }
    }
}

impl Merge for Counts {
    fn merge(&mut self, other: &Self) {
        for (label, count) in &other.0 {
            self.add_many(label, *count);
        }
    }
}

words! {
    /// The error codes (RFC 9113, 7), in the order of their numbers. All unknown codes share the
    /// last variant.
    enum Code {
        NoError = "NO_ERROR",
        ProtocolError = "PROTOCOL_ERROR",
        InternalError = "INTERNAL_ERROR",
        FlowControlError = "FLOW_CONTROL_ERROR",
        SettingsTimeout = "SETTINGS_TIMEOUT",
        StreamClosed = "STREAM_CLOSED",
        FrameSizeError = "FRAME_SIZE_ERROR",
        RefusedStream = "REFUSED_STREAM",
        Cancel = "CANCEL",
        CompressionError = "COMPRESSION_ERROR",
        ConnectError = "CONNECT_ERROR",
        EnhanceYourCalm = "ENHANCE_YOUR_CALM",
        InadequateSecurity = "INADEQUATE_SECURITY",
        Http11Required = "HTTP_1_1_REQUIRED",
        Unknown = "unknown",
    }
}

impl Code {
    fn of(code: u32) -> Self {
        let place = usize::try_from(code).unwrap_or(usize::MAX);
        Self::ALL.get(place).copied().unwrap_or(Self::Unknown)
    }
}

/// Returns the name of an error code; `unknown` if RFC 9113 does not define it.
#[must_use]
pub fn code_name(code: u32) -> &'static str {
    Code::of(code).name()
}

/// Counters by HTTP/2 error code (RFC 9113, 7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codes([u64; Code::ALL.len()]);

impl Codes {
    /// Adds one.
    pub fn add(&mut self, code: u32) {
        self.0[Code::of(code) as usize] += 1;
    }

    /// Returns name and count of each code that is not zero.
    pub fn counted(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Code::NAMES
            .iter()
            .zip(&self.0)
            .filter(|(_, count)| **count > 0)
            .map(|(name, n)| (*name, *n))
    }
}

/// Counts RST_STREAM and GOAWAY frames by direction and error code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndFrames {
    /// GOAWAY frames from the peer.
    pub go_aways_received: Codes,
    /// GOAWAY frames to the peer.
    pub go_aways_sent: Codes,
    /// RST_STREAM frames from the peer.
    pub resets_received: Codes,
    /// RST_STREAM frames to the peer.
    pub resets_sent: Codes,
}

merge_fields! {
    Codes { 0 };
    EndFrames { go_aways_received, go_aways_sent, resets_received, resets_sent };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_labels_start_at_zero_and_others_are_added_when_counted() {
        let mut counts = Counts::of(["a", "b"]);
        counts.add("b");
        counts.add("c");
        let mut sum = counts.clone();
        sum.merge(&counts);
        assert_eq!(sum.iter().collect::<Vec<_>>(), [("a", 0), ("b", 2), ("c", 2)]);
    }

    #[test]
    fn error_codes_have_names_and_unknown_codes_share_one() {
        let mut codes = Codes::default();
        for code in [0, 7, 7, 13, 14, u32::MAX] {
            codes.add(code);
        }
        let expected =
            [("NO_ERROR", 1), ("REFUSED_STREAM", 2), ("HTTP_1_1_REQUIRED", 1), ("unknown", 2)];
        assert_eq!(codes.counted().collect::<Vec<_>>(), expected);
    }
}
