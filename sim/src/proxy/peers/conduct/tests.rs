use bytes::Bytes;

use super::*;

fn client() -> Conduct {
    let mut conduct = Conduct::new(Side::Client);
    conduct.read(&Frame::Settings(Vec::new())).expect("SETTINGS");
    conduct
}

fn server() -> Conduct {
    let mut conduct = Conduct::new(Side::Server);
    conduct.read(&Frame::Settings(Vec::new())).expect("SETTINGS");
    conduct.open(1, "POST");
    conduct
}

fn request(stream: u32, end: bool) -> Frame {
    let fields = Fields::new().with(":method", "POST").with(":scheme", "http");
    Frame::Headers { stream, fields: fields.with(":path", "/").with(":authority", "a"), end }
}

fn response(stream: u32, status: &str, end: bool) -> Frame {
    Frame::Headers { stream, fields: Fields::new().with(":status", status), end }
}

fn trailers(stream: u32, end: bool) -> Frame {
    Frame::Headers { stream, fields: Fields::new().with("x-end", "1"), end }
}

fn data(stream: u32, length: usize, end: bool) -> Frame {
    Frame::Data { stream, data: Bytes::from(vec![0; length]), counted: length as u32, end }
}

/// Reads frames; all but the last one must be right.
fn fault(mut conduct: Conduct, frames: &[Frame]) -> String {
    let (last, before) = frames.split_last().expect("a frame");
    for frame in before {
        conduct.read(frame).expect("right");
    }
    conduct.read(last).expect_err("wrong").what
}

fn right(mut conduct: Conduct, frames: &[Frame]) {
    for frame in frames {
        conduct.read(frame).expect("right");
    }
}

#[test]
fn a_proper_client_has_no_fault() {
    let frames = [request(1, false), data(1, 10, false), request(3, true), trailers(1, true)];
    right(client(), &frames);
    right(client(), &[request(1, false), Frame::Reset { stream: 1, code: 8 }, request(5, true)]);
    let late = [Frame::WindowUpdate { stream: 1, by: 1 }, Frame::Reset { stream: 1, code: 0 }];
    let mut conduct = client();
    conduct.read(&request(1, true)).expect("right");
    conduct.end(1);
    right(conduct, &late);
}

#[test]
fn the_order_of_frames_is_checked() {
    assert!(fault(Conduct::new(Side::Client), &[request(1, true)]).contains("not SETTINGS"));
    let cases = [
        (vec![data(1, 1, false)], "idle"),
        (vec![Frame::Reset { stream: 1, code: 8 }], "idle"),
        (vec![Frame::WindowUpdate { stream: 1, by: 8 }], "idle"),
        (vec![request(2, true)], "a client opens stream 2"),
        (vec![request(3, true), request(1, true)], "after stream 3"),
        (vec![request(1, true), data(1, 1, false)], "after the end"),
        (vec![request(1, false), data(1, 1, true), trailers(1, true)], "after the end"),
        (vec![request(1, false), trailers(1, false)], "do not end"),
        (vec![request(1, false), request(1, true)], "pseudo"),
        (
            vec![request(1, false), Frame::Reset { stream: 1, code: 8 }, data(1, 1, false)],
            "after RST",
        ),
        (vec![Frame::PushPromise { stream: 1 }], "PUSH_PROMISE"),
        (vec![Frame::SettingsAck], "no SETTINGS"),
        (vec![Frame::Pong([0; 8])], "no PING"),
        (vec![Frame::GoAway { last: 0, code: 0 }, Frame::GoAway { last: 1, code: 0 }], "higher"),
        (vec![Frame::WindowUpdate { stream: 0, by: 0 }], "of 0"),
        (vec![Frame::WindowUpdate { stream: 0, by: GREATEST }], "a window of"),
        (vec![Frame::Settings(vec![(setting::ENABLE_PUSH, 2)])], "setting 2"),
        (vec![Frame::Settings(vec![(setting::INITIAL_WINDOW_SIZE, 1 << 31)])], "setting 4"),
        (vec![Frame::Settings(vec![(setting::MAX_FRAME_SIZE, 16_383)])], "setting 5"),
    ];
    for (frames, what) in cases {
        let found = fault(client(), &frames);
        assert!(found.contains(what), "{found:?} does not contain {what:?}");
    }
}

#[test]
fn the_order_of_a_servers_frames_is_checked() {
    let proper = [response(1, "103", false), response(1, "200", false), data(1, 1, false)];
    right(server(), &[&proper[..], &[trailers(1, true)]].concat());
    let cases = [
        (vec![response(3, "200", true)], "idle"),
        (vec![data(1, 1, true)], "before the head"),
        (vec![response(1, "103", true)], "1xx"),
        (vec![response(1, "101", false)], "101"),
        (vec![response(1, "200", false), response(1, "200", true)], "pseudo"),
        (vec![response(1, "204", false), data(1, 1, true)], "stated 0"),
        (vec![Frame::GoAway { last: 0, code: 0 }, response(1, "200", true)], "above the last id"),
        (vec![Frame::Settings(vec![(setting::ENABLE_PUSH, 1)])], "setting 2"),
    ];
    for (frames, what) in cases {
        let found = fault(server(), &frames);
        assert!(found.contains(what), "{found:?} does not contain {what:?}");
    }
    let mut conduct = server();
    conduct.open(3, "HEAD");
    let fields = Fields::new().with(":status", "200").with("content-length", "7");
    right(conduct, &[Frame::Headers { stream: 3, fields, end: true }]);
}

