//! W3C Trace Context (Recommendation of 23 November 2021): `traceparent` and `tracestate`. Baton
//! adds no span of its own: it forwards a valid context unchanged and creates one if there is none,
//! so that every request can be found by its trace id in the logs on both sides.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use rand_core::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use super::seams;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The positions of the parts in version 00: version, trace id, parent id, flags, separated by
/// hyphens.
const VERSION: std::ops::Range<usize> = 0..2;
const TRACE_ID: std::ops::Range<usize> = 3..35;
const PARENT_ID: std::ops::Range<usize> = 36..52;
const FLAGS: std::ops::Range<usize> = 53..55;
const LENGTH: usize = 55;

/// The id of a trace: 32 lower-case hexadecimal digits, not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId([[u8; 2]; 16]);

impl TraceId {
    /// The id as in `traceparent`.
    ///
    /// # Panics
    /// Never: the digits are ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.0.as_flattened()).expect("hexadecimal digits are ASCII")
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Generates one worker's trace ids. They are unique, not secret.
#[derive(Debug)]
pub struct TraceIds {
    random: Pcg64Mcg,
    sampled: bool,
}

impl TraceIds {
    /// Creates a generator with its own random seed. Contexts that it creates have the sampled flag
    /// if `sampled`.
    #[must_use]
    pub fn new(sampled: bool) -> Self {
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&seams::entropy().to_be_bytes());
        seed[8..].copy_from_slice(&seams::entropy().to_be_bytes());
        Self { random: Pcg64Mcg::from_seed(seed), sampled }
    }

    /// Keeps a valid context in the headers unchanged. Otherwise creates one, and removes an
    /// invalid one with its `tracestate`. Returns the trace id.
    ///
    /// The value is marked as never indexed (RFC 7541, 6.2.3), because it differs for every
    /// request: forty of them would fill a dynamic table of 4 KiB and evict the values that repeat.
    pub fn adopt(&mut self, headers: &mut HeaderMap) -> TraceId {
        if headers.keys().any(|name| name == TRACEPARENT || name == TRACESTATE) {
            if let Some(known) = trace_id(headers) {
                headers.get_mut(TRACEPARENT).expect("it names the trace").set_sensitive(true);
                return known;
            }
            headers.remove(TRACESTATE);
        }
        let trace = self.make();
        let parent = loop {
            let parent = self.random.next_u64();
            if parent != 0 {
                break parent;
            }
        };
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        text[TRACE_ID].copy_from_slice(trace.0.as_flattened());
        text[PARENT_ID].copy_from_slice(hexadecimal(parent.to_be_bytes()).as_flattened());
        text[FLAGS.end - 1] += u8::from(self.sampled);
        let mut value = HeaderValue::from_bytes(&text).expect("hexadecimal digits");
        value.set_sensitive(true);
        headers.insert(TRACEPARENT, value);
        trace
    }

    fn make(&mut self) -> TraceId {
        loop {
            let high = u128::from(self.random.next_u64());
            let number = high << 64 | u128::from(self.random.next_u64());
            if number != 0 {
                return TraceId(hexadecimal(number.to_be_bytes()));
            }
        }
    }
}

/// Formats bytes as two digits each.
fn hexadecimal<const BYTES: usize>(bytes: [u8; BYTES]) -> [[u8; 2]; BYTES] {
    bytes.map(|byte| HEXADECIMAL[usize::from(byte)])
}

/// The two digits of each byte.
static HEXADECIMAL: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [digits[byte >> 4], digits[byte & 0xf]];
        byte += 1;
    }
    table
};

/// Returns the trace id of the headers, if `traceparent` is valid (section 3.2.2).
#[must_use]
pub fn trace_id(headers: &HeaderMap) -> Option<TraceId> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next()?.as_bytes();
    if values.next().is_some() || value.len() < LENGTH {
        return None;
    }
    let hyphens = [VERSION.end, TRACE_ID.end, PARENT_ID.end];
    let parts = [VERSION, TRACE_ID, PARENT_ID, FLAGS];
    let well_formed = hyphens.iter().all(|at| value[*at] == b'-')
        && parts.into_iter().all(|part| value[part].iter().all(is_lower_hexadecimal));
    let known_length = match &value[VERSION] {
        b"ff" => false,
        b"00" => value.len() == LENGTH,
        // A later version may continue after a hyphen (section 4.3, versioning).
        _ => value.len() == LENGTH || value[LENGTH] == b'-',
    };
    let is_zero = |part: std::ops::Range<usize>| value[part].iter().all(|digit| *digit == b'0');
    if !well_formed || !known_length || is_zero(TRACE_ID) || is_zero(PARENT_ID) {
        return None;
    }
    let (pairs, _) = value[TRACE_ID].as_chunks();
    Some(TraceId(pairs.try_into().expect("32 digits")))
}

fn is_lower_hexadecimal(digit: &u8) -> bool {
    matches!(digit, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, value.parse().expect("a valid value"));
        }
        headers.insert(TRACESTATE, "vendor=1".parse().expect("a valid value"));
        headers
    }

    #[test]
    fn a_valid_context_is_forwarded_unchanged() {
        for value in [
            VALID,
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-and-more",
        ] {
            let mut headers = headers(&[value]);
            let trace = TraceIds::new(false).adopt(&mut headers);
            assert_eq!(trace.as_str(), "0af7651916cd43dd8448eb211c80319c");
            assert_eq!(headers[TRACEPARENT], value);
            assert_eq!(headers[TRACESTATE], "vendor=1");
        }
    }

    #[test]
    fn anything_else_is_replaced_without_its_state() {
        for values in [
            &[][..],
            &[VALID, VALID],
            &[""],
            &["ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &["00-00000000000000000000000000000000-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"],
            &["00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-011"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"],
            &["cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more"],
            &["00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01"],
            &["0g-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x"],
        ] {
            let mut headers = headers(values);
            let trace = TraceIds::new(false).adopt(&mut headers);
            assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1, "{values:?}");
            assert_eq!(trace_id(&headers), Some(trace), "a created context is valid");
            assert_ne!(trace.as_str(), "0af7651916cd43dd8448eb211c80319c", "{values:?}");
            assert!(!headers.contains_key(TRACESTATE), "{values:?}");
            assert!(headers[TRACEPARENT].to_str().expect("ASCII").ends_with("-00"));
        }
    }

    #[test]
    fn every_created_context_is_unique() {
        let mut ids = TraceIds::new(true);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let mut headers = HeaderMap::new();
            assert!(seen.insert(ids.adopt(&mut headers).to_string()));
            assert!(headers[TRACEPARENT].to_str().expect("ASCII").ends_with("-01"));
        }
        let other = TraceIds::new(true).adopt(&mut HeaderMap::new());
        assert!(seen.insert(other.to_string()), "another worker has other ids");
    }
}
