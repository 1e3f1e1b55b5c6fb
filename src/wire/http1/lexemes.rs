//! Character classes and small parts of HTTP/1.1 heads (RFC 9110, 5.5 and 5.6).

use super::CONTENT_BYTES_MAX;

/// True for the characters of a token (RFC 9110, 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// True for bytes that may occur in a request target. Its structure is checked elsewhere.
pub(crate) fn is_in_target(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0x80..)
}

/// True for bytes that may occur in a field value (RFC 9110, 5.5).
pub(crate) fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x7e | 0x80..)
}

/// Digits of a length; a longer one has zeros in front that some recipients read as something else.
const DIGITS_MAX: usize = 20;

/// Parses decimal digits; `None` for anything else, for a number above [`CONTENT_BYTES_MAX`] and
/// for more than 20 digits.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    let number = digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| byte - b'0')?;
        number.checked_mul(10)?.checked_add(digit.into())
    })?;
    (number <= CONTENT_BYTES_MAX).then_some(number)
}