#[test]
fn windows_are_checked_with_what_the_proxy_could_know() {
    let window = |length| {
        let mut conduct = client();
        conduct.sent_settings(&[(setting::INITIAL_WINDOW_SIZE, length)]);
        conduct
    };
    let frames = [request(1, false), data(1, 20_000, false)];
    right(window(10), &frames);
    let known = [Frame::SettingsAck, request(1, false), data(1, 11, false)];
    assert!(fault(window(10), &known).contains("1 bytes beyond its window"));
    // A window that has become smaller after the fact is below zero, which forbids only bytes.
    let shrunk = [request(1, false), data(1, 20, false), Frame::SettingsAck, data(1, 0, true)];
    right(window(10), &shrunk);
    let mut conduct = window(10);
    right_so_far(&mut conduct, &[Frame::SettingsAck, request(1, false)]);
    conduct.grant(1, 5);
    assert_eq!(conduct.window_of(1), 15);
    assert!(fault(conduct, &[data(1, 15, false), data(1, 1, false)]).contains("its window"));
    let mut conduct = window(100_000);
    assert_eq!(conduct.connection_window(), 65_535);
    right_so_far(&mut conduct, &[Frame::SettingsAck, request(1, false), data(1, 65_535, false)]);
    assert_eq!(conduct.connection_window(), 0);
    assert!(fault(conduct, &[data(1, 1, false)]).contains("connection's window"));
}

fn right_so_far(conduct: &mut Conduct, frames: &[Frame]) {
    for frame in frames {
        conduct.read(frame).expect("right");
    }
}

#[test]
fn padding_takes_from_the_window_and_is_no_body() {
    let mut conduct = client();
    let fields = Fields::new().with(":method", "POST").with(":scheme", "http");
    let fields = fields.with(":path", "/").with(":authority", "a").with("content-length", "3");
    conduct.read(&Frame::Headers { stream: 1, fields, end: false }).expect("right");
    let padded =
        Frame::Data { stream: 1, data: Bytes::from_static(b"abc"), counted: 10, end: true };
    conduct.read(&padded).expect("right");
    assert_eq!(conduct.connection_window(), 65_525);
}

#[test]
fn the_length_agrees_with_the_body() {
    let fields = Fields::new().with(":method", "POST").with(":scheme", "http");
    let fields = fields.with(":path", "/").with(":authority", "a").with("content-length", "3");
    let head = |end| Frame::Headers { stream: 1, fields: fields.clone(), end };
    right(client(), &[head(false), data(1, 3, true)]);
    right(client(), &[head(false), data(1, 3, false), trailers(1, true)]);
    assert!(fault(client(), &[head(true)]).contains("0 bytes instead"));
    assert!(fault(client(), &[head(false), data(1, 2, true)]).contains("2 bytes instead"));
    assert!(fault(client(), &[head(false), data(1, 4, false)]).contains("more than"));
    assert!(
        fault(client(), &[head(false), data(1, 2, false), trailers(1, true)]).contains("2 bytes")
    );
}

#[test]
fn the_limit_of_streams_counts_from_its_acknowledgement() {
    let limited = |limit| {
        let mut conduct = client();
        conduct.sent_settings(&[(setting::MAX_CONCURRENT_STREAMS, limit)]);
        conduct
    };
    right(limited(1), &[request(1, true), request(3, true), Frame::SettingsAck]);
    let known = [Frame::SettingsAck, request(1, true), request(3, true)];
    assert!(fault(limited(1), &known).contains("1 are allowed"));
    let mut conduct = limited(1);
    right_so_far(&mut conduct, &known[..2]);
    conduct.end(1);
    right_so_far(&mut conduct, &known[2..]);
    assert!(conduct.is_open(3) && !conduct.is_open(1));
    conduct.reset(3);
    assert_eq!(conduct.open_streams(), 0);
}

#[test]
fn a_stream_after_a_goaway_is_a_fault_once_the_proxy_knows_it() {
    let mut conduct = client();
    conduct.sent_ping([1; 8]);
    conduct.sent_go_away();
    conduct.sent_ping([2; 8]);
    right_so_far(&mut conduct, &[Frame::Pong([1; 8]), request(1, true)]);
    assert!(fault(conduct, &[Frame::Pong([2; 8]), request(3, true)]).contains("after a GOAWAY"));
    let mut conduct = client();
    conduct.sent_go_away();
    conduct.sent_settings(&[]);
    right_so_far(&mut conduct, &[Frame::SettingsAck, request(1, true)]);
    conduct.sent_settings(&[]);
    assert!(fault(conduct, &[Frame::SettingsAck, request(3, true)]).contains("after a GOAWAY"));
}

#[test]
fn the_windows_of_the_proxy_are_known() {
    let mut conduct = client();
    right_so_far(&mut conduct, &[request(1, true)]);
    assert_eq!(conduct.room(1), 65_535);
    let settings = |window| Frame::Settings(vec![(setting::INITIAL_WINDOW_SIZE, window)]);
    conduct.sent_data(1, 10);
    right_so_far(&mut conduct, &[settings(5)]);
    assert_eq!(conduct.room(1), 0);
    right_so_far(&mut conduct, &[Frame::WindowUpdate { stream: 1, by: 7 }]);
    assert_eq!(conduct.room(1), 2);
    right_so_far(&mut conduct, &[settings(100_000)]);
    assert_eq!(conduct.room(1), 65_525, "the connection's window");
    let wide = [Frame::WindowUpdate { stream: 1, by: GREATEST - 99_997 }, settings(100_001)];
    assert!(fault(conduct, &wide).contains("setting 4"));
}
