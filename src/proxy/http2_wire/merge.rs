//! Merges neighbouring DATA frames of one stream into one. Frame boundaries carry no meaning (RFC
//! 9113, 6.1), but `h2` stores each frame apart, closes the connection if it holds too many tiny
//! ones, and forwards each as its own frame to the next `h2`, which limits them again. A burst of
//! small messages, as gRPC sends them, would close connections that carry many other requests.
//! The frames of a header block are merged for the same reason: `h2` accepts only a few of them,
//! and some servers fill frames of 1 KiB. Empty DATA frames are dropped: `h2` accepts only 100 of
//! them in the life of a connection, and honest servers send one before the trailers of each
//! response.

use super::scanner::{CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_HEAD, HEADERS};
use crate::proxy::limits::FRAME_BYTES_DEFAULT;

/// Merges, in place, consecutive DATA frames of one stream, and the frames of a header block; the
/// first frame starts at `start`.
/// Drops those without content that do not end their stream. Padded frames and an incomplete last
/// frame stay as they are. Returns the number of bytes and of DATA frames that remain.
pub(super) fn merge(bytes: &mut [u8], start: usize) -> (usize, usize) {
    let (mut from, mut to) = (start, start);
    let mut count = 0;
    // The offset of the frame that may be extended.
    let mut open: Option<usize> = None;
    while let Some(head) = Head::at(bytes, from) {
        let end = from + FRAME_HEAD + head.length;
        if end > bytes.len() {
            break;
        }
        let plain = head.kind == DATA && head.flags & !END_STREAM == 0;
        let in_block = open.and_then(|at| Head::at(bytes, at)).is_some_and(|it| it.is_open_block());
        if plain && head.is_empty() && !in_block {
            from = end;
            continue;
        }
        let grown = open.and_then(|at| {
            let grown = Head::at(bytes, at)?;
            let length = grown.length + head.length;
            (grown.takes(&head) && length <= FRAME_BYTES_DEFAULT).then_some((at, length))
        });
        if let Some((at, length)) = grown {
            bytes.copy_within(from + FRAME_HEAD..end, to);
            to += head.length;
            let [.., a, b, c] = length.to_be_bytes();
            bytes[at..at + 3].copy_from_slice(&[a, b, c]);
            // Other flags of CONTINUATION have no meaning (RFC 9113, 4.1).
            let kept = if head.kind == CONTINUATION { END_HEADERS } else { END_STREAM };
            bytes[at + 4] |= head.flags & kept;
        } else {
            if to != from {
                bytes.copy_within(from..end, to);
            }
            open = (plain || head.is_open_block()).then_some(to);
            count += usize::from(head.kind == DATA);
            to += FRAME_HEAD + head.length;
        }
        if head.kind == DATA && head.flags & END_STREAM != 0 {
            open = None;
        }
        from = end;
    }
    if to != from {
        bytes.copy_within(from.., to);
    }
    (to + bytes.len() - from, count)
}

struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: [u8; 4],
}

impl Head {
    /// True if the frame does nothing to its stream.
    fn is_empty(&self) -> bool {
        let [first, rest @ ..] = self.stream;
        let has_stream = first & 0x7f != 0 || rest != [0; 3];
        self.length == 0 && self.flags == 0 && has_stream
    }

    /// True if the rest of the header block follows, and nothing in this frame is behind its part.
    fn is_open_block(&self) -> bool {
        match self.kind {
            HEADERS => self.flags & (END_HEADERS | PADDED) == 0,
            CONTINUATION => self.flags & END_HEADERS == 0,
            _ => false,
        }
    }

    /// True if the payload of the next frame can go on in this one.
    fn takes(&self, next: &Self) -> bool {
        let goes_on = match next.kind {
            DATA => self.kind == DATA && next.flags & !END_STREAM == 0,
            CONTINUATION => self.is_open_block(),
            _ => false,
        };
        goes_on && self.stream == next.stream
    }

    fn at(bytes: &[u8], at: usize) -> Option<Self> {
        let [a, b, c, kind, flags, stream @ ..] = *bytes.get(at..)?.first_chunk::<FRAME_HEAD>()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        Some(Self { length, kind, flags, stream })
    }
}

/// A flag of HEADERS (RFC 9113, 6.2).
const PADDED: u8 = 0x8;

#[cfg(test)]
mod tests {
    use super::super::tests::frame;
    use super::*;

