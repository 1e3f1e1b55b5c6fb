//! Where the bytes of one direction are cut: at the boundaries of frames, and once within each
//! frame header. What the bytes are follows from the first of them.

use crate::draw::{Domain, Draws};

/// Bytes of the connection preface of HTTP/2 (RFC 9113, 3.4).
const PREFACE_BYTES: u64 = 24;
/// The content type of a TLS handshake record (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// How bytes are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Nothing was seen yet.
    Unknown,
    /// A `P` was seen: the begin of an HTTP/2 preface, or of a method.
    Letter,
    /// HTTP/1.1.
    Lines,
    /// HTTP/2 frames.
    Frames,
    /// TLS records.
    Records,
}

/// Follows the bytes of one direction.
#[derive(Debug)]
pub(crate) struct Cutter {
    format: Format,
    /// Bytes of the present header that were seen.
    header: usize,
    /// The payload's length, as far as the header was seen.
    length: u64,
    /// Bytes of the present payload that are yet to come.
    payload: u64,
    /// Headers that have begun.
    headers: u64,
    /// Where the present header is cut.
    cut_within: usize,
}

impl Cutter {
    pub(crate) fn new() -> Self {
        let (format, header) = (Format::Unknown, 0);
        Self { format, header, length: 0, payload: 0, headers: 0, cut_within: 0 }
    }

    /// Follows bytes up to the next cut. Returns the bytes before it: all if there is none.
    pub(crate) fn next_cut(&mut self, bytes: &[u8], draws: Draws, entity: u64) -> usize {
        let mut place = 0;
        while place < bytes.len() {
            let byte = bytes[place];
            match self.format {
                Format::Unknown if byte == b'P' => {
                    self.format = Format::Letter;
                    place += 1;
                }
                Format::Unknown => {
                    self.format = match byte {
                        TLS_HANDSHAKE => Format::Records,
                        0..b' ' => Format::Frames,
                        _ => Format::Lines,
                    };
                }
                // No method of HTTP/1.1 begins with "PR" (PROPFIND is not used here).
                Format::Letter if byte == b'R' => {
                    self.format = Format::Frames;
                    self.payload = PREFACE_BYTES - 1;
                }
                Format::Letter => self.format = Format::Lines,
                Format::Lines => {
                    let line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
                    let end = bytes[place..].iter().position(line_end);
                    return end.map_or(bytes.len(), |end| place + end + 1);
                }
                Format::Frames | Format::Records if self.payload > 0 => {
                    let taken = self.payload.min((bytes.len() - place) as u64);
                    self.payload -= taken;
                    place += taken as usize;
                    if self.payload == 0 {
                        return place;
                    }
                }
                Format::Frames | Format::Records => {
                    place += 1;
                    if self.header_byte(byte, draws, entity) {
                        return place;
                    }
                }
            }
        }
        place
    }

    /// Reads a byte of a header. Returns true if there is a cut behind it.
    fn header_byte(&mut self, byte: u8, draws: Draws, entity: u64) -> bool {
        let (size, length_at) = match self.format {
            Format::Records => (5, 3..5),
            _ => (9, 0..3),
        };
        if self.header == 0 {
            let within = draws.between(Domain::Cuts, entity, self.headers, 1, size - 1);
            self.cut_within = within as usize;
            self.headers += 1;
            self.length = 0;
        }
        if length_at.contains(&self.header) {
            self.length = self.length << 8 | u64::from(byte);
        }
        self.header += 1;
        if self.header == size as usize {
            self.header = 0;
            self.payload = self.length;
            // A frame without payload ends here.
            return self.payload == 0;
        }
        self.header == self.cut_within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A piece that holds everything.
    const WHOLE: usize = 1_000_000;

    /// The places of all cuts, when the bytes come in pieces of this size.
    fn cuts(bytes: &[u8], piece: usize) -> Vec<usize> {
        let mut cutter = Cutter::new();
        let mut cuts = Vec::new();
        let mut begin = 0;
        while begin < bytes.len() {
            let end = (begin + piece).min(bytes.len());
            let cut = begin + cutter.next_cut(&bytes[begin..end], Draws::new(1), 0);
            if cut < end || piece >= bytes.len() {
                cuts.push(cut);
            }
            begin = cut;
        }
        cuts
    }

    fn frame(length: usize, kind: u8) -> Vec<u8> {
        let mut frame = vec![0, (length >> 8) as u8, length as u8, kind, 0, 0, 0, 0, 1];
        frame.resize(9 + length, b'\n');
        frame
    }

    #[test]
    fn http2_is_cut_at_each_frame_and_once_within_each_header() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let mut boundaries = vec![bytes.len()];
        for length in [0, 300, 1] {
            bytes.extend(frame(length, 4));
            boundaries.push(bytes.len());
        }
        let found = cuts(&bytes, WHOLE);
        assert_eq!(found.len(), 1 + 2 + 2 + 2, "{found:?}");
        assert!(boundaries.iter().all(|boundary| found.contains(boundary)));
        for header in &boundaries[..3] {
            let within = found.iter().filter(|cut| (header + 1..header + 9).contains(*cut));
            assert_eq!(within.count(), 1, "{found:?}");
        }
        // A server's bytes begin with a frame.
        assert_eq!(cuts(&bytes[24..], WHOLE).len(), 6);
    }

    #[test]
    fn the_places_do_not_depend_on_how_the_bytes_come() {
        let bytes = [frame(3, 4), frame(40, 1), frame(0, 4)].concat();
        let whole = cuts(&bytes, WHOLE);
        let mut cutter = Cutter::new();
        let mut singly = Vec::new();
        // Each byte comes alone: a cut behind it cannot be seen in the returned number, so the
        // header's place is compared.
        for (place, byte) in bytes.iter().enumerate() {
            let before = cutter.payload;
            cutter.next_cut(&[*byte], Draws::new(1), 0);
            let payload_ends = before == 1 && cutter.payload == 0;
            let header_cut = cutter.header != 0 && cutter.header == cutter.cut_within;
            let empty = before == 0 && cutter.header == 0 && cutter.payload == 0;
            if payload_ends || header_cut || empty {
                singly.push(place + 1);
            }
        }
        assert_eq!(whole, singly);
    }

    #[test]
    fn tls_is_cut_at_records_and_http1_at_each_carriage_return_and_line_feed() {
        let record = [&[22, 3, 1, 0, 4][..], b"\r\n\r\n", &[23, 3, 3, 0, 1], b"x"].concat();
        let found = cuts(&record, WHOLE);
        assert_eq!((found.len(), found[1], found[3]), (4, 9, 15), "{found:?}");
        assert_eq!(cuts(b"POST / HTTP/1.1\r\na: b\r\n", WHOLE), [16, 17, 22, 23]);
        assert_eq!(cuts(b"HTTP/1.1 200 OK\r\n", WHOLE), [16, 17]);
    }
}
