use super::super::client_tests::{
    GET, Raw, connections, ended, finish, hub, put, response, serve, spawn, when,
};
use super::super::frames::{Frame, FrameWriter, flag, kind};
use super::*;
use crate::plan::RequestWire;
use crate::proxy::content::Seen;
use crate::proxy::ledger::Received;

/// Runs the client against an honest server.
async fn run_honest(hub: &Rc<Hub>) {
    let (connect, mut accepted) = connections();
    let serving = Rc::clone(hub);
    spawn(async move {
        while let Some(io) = accepted.recv().await {
            spawn(serve(Rc::clone(&serving), io));
        }
    });
    finish(run(Rc::clone(hub), 0, connect)).await;
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn requests_and_responses_arrive_whole() {
    for seed in 0..40 {
        let mut requests = vec![GET];
        for id in 2..12 {
            let wire = RequestWire {
                body_bytes: 1_000 * id,
                piece_bytes: (300 * id) as u16,
                trailers: id % 2 == 0,
                answer_bytes: 40_000 * (id % 3),
                answer_trailers: id % 4 == 0,
                ..RequestWire::default()
            };
            requests.push(RequestPlan {
                wire,
                idempotent: id % 5 == 0,
                informational: (id % 3) as u8,
                ..put(id, 0)
            });
        }
        let hub = hub(seed, &requests, &[]);
        run_honest(&hub).await;
        assert_eq!(hub.ledger.faults(), [""; 0]);
        let executions = hub.ledger.executions();
        for plan in &requests {
            let received = ended(&hub, plan.id);
            assert_eq!((received.status, received.end), (Some(200), End::Complete));
            assert_eq!(received.informational, u32::from(plan.informational));
            let body = Seen { length: plan.wire.answer_bytes.into(), wrong_at: None };
            assert_eq!(received.body, body);
            let number = received.execution.expect("it has an execution");
            assert_eq!(received.trailer.is_some(), plan.wire.answer_trailers);
            let execution = &executions[number as usize];
            assert_eq!(execution.request, plan.id);
            let body = Seen { length: plan.wire.body_bytes.into(), wrong_at: None };
            assert_eq!(execution.body, body);
            assert_eq!(execution.trailer.is_some(), plan.wire.trailers, "{}", plan.id);
        }
    }
}

/// A client with one request, and what the proxy writes once it has read the head.
async fn against(
    requests: &[RequestPlan],
    mut answer: impl FnMut(&mut FrameWriter, u32) + 'static,
) -> (Rc<Hub>, Vec<Frame>) {
    let hub = hub(1, requests, &[]);
    let (connect, mut accepted) = connections();
    let proxy = spawn(async move {
        let mut raw = Raw::accept(&mut accepted).await;
        let (stream, _) = raw.head().await;
        raw.write(|writer| answer(writer, stream)).await;
        raw.rest().await
    });
    finish(run(Rc::clone(&hub), 0, connect)).await;
    (hub, proxy.await.expect("the proxy's end"))
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn every_end_is_distinguished() {
    type Answer = fn(&mut FrameWriter, u32);
    let cases: [(&str, Answer, End); 7] = [
        ("reset", |writer, stream| writer.reset(stream, 7), End::Reset(7)),
        ("disowned", |writer, _| writer.go_away(0, 0), End::Unprocessed),
        (
            "complete, then reset without an error",
            |writer, stream| {
                writer.headers(stream, &response("200", &[]), true);
                writer.reset(stream, 0);
            },
            End::Complete,
        ),
        (
            "reset within the body",
            |writer, stream| {
                writer.headers(stream, &response("200", &[]), false);
                writer.data(stream, b"abc", false);
                writer.reset(stream, 2);
            },
            End::Reset(2),
        ),
        (
            "cut after a GOAWAY that spares it",
            |writer, stream| {
                writer.headers(stream, &response("200", &[]), false);
                writer.go_away(stream, 0);
                writer.data(stream, b"abc", false);
            },
            End::Broken,
        ),
        ("head only", |writer, stream| writer.headers(stream, &response("404", &[]), true), {
            End::Complete
        }),
        (
            "PUSH_PROMISE",
            |writer, stream| {
                writer.raw(kind::PUSH_PROMISE, flag::END_HEADERS, stream, &[0, 0, 0, 2, 0x88]);
            },
            End::Broken,
        ),
    ];
    for (name, answer, end) in cases {
        let hub = hub(1, &[GET], &[]);
        let (connect, mut accepted) = connections();
        spawn(async move {
            let mut raw = Raw::accept(&mut accepted).await;
            let (stream, _) = raw.head().await;
            raw.write(|writer| answer(writer, stream)).await;
            sleep(Duration::from_millis(100)).await;
        });
        finish(run(Rc::clone(&hub), 0, connect)).await;
        assert_eq!(ended(&hub, 1).end, end, "{name}");
        assert_eq!(hub.ledger.faults().is_empty(), name != "PUSH_PROMISE", "{name}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_the_proxy_may_not_send_is_a_fault() {
    type Answer = fn(&mut FrameWriter, u32);
    let cases: [(&str, Answer); 7] = [
        ("uppercase", |writer, stream| {
            writer.headers(stream, &response("200", &[("X-Upper", "1")]), true);
        }),
        ("connection-specific", |writer, stream| {
            writer.headers(stream, &response("200", &[("keep-alive", "1")]), true);
        }),
        ("stated 5", |writer, stream| {
            writer.headers(stream, &response("200", &[("content-length", "5")]), false);
            writer.data(stream, b"abc", true);
        }),
        ("after the end", |writer, stream| {
            writer.headers(stream, &response("200", &[]), true);
            writer.data(stream, b"abc", true);
        }),
        (":status", |writer, stream| {
            writer.headers(stream, &response("200", &[]), false);
            writer.headers(stream, &response("200", &[]), true);
        }),
        ("idle", |writer, stream| writer.reset(stream + 2, 0)),
        ("window", |writer, stream| {
            writer.headers(stream, &response("200", &[]), false);
            (0..600).for_each(|_| writer.data(stream, &[0; 10_000], false));
        }),
    ];
    for (what, answer) in cases {
        let (hub, _) = against(&[GET], answer).await;
        let faults = hub.ledger.faults();
        assert!(faults.iter().any(|fault| fault.contains(what)), "{what}: {faults:?}");
        let _ = ended(&hub, 1);
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_cancelled_request_is_reset_at_its_moment() {
    for (moment, least, most) in
        [(Moment::Arrived, 0, 0), (Moment::HalfSent, 5_000, 9_000), (Moment::Sent, 10_000, 10_000)]
    {
        let hub = hub(1, &[put(1, 10_000)], &[when(1, moment, 1_000, Act::Cancel)]);
        let (connect, mut accepted) = connections();
        let proxy = spawn(async move {
            let mut raw = Raw::accept(&mut accepted).await;
            raw.head().await;
            raw.rest().await
        });
        finish(run(Rc::clone(&hub), 0, connect)).await;
        let received = ended(&hub, 1);
        assert_eq!((received.end, received.status), (End::Cancelled, None));
        assert_eq!(hub.injected().len(), 1);
        let frames = proxy.await.expect("the proxy's end");
        let code = cancel_code(hub.draws, 1).number();
        let is_reset =
            |frame: &Frame| matches!(frame, Frame::Reset { stream: 1, code: it } if *it == code);
        assert!(frames.iter().any(is_reset));
        let length = |frame: &Frame| match frame {
            Frame::Data { data, .. } => data.len(),
            _ => 0,
        };
        let sent: usize = frames.iter().map(length).sum();
        assert!((least..=most).contains(&sent), "{moment:?}: {sent} bytes");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn after_a_goaway_there_is_another_connection() {
    let later = RequestPlan { id: 2, at_us: 50_000, ..GET };
    let hub = hub(1, &[GET, later], &[]);
    let (connect, mut accepted) = connections();
    let proxy = spawn(async move {
        let mut first = Raw::accept(&mut accepted).await;
        let (stream, _) = first.head().await;
        first.write(|writer| writer.go_away(stream, 0)).await;
        let mut second = Raw::accept(&mut accepted).await;
        let (again, fields) = second.head().await;
        second.write(|writer| writer.headers(again, &response("200", &[]), true)).await;
        // The first one finishes on its own connection.
        first.write(|writer| writer.headers(stream, &response("200", &[]), true)).await;
        first.rest().await;
        second.rest().await;
        fields
    });
    finish(run(Rc::clone(&hub), 0, connect)).await;
    for id in [1, 2] {
        assert_eq!(ended(&hub, id).end, End::Complete);
    }
    assert_eq!(proxy.await.expect("the proxy's end").get(":path"), Some("/r2"));
    let go_away = hub.ledger.go_aways()[0];
    assert_eq!((go_away.client, go_away.connection, go_away.last, go_away.code), (0, 1, 1, 0));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn without_a_connection_a_request_is_unprocessed() {
    let hub = hub(1, &[GET], &[]);
    let (connect, accepted) = connections();
    drop(accepted);
    finish(run(Rc::clone(&hub), 0, connect)).await;
    assert_eq!(ended(&hub, 1).end, End::Unprocessed);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_stops_reading_grants_nothing() {
    let wire = RequestWire { answer_bytes: 3_000_000, ..RequestWire::default() };
    let stop = |for_us| when(1, Moment::Arrived, 0, Act::ClientStopsReading { for_us });
    let mut took = Vec::new();
    for directives in [vec![], vec![stop(Some(3_000_000))], vec![stop(None)]] {
        let hub = hub(1, &[RequestPlan { wire, ..GET }], &directives);
        run_honest(&hub).await;
        let Received { body, end, at, .. } = ended(&hub, 1);
        assert_eq!((body.length, end), (3_000_000, End::Complete));
        took.push(at / 1_000_000);
    }
    assert!(took[0] < 100, "{took:?}");
    assert!((3_000..3_100).contains(&took[1]), "{took:?}");
    assert!((10_000..10_100).contains(&took[2]), "{took:?}");
}
