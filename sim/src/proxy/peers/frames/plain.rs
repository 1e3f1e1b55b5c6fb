//! Field blocks without Huffman coding. The decoder of field blocks builds its table of Huffman
//! codes again for each string, which takes far longer than everything else about a frame. So
//! strings are decoded here, with one table per thread, and the decoder gets them as they are.

use std::cell::RefCell;
use std::collections::BTreeMap;

use loona_hpack::encoder::encode_integer_into;
use loona_hpack::huffman::HuffmanDecoder;

/// Decoded strings that are kept. Most strings of a run are in the others too.
const KEPT_MAX: usize = 4_096;
/// The length of the longest integer that the decoder of field blocks reads.
const INTEGER_LENGTH_MAX: usize = 5;

struct Strings {
    decoder: HuffmanDecoder,
    kept: BTreeMap<Vec<u8>, Vec<u8>>,
}

thread_local! {
    static STRINGS: RefCell<Strings> =
        RefCell::new(Strings { decoder: HuffmanDecoder::new(), kept: BTreeMap::new() });
}

/// A field block with the same meaning and no Huffman coding. What is malformed stays as it is,
/// with all that follows: the decoder refuses it.
pub(super) fn plain(block: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 * block.len());
    let mut rest = block;
    while let [first, ..] = rest {
        // RFC 7541, 6.
        let (prefix, is_literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let Some((index, length)) = integer(rest, prefix) else { break };
        out.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
        if !is_literal {
            continue;
        }
        let strings = if index == 0 { 2 } else { 1 };
        if !(0..strings).all(|_| string(&mut rest, &mut out)) {
            break;
        }
    }
    out.extend_from_slice(rest);
    out
}

/// The integer that begins in the last bits of the first byte, and its length (RFC 7541, 5.1).
fn integer(bytes: &[u8], prefix: u8) -> Option<(usize, usize)> {
    let most = (1 << prefix) - 1;
    let mut value = usize::from(*bytes.first()?) & most;
    if value < most {
        return Some((value, 1));
    }
    for (place, byte) in bytes.iter().enumerate().take(INTEGER_LENGTH_MAX).skip(1) {
        value += usize::from(byte & 0x7f) << (7 * (place - 1));
        if byte & 0x80 == 0 {
            return Some((value, place + 1));
        }
    }
    None
}

/// Moves a string (RFC 7541, 5.2). Returns false if it is malformed.
fn string(rest: &mut &[u8], out: &mut Vec<u8>) -> bool {
    let Some((length, start)) = integer(rest, 7) else { return false };
    let Some(whole) = rest.get(..start + length) else { return false };
    if rest[0] & 0x80 == 0 {
        out.extend_from_slice(whole);
    } else if !STRINGS.with_borrow_mut(|strings| strings.decode(&whole[start..], out)) {
        return false;
    }
    *rest = &rest[start + length..];
    true
}

impl Strings {
    fn decode(&mut self, coded: &[u8], out: &mut Vec<u8>) -> bool {
        if !self.kept.contains_key(coded) {
            let Ok(decoded) = self.decoder.decode(coded) else { return false };
            if self.kept.len() == KEPT_MAX {
                self.kept.clear();
            }
            self.kept.insert(coded.to_vec(), decoded);
        }
        let decoded = &self.kept[coded];
        // Writing to a vector does not fail.
        let _ = encode_integer_into(decoded.len(), 7, 0, out);
        out.extend_from_slice(decoded);
        true
    }
}

#[cfg(test)]
mod tests {
    use loona_hpack::Decoder;

    use super::plain;

    /// A request, a field that is not kept, and one with a value that is not coded (RFC 7541, C.4
    /// and C.2).
    const BLOCK: &[u8] = b"\x20\x3f\xe1\x1f\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\
        \x90\xf4\xff\x00\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf\
        \x10\x08password\x06secret";

    #[test]
    fn the_meaning_stays() {
        let block = plain(BLOCK);
        let coded = Decoder::new().decode(BLOCK);
        assert_eq!(Decoder::new().decode(&block), coded);
        assert_eq!(coded.map(|list| list.len()), Ok(6));
        let texts: [&[u8]; 3] = [b"www.example.com", b"custom-key", b"custom-value"];
        for text in texts {
            assert!(block.windows(text.len()).any(|window| window == text));
        }
    }

    #[test]
    fn what_is_malformed_is_refused_as_before() {
        for length in 0..BLOCK.len() {
            let block = &BLOCK[..length];
            assert_eq!(Decoder::new().decode(&plain(block)), Decoder::new().decode(block));
        }
        for place in 0..BLOCK.len() {
            let mut block = BLOCK.to_vec();
            block[place] ^= 0xff;
            assert_eq!(Decoder::new().decode(&plain(&block)), Decoder::new().decode(&block));
        }
    }
}