    fn merged(frames: &[Vec<u8>], cut: usize) -> Vec<u8> {
        let mut bytes = frames.concat();
        bytes.truncate(bytes.len() - cut);
        let (length, _) = merge(&mut bytes, 0);
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn neighbours_become_one_and_the_end_is_kept() {
        let frames =
            [frame(DATA, 0, 1, b"ab"), frame(DATA, 0, 1, b""), frame(DATA, END_STREAM, 1, b"c")];
        assert_eq!(merged(&frames, 0), frame(DATA, END_STREAM, 1, b"abc"));
        let first = frame(DATA, 0, 1, b"ab");
        let rest = &frame(DATA, END_STREAM, 1, b"c")[..9];
        assert_eq!(merged(&frames, 1), [&first[..], rest].concat(), "an incomplete frame");
    }

    #[test]
    fn other_frames_stay_as_they_are() {
        for frames in [
            vec![frame(DATA, 0, 1, b"a"), frame(DATA, 0, 3, b"b"), frame(DATA, 0, 1, b"c")],
            vec![frame(DATA, 0, 1, b"a"), frame(6, 0, 0, &[0; 8]), frame(DATA, 0, 1, b"c")],
            vec![frame(DATA, 8, 1, &[0, 1]), frame(DATA, 0, 1, b"b")],
            vec![frame(DATA, END_STREAM, 1, b"a"), frame(DATA, 0, 1, b"late")],
            vec![frame(DATA, 0, 1, &[7; 16_000]), frame(DATA, 0, 1, &[8; 400])],
            vec![frame(1, 4, 1, b"a"), frame(1, 5, 1, b"b"), frame(4, 0, 0, b"")],
        ] {
            assert_eq!(merged(&frames, 0), frames.concat(), "{frames:?}");
        }
    }

    /// Tomcat sends heads in frames of 1 KiB or less.
    #[test]
    fn the_frames_of_a_header_block_become_one() {
        let frames = [frame(1, 1, 1, b"ab"), frame(9, 0, 1, b"c"), frame(9, 4, 1, b"d")];
        assert_eq!(merged(&frames, 0), frame(1, 5, 1, b"abcd"), "flags of both");
        assert_eq!(merged(&frames[1..], 0), frame(9, 4, 1, b"cd"), "the rest of a block");
        let undefined = [frame(1, 0, 1, b"ab"), frame(9, 0xff, 1, b"c")];
        assert_eq!(merged(&undefined, 0), frame(1, 4, 1, b"abc"), "flags without a meaning");
        let first = frame(1, 1, 1, b"abc");
        let rest = &frame(9, 4, 1, b"d")[..9];
        assert_eq!(merged(&frames, 1), [&first[..], rest].concat(), "an incomplete frame");
        let data = frame(DATA, 0, 1, b"data");
        let all = [frame(1, 0, 1, b"a"), frame(9, 4, 1, b"b"), data.clone(), frame(1, 5, 1, b"c")];
        assert_eq!(merged(&all, 0), [frame(1, 4, 1, b"ab"), data, frame(1, 5, 1, b"c")].concat());
        for frames in [
            [frame(1, 8, 1, &[1, 7, 0]), frame(9, 4, 1, b"b")],
            [frame(1, 0, 1, b"a"), frame(9, 4, 3, b"b")],
            [frame(1, 4, 1, b"a"), frame(9, 4, 1, b"b")],
            [frame(1, 0, 1, b"a"), frame(DATA, 0, 1, b"b")],
            [frame(1, 0, 1, b"a"), frame(DATA, 0, 1, b"")],
            [frame(1, 0, 1, &[0; 16_000]), frame(9, 4, 1, &[0; 400])],
        ] {
            assert_eq!(merged(&frames, 0), frames.concat(), "{frames:?}");
        }
    }

    #[test]
    fn frames_without_content_are_dropped_unless_they_end_their_stream() {
        let head = frame(1, 4, 1, b"a");
        let trailers = frame(1, 5, 1, b"b");
        let frames = [head.clone(), frame(DATA, 0, 1, b""), trailers.clone()];
        assert_eq!(merged(&frames, 0), [&head[..], &trailers].concat());
        assert_eq!(merged(&[frame(DATA, 0, 1, b"")], 0), b"");
        let kept = [frame(DATA, END_STREAM, 1, b""), frame(DATA, 0, 0, b"")];
        assert_eq!(merged(&kept, 0), kept.concat());
    }

    #[test]
    fn bytes_before_the_start_stay_as_they_are() {
        let tail = b"the rest of a frame";
        let mut bytes = [&tail[..], &frame(DATA, 0, 1, b"a"), &frame(DATA, 0, 1, b"b")].concat();
        let (length, count) = merge(&mut bytes, tail.len());
        assert_eq!(count, 1);
        assert_eq!(bytes[..length], [&tail[..], &frame(DATA, 0, 1, b"ab")].concat());
    }
}
