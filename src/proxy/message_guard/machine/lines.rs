//! The lines of a head that can be taken in at once. It changes nothing but the time that a head takes: a
//! verdict does not depend on how the bytes were cut, and cut into single bytes they all go through
//! [`Machine::step`].

use super::{CONTENT_LENGTH, Head, Machine, Messages, State, TRANSFER_ENCODING, VERSION_LENGTH};
use crate::proxy::message_guard::lexemes::{is_in_target, is_text, is_token};

impl Machine {
    /// Takes in at once a line of which all is there and nothing is special, as nearly every line of a
    /// head is. How many bytes that was; where it is none, [`Self::step`] finds out why.
    pub(super) fn whole_line(&mut self, bytes: &[u8]) -> usize {
        match self.state {
            State::Start if self.messages == Messages::Requests => {
                let length = whole_request_line(bytes).unwrap_or(0);
                if length == 0 || length > self.limits.bytes as usize {
                    return 0;
                }
                self.begun += 1;
                self.head = Head { bytes: length as u32, ..Head::default() };
                self.trailers = false;
                self.state = State::FieldStart;
                length
            }
            State::FieldStart if self.head.fields < self.limits.fields => {
                let length = whole_field_line(bytes).unwrap_or(0);
                if length == 0 || length > (self.limits.bytes - self.head.bytes) as usize {
                    return 0;
                }
                self.head.bytes += length as u32;
                self.head.fields += 1;
                length
            }
            _ => 0,
        }
    }
}

/// How many bytes from the first on belong to something.
fn run_of(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !belongs(*byte)).unwrap_or(bytes.len())
}

/// The length of the request line that these bytes begin with.
fn whole_request_line(bytes: &[u8]) -> Option<usize> {
    let method = run_of(bytes, is_token);
    let target = bytes.get(method..)?.strip_prefix(b" ")?;
    let target_length = run_of(target, is_in_target);
    let version = target.get(target_length..)?.strip_prefix(b" ")?;
    let whole =
        starts_with_version(version) && version[VERSION_LENGTH as usize..].starts_with(b"\r\n");
    (whole && method > 0 && target_length > 0)
        .then(|| bytes.len() - version.len() + VERSION_LENGTH as usize + 2)
}

/// The length of the field line that these bytes begin with, unless it could be about framing.
fn whole_field_line(bytes: &[u8]) -> Option<usize> {
    let name = run_of(bytes, is_token);
    let value = bytes.get(name..)?.strip_prefix(b":")?;
    let end = run_of(value, is_text);
    let whole = value[end..].starts_with(b"\r\n");
    (whole && name > 0 && !is_framing_length(name)).then(|| name + 1 + end + 2)
}

fn starts_with_version(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.1") || bytes.starts_with(b"HTTP/1.0")
}

/// Whether a name of this length could be one of those that decide about framing.
fn is_framing_length(length: usize) -> bool {
    length == CONTENT_LENGTH.len() || length == TRANSFER_ENCODING.len()
}
