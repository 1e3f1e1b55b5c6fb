//! Merges neighbouring DATA frames of one stream into one. Frame boundaries carry no meaning (RFC
//! 9113, 6.1), but `h2` stores each frame apart, closes the connection if it holds too many tiny
//! ones, and forwards each as its own frame to the next `h2`, which limits them again. A burst of
//! small messages, as gRPC sends them, would close connections that carry many other requests.
//! Empty DATA frames are dropped: `h2` accepts only a hundred of them in the life of a connection,
//! and honest servers send one before the trailers of each response.

use super::scanner::{DATA, END_STREAM, FRAME_HEAD};
use crate::proxy::limits::FRAME_BYTES_DEFAULT;

/// Merges, in place, consecutive DATA frames of one stream; the first frame starts at `start`.
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
        if plain && head.length == 0 && head.flags == 0 && head.stream != [0; 4] {
            from = end;
            continue;
        }
        let grown = open.filter(|_| plain).and_then(|at| {
            let grown = Head::at(bytes, at)?;
            let length = grown.length + head.length;
            (grown.stream == head.stream && length <= FRAME_BYTES_DEFAULT).then_some((at, length))
        });
        if let Some((at, length)) = grown {
            bytes.copy_within(from + FRAME_HEAD..end, to);
            to += head.length;
            let [.., a, b, c] = length.to_be_bytes();
            bytes[at..at + 3].copy_from_slice(&[a, b, c]);
            bytes[at + 4] |= head.flags;
        } else {
            if to != from {
                bytes.copy_within(from..end, to);
            }
            open = plain.then_some(to);
            count += usize::from(head.kind == DATA);
            to += FRAME_HEAD + head.length;
        }
        if head.flags & END_STREAM != 0 {
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
    fn at(bytes: &[u8], at: usize) -> Option<Self> {
        let [a, b, c, kind, flags, stream @ ..] = *bytes.get(at..)?.first_chunk::<FRAME_HEAD>()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        Some(Self { length, kind, flags, stream })
    }
}

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
