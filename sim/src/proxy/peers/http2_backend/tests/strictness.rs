//! Each violation of the RFC by the proxy is recorded, and ends the connection.

use crate::plan::{Act, Code, LastId};
use crate::proxy::peers::frames::{Fields, Frame, FrameWriter, error, flag, kind};
use crate::proxy::peers::test_support::*;

/// The fault of a client, and the error code of the GOAWAY that answers it.
fn fault(write: impl FnOnce(&mut FrameWriter)) -> (u32, String) {
    let (mut code, mut fault) = (0, String::new());
    simulate(async || {
        let mut plan = plan();
        plan.requests[0] = upload(0, 100);
        plan.backends[0].work = span(1_000_000);
        plan.backends[0].wire = window(1_000);
        let scene = Scene::new(plan);
        let mut client = scene.client().await;
        write(&mut client.writer);
        client.flush().await;
        (_, code, _) = client.go_away().await;
        let end = client.frames().await;
        assert!(end.iter().all(|frame| matches!(frame, Frame::Ping(_))), "{end:?}");
        let mut faults = scene.faults();
        assert_eq!(faults.len(), 1, "{faults:?}");
        fault = faults.remove(0);
        assert!(fault.starts_with("backend 0, connection 1, HTTP/2: "), "{fault}");
        drop(client);
        settle().await;
        assert_eq!(scene.backend.connections(), 0);
    });
    (code, fault)
}

#[test]
fn each_fault_is_recorded() {
    type Write = fn(&mut FrameWriter);
    let post = |writer: &mut FrameWriter| writer.headers(1, &head("POST", "/r0"), false);
    let cases: [(u32, &str, Write); 15] = [
        (error::PROTOCOL_ERROR, "idle", |writer| writer.data(1, b"x", false)),
        (error::PROTOCOL_ERROR, "idle", |writer| writer.reset(1, 8)),
        (error::PROTOCOL_ERROR, "idle", |writer| writer.window_update(1, 8)),
        (error::PROTOCOL_ERROR, "of 0", |writer| writer.window_update(0, 0)),
        (error::PROTOCOL_ERROR, "opens stream 2", |writer| {
            writer.headers(2, &head("GET", "/r0"), true);
        }),
        (error::PROTOCOL_ERROR, "after stream 3", |writer| {
            writer.headers(3, &head("GET", "/r0"), true);
            writer.headers(1, &head("GET", "/r1"), true);
        }),
        (error::PROTOCOL_ERROR, "uppercase", |writer| {
            writer.headers(1, &head("GET", "/r0").with("X-Name", "1"), true);
        }),
        (error::PROTOCOL_ERROR, "connection-specific", |writer| {
            writer.headers(1, &head("GET", "/r0").with("connection", "close"), true);
        }),
        (error::PROTOCOL_ERROR, "no SETTINGS", FrameWriter::settings_ack),
        (error::PROTOCOL_ERROR, "no PING", |writer| writer.pong([1; 8])),
        (error::PROTOCOL_ERROR, "PUSH_PROMISE", |writer| {
            writer.raw(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &[0, 0, 0, 2, 0x88]);
        }),
        (error::PROTOCOL_ERROR, "CONTINUATION", |writer| {
            writer.raw(kind::CONTINUATION, flag::END_HEADERS, 1, &[0x88]);
        }),
        (error::FRAME_SIZE_ERROR, "payload of 7 bytes", |writer| {
            writer.raw(kind::PING, 0, 0, &[0; 7]);
        }),
        (error::COMPRESSION_ERROR, "field block", |writer| {
            writer.raw(kind::HEADERS, flag::END_HEADERS, 1, &[0xff]);
        }),
        (error::PROTOCOL_ERROR, "field block", |writer| {
            writer.raw(kind::HEADERS, 0, 1, &[0x88]);
            writer.ping([0; 8]);
        }),
    ];
    for (code, what, write) in cases {
        let (found, text) = fault(write);
        assert!(text.contains(what), "{text:?} does not contain {what:?}");
        assert_eq!(found, code, "{text}");
    }
    let after_the_end = fault(|writer| {
        writer.headers(1, &head("GET", "/r0"), true);
        writer.data(1, b"x", false);
    });
    assert_eq!(after_the_end.0, error::STREAM_CLOSED);
    let after_a_reset = fault(|writer| {
        post(writer);
        writer.reset(1, 8);
        writer.data(1, b"x", false);
    });
    assert!(after_a_reset.1.contains("after RST_STREAM"));
    let beyond = fault(|writer| {
        post(writer);
        writer.data(1, &[0; 1_001], false);
    });
    assert_eq!(beyond.0, error::FLOW_CONTROL_ERROR);
    let length = fault(|writer| {
        writer.headers(1, &head("POST", "/r0").with("content-length", "3"), false);
        writer.data(1, b"ab", true);
    });
    assert!(length.1.contains("2 bytes instead of the stated 3"), "{length:?}");
    let trailers = fault(|writer| {
        post(writer);
        writer.headers(1, &Fields::new().with("x-end", "1"), false);
    });
    assert!(trailers.1.contains("do not end"), "{trailers:?}");
}

#[test]
fn another_protocol_is_a_fault() {
    simulate(async || {
        let scene = Scene::new(plan());
        let mut client = Client::new(scene.connect(1 << 20));
        client.writer.raw(kind::SETTINGS, 0, 0, b"");
        client.flush().await;
        settle().await;
        assert_eq!(scene.faults().len(), 1);
        assert!(scene.faults()[0].contains("preface"));
    });
}

#[test]
fn a_stream_after_a_goaway_that_the_proxy_has_read_is_a_fault() {
    let mut known = 0;
    for seed in 0..8 {
        simulate(async || {
            let scene = Scene::new(crate::plan::Plan { seed, ..plan() });
            let mut client = scene.client().await;
            scene.order(Act::GoAway { last: LastId::Greatest, code: Code::NoError });
            let _ = client.go_away().await;
            if let Some(Frame::Ping(content)) = client.frames().await.first() {
                client.writer.pong(*content);
                client.request(1, 0, true).await;
                settle().await;
                assert!(scene.faults()[0].contains("after a GOAWAY"), "{:?}", scene.faults());
                known += 1;
            }
        });
    }
    assert!((2..7).contains(&known), "{known}");
}

#[test]
fn an_end_within_a_frame_is_no_fault() {
    simulate(async || {
        let scene = Scene::new(plan());
        let mut client = scene.client().await;
        client.writer.raw(kind::DATA, 0, 1, b"");
        let frame = client.writer.take();
        client.send(&frame[..5]).await;
        drop(client);
        settle().await;
        assert_eq!((scene.backend.connections(), scene.faults().len()), (0, 0));
    });
}
