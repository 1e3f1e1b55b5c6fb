use super::fields::Section;
use super::*;

fn read(bytes: &[u8]) -> (Vec<Frame>, Result<(), ReadError>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        let mut reader = FrameReader::new(bytes);
        let mut frames = Vec::new();
        loop {
            match reader.next().await {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return (frames, Ok(())),
                Err(error) => return (frames, Err(error)),
            }
        }
    })
}

fn fault(write: impl FnOnce(&mut FrameWriter)) -> Fault {
    let mut writer = FrameWriter::new();
    write(&mut writer);
    match read(&writer.take()).1 {
        Err(ReadError::Fault(fault)) => fault,
        other => panic!("{other:?} is not a fault"),
    }
}

#[test]
fn what_was_written_is_read() {
    let mut writer = FrameWriter::new();
    let fields = Fields::new().with(":status", "200").with("x-long", "a".repeat(20_000));
    writer.settings(&[(setting::MAX_CONCURRENT_STREAMS, 3), (setting::HEADER_TABLE_SIZE, 0)]);
    writer.settings_ack();
    writer.headers(1, &fields, false);
    writer.headers(1, &fields, true);
    writer.data(3, b"abc", false);
    writer.data(3, b"", true);
    writer.raw(kind::DATA, flag::PADDED, 3, b"\x02de\0\0");
    writer.reset(5, 8);
    writer.ping([1; 8]);
    writer.pong([2; 8]);
    writer.go_away(GREATEST, 11);
    writer.window_update(0, 77);
    writer.raw(kind::PRIORITY, 0, 3, &[0; 5]);
    writer.raw(0xbe, 0, 9, b"x");
    let (frames, end) = read(&writer.take());
    assert!(end.is_ok(), "{end:?}");
    let data = |data: &'static [u8], counted, end| Frame::Data {
        stream: 3,
        data: Bytes::from_static(data),
        counted,
        end,
    };
    let expected = [
        Frame::Settings(vec![(3, 3), (1, 0)]),
        Frame::SettingsAck,
        Frame::Headers { stream: 1, fields: fields.clone(), end: false },
        Frame::Headers { stream: 1, fields, end: true },
        data(b"abc", 3, false),
        data(b"", 0, true),
        data(b"de", 5, false),
        Frame::Reset { stream: 5, code: 8 },
        Frame::Ping([1; 8]),
        Frame::Pong([2; 8]),
        Frame::GoAway { last: GREATEST, code: 11 },
        Frame::WindowUpdate { stream: 0, by: 77 },
        Frame::Priority { stream: 3 },
        Frame::Unknown { kind: 0xbe, stream: 9 },
    ];
    assert_eq!(frames, expected);
}

#[test]
fn a_smaller_table_is_announced_and_used() {
    let mut writer = FrameWriter::new();
    let fields = Fields::new().with("x-name", "value");
    writer.headers(1, &fields, false);
    writer.obey(&[(setting::HEADER_TABLE_SIZE, 0), (setting::MAX_FRAME_SIZE, 16_385)]);
    writer.headers(3, &fields, false);
    writer.headers(5, &fields, false);
    assert_eq!(writer.largest_payload(), 16_385);
    let (frames, end) = read(&writer.take());
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(frames.len(), 3);
    assert!(
        frames
            .iter()
            .all(|frame| matches!(frame, Frame::Headers { fields: own, .. } if *own == fields))
    );
}

#[test]
fn an_end_inside_a_frame_or_a_field_block_is_noticed() {
    let mut writer = FrameWriter::new();
    writer.ping([0; 8]);
    let bytes = writer.take();
    for length in 1..bytes.len() {
        assert!(matches!(read(&bytes[..length]), (_, Err(ReadError::EndedInside))));
    }
    writer.raw(kind::HEADERS, 0, 1, &[0x88]);
    assert!(matches!(read(&writer.take()), (_, Err(ReadError::EndedInside))));
}

