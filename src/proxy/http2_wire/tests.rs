use super::scanner::PING;
use super::*;

pub(super) fn frame(kind: u8, flags: u8, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream_id.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn received(bytes: &[u8], piece: usize) -> Facts {
    let mut scanner = Scanner::new(0);
    let mut facts = Facts::new(Side::Client, FrameBudgets::BACKEND);
    for piece in bytes.chunks(piece) {
        let _ = scanner.scan(piece, |seen| facts.record(seen));
    }
    facts
}

#[test]
fn frames_are_understood_however_they_are_split() {
    let mut bytes = frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 9, 0, 3, 0, 0, 0, 5]);
    bytes.extend(frame(0, 1, 3, &[7; 300]));
    bytes.extend(frame(SETTINGS, ACK, 0, &[]));
    bytes.extend(frame(GOAWAY, 0, 0, b"\x7f\xff\xff\xff\0\0\0\0bye, with some debug data"));
    bytes.extend(frame(GOAWAY, 0, 0, b"\0\0\0\x05\0\0\0\x0b"));
    for piece in 1..=bytes.len() {
        let facts = received(&bytes, piece);
        assert_eq!(facts.max_streams, Some(5), "pieces of {piece}");
        assert_eq!(facts.go_aways, [(u32::MAX >> 1, 0), (5, 11)], "pieces of {piece}");
    }
}

#[tokio::test(flavor = "local")]
async fn each_part_of_a_frame_is_a_sign_of_life() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut peer, io) = tokio::io::duplex(1 << 20);
    let (mut wire, facts) = Http2Wire::new(io, Side::Client, FrameBudgets::BACKEND, Clock::start());
    for part in frame(0, 0, 1, &[7; 300]).chunks(100) {
        peer.write_all(part).await.expect("it fits");
        let length = wire.read(&mut [0; 1024]).await.expect("it is there");
        assert_eq!(length, part.len());
        assert!(std::mem::take(&mut facts.borrow_mut().frame_seen));
    }
}

#[test]
fn settings_without_a_limit_mean_no_limit_but_only_the_first_time() {
    let mut bytes = frame(SETTINGS, ACK, 0, &[]);
    assert_eq!(received(&bytes, 1).max_streams, None, "an acknowledgement is not SETTINGS");
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    assert_eq!(received(&bytes, 1).max_streams, Some(u32::MAX));
    let mut bytes = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 5]);
    bytes.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 9]));
    assert_eq!(received(&bytes, 4).max_streams, Some(5), "the limit stands");
}

#[test]
fn a_request_counts_as_sent_with_its_ninth_byte() {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frame(HEADERS, 4, 1, &[0x82]));
    bytes.extend(frame(HEADERS, 4, 3, &[0x82]));
    let mut scanner = Scanner::new(PREFACE);
    let mut facts = Facts::new(Side::Client, FrameBudgets::BACKEND);
    let _ = scanner.scan(&bytes[..bytes.len() - 2], |seen| facts.sent(seen));
    assert_eq!(facts.sent_through, 1);
    let _ = scanner.scan(&bytes[bytes.len() - 2..], |seen| facts.sent(seen));
    assert_eq!(facts.sent_through, 3);
}

/// Writes a client's bytes and returns what the HTTP/2 wire lets through, its facts and what the
/// client receives.
async fn read_through(bytes: &[u8], patient: bool) -> (Vec<u8>, Rc<RefCell<Facts>>, Vec<u8>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut peer, io) = tokio::io::duplex(1 << 20);
    let (mut wire, facts) = Http2Wire::new(io, Side::Server, FrameBudgets::DEFAULT, Clock::start());
    peer.write_all(bytes).await.expect("it fits");
    let mut passed = Vec::new();
    let mut piece = [0; 1024];
    let reading = async {
        loop {
            match wire.read(&mut piece).await {
                Ok(length) if length > 0 => passed.extend_from_slice(&piece[..length]),
                _ => return,
            }
        }
    };
    let mut received = Vec::new();
    let peer = async {
        // Without a GOAWAY there is nothing to read: the peer closes first.
        if patient {
            peer.read_to_end(&mut received).await.expect("it ends");
        }
        peer.shutdown().await.expect("it is not reset");
    };
    tokio::join!(reading, peer);
    (passed, facts, received)
}

#[tokio::test]
async fn a_spent_budget_ends_in_goaway_with_the_highest_stream() {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frame(HEADERS, 5, 7, &[0x82]));
    (0..FrameBudgets::DEFAULT.pings).for_each(|_| bytes.extend(frame(PING, 0, 0, &[0; 8])));
    let (passed, facts, _) = read_through(&bytes, false).await;
    assert_eq!((passed.len(), facts.borrow().flood()), (bytes.len(), None));
    bytes.extend(frame(PING, 0, 0, &[0; 8]));
    bytes.extend(frame(HEADERS, 5, 9, &[0x82]));
    let (_, facts, received) = read_through(&bytes, true).await;
    assert_eq!(facts.borrow().flood(), Some(Flood::Pings));
    let expected = frame(GOAWAY, 0, 0, &[0, 0, 0, 9, 0, 0, 0, 11]);
    assert_eq!(received, expected, "ENHANCE_YOUR_CALM, and then the end");
}

#[test]
fn provoked_resets_are_counted_apart_from_our_own() {
    let mut facts = Facts::new(Side::Server, FrameBudgets::DEFAULT);
    let mut scanner = Scanner::new(0);
    let codes = [
        Reason::NO_ERROR,
        Reason::CANCEL,
        Reason::INTERNAL_ERROR,
        Reason::REFUSED_STREAM,
        Reason::PROTOCOL_ERROR,
        Reason::STREAM_CLOSED,
    ];
    let mut bytes = frame(HEADERS, 5, 11, &[0x88]);
    for (stream_id, code) in (1..).step_by(2).zip(codes) {
        bytes.extend(frame(scanner::RST_STREAM, 0, stream_id, &u32::from(code).to_be_bytes()));
    }
    let _ = scanner.scan(&bytes, |seen| facts.sent(seen));
    assert_eq!(facts.resets_provoked, 2);
}