#[test]
fn what_cannot_be_a_frame_is_a_fault() {
    let codes = [
        fault(|writer| writer.raw(kind::DATA, 0, 0, b"x")).code,
        fault(|writer| writer.raw(kind::PING, 0, 1, &[0; 8])).code,
        fault(|writer| writer.raw(kind::DATA, flag::PADDED, 1, &[2, 0])).code,
        fault(|writer| writer.raw(kind::CONTINUATION, flag::END_HEADERS, 1, &[0x88])).code,
        fault(|writer| {
            writer.raw(kind::HEADERS, 0, 1, &[0x88]);
            writer.data(1, b"x", false);
        })
        .code,
        fault(|writer| {
            writer.raw(kind::HEADERS, 0, 1, &[0x88]);
            writer.raw(kind::CONTINUATION, flag::END_HEADERS, 3, &[0x88]);
        })
        .code,
    ];
    assert_eq!(codes, [error::PROTOCOL_ERROR; 6]);
    let codes = [
        fault(|writer| writer.data(1, &[0; 16_385], false)).code,
        fault(|writer| writer.raw(kind::PING, 0, 0, &[0; 7])).code,
        fault(|writer| writer.raw(kind::SETTINGS, 0, 0, &[0; 5])).code,
        fault(|writer| writer.raw(kind::SETTINGS, flag::ACK, 0, &[0; 6])).code,
        fault(|writer| writer.raw(kind::RST_STREAM, 0, 1, &[0; 5])).code,
        fault(|writer| writer.raw(kind::WINDOW_UPDATE, 0, 1, &[0; 3])).code,
        fault(|writer| writer.raw(kind::GOAWAY, 0, 0, &[0; 7])).code,
    ];
    assert_eq!(codes, [error::FRAME_SIZE_ERROR; 7]);
    let code = fault(|writer| writer.raw(kind::HEADERS, flag::END_HEADERS, 1, &[0xff])).code;
    assert_eq!(code, error::COMPRESSION_ERROR);
}

#[test]
fn the_preface_is_demanded() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let preface =
        |bytes: &'static [u8]| runtime.block_on(async { FrameReader::new(bytes).preface().await });
    assert!(preface(PREFACE).is_ok());
    assert!(matches!(preface(&PREFACE[..20]), Err(ReadError::EndedInside)));
    assert!(matches!(preface(b"GET / HTTP/1.1\r\n\r\n"), Err(ReadError::Fault(_))));
    assert!(matches!(preface(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r"), Err(ReadError::Fault(_))));
}

fn request() -> Fields {
    let fields = Fields::new().with(":method", "GET").with(":scheme", "http");
    fields.with(":path", "/r1").with(":authority", "a").with("te", "trailers")
}

#[test]
fn valid_fields_pass() {
    assert_eq!(request().check(Section::Request), Ok(()));
    assert_eq!(request().with("host", "a").check(Section::Request), Ok(()));
    assert_eq!(Fields::new().with(":status", "103").check(Section::Response), Ok(()));
    assert_eq!(Fields::new().with("x-end", "1").check(Section::Trailers), Ok(()));
}

#[test]
fn invalid_fields_are_faults() {
    let faulty = |fields: Fields, section| fields.check(section).expect_err("a fault").what;
    let requests = [
        (request().with("X-Upper", "1"), "uppercase"),
        (request().with("x y", "1"), "not a name"),
        (request().with("", "1"), "not a name"),
        (request().with("connection", "close"), "connection-specific"),
        (request().with("keep-alive", "1"), "connection-specific"),
        (request().with("proxy-connection", "1"), "connection-specific"),
        (request().with("transfer-encoding", "chunked"), "connection-specific"),
        (request().with("upgrade", "x"), "connection-specific"),
        (request().with("te", "gzip"), "trailers"),
        (request().with(":late", "1"), "after a regular field"),
        (Fields::new().with(":status", "200"), "may not be here"),
        (Fields::new().with(":path", "/").with(":path", "/"), "twice"),
        (Fields::new().with(":method", "GET").with(":scheme", "http"), "without :path"),
        (Fields::new().with(":scheme", "http").with(":path", "/"), "without :method"),
        (Fields::new().with(":method", "GET").with(":path", "/"), "without :scheme"),
        (request().with("x", "a\nb"), "NUL, CR or LF"),
        (request().with("x", " a"), "white space"),
        (request().with("x", "a\t"), "white space"),
        (request().with("host", "b"), "but host"),
        (request().with("content-length", "+1"), "content-length"),
        (request().with("content-length", "1").with("content-length", "2"), "two content-lengths"),
    ];
    for (fields, what) in requests {
        let found = faulty(fields, Section::Request);
        assert!(found.contains(what), "{found:?} does not contain {what:?}");
    }
    let path = Fields::new().with(":method", "GET").with(":scheme", "http").with(":authority", "a");
    assert!(faulty(path.clone().with(":path", "r1"), Section::Request).contains(":path"));
    assert!(faulty(path.with(":path", "*"), Section::Request).contains(":path"));
    let without = Fields::new().with(":method", "GET").with(":scheme", "http").with(":path", "/");
    assert!(faulty(without, Section::Request).contains("without :authority"));
    assert!(faulty(Fields::new(), Section::Response).contains(":status"));
    assert!(faulty(Fields::new().with(":status", "2x0"), Section::Response).contains(":status"));
    assert!(faulty(Fields::new().with(":status", "200"), Section::Trailers).contains("pseudo"));
}
