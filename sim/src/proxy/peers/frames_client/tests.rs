use std::collections::BTreeSet;

use super::super::client_tests::{
    GET, Raw, connections, ended, finish, hub, put, response, serve, spawn, when,
};
use super::super::conduct::{Conduct, Side};
use super::super::frames::{Frame, FrameWriter, setting};
use super::*;
use crate::plan::RequestWire;
use crate::proxy::content::Seen;

/// Requests of every kind, some at the same time.
fn requests() -> Vec<RequestPlan> {
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
        let informational = (id % 3) as u8;
        let at_us = u64::from(id % 4) * 60_000;
        let body_us = (id % 5 > 0).then_some(100_000);
        requests.push(RequestPlan { wire, informational, at_us, body_us, ..put(id, 0) });
    }
    requests
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_honest_server_serves_it_fully() {
    for seed in 0..60 {
        let hub = hub(seed, &requests(), &[]);
        let (connect, mut accepted) = connections();
        let serving = Rc::clone(&hub);
        spawn(async move {
            while let Some(io) = accepted.recv().await {
                spawn(serve(Rc::clone(&serving), io));
            }
        });
        finish(run(Rc::clone(&hub), 0, connect)).await;
        let last = hub.ledger.received().iter().map(|(_, received)| received.at).max();
        assert!(hub.now() < last.expect("there are requests") + 200_000_000, "it closes soon");
        assert_eq!(hub.ledger.faults(), [""; 0], "seed {seed}");
        assert!(hub.ledger.go_aways().iter().all(|go_away| go_away.code == 0), "seed {seed}");
        let executions = hub.ledger.executions();
        for plan in &hub.plan.requests {
            let received = ended(&hub, plan.id);
            let what = format!("seed {seed}, request {}: {received:?}", plan.id);
            assert_eq!((received.status, received.end), (Some(200), End::Complete), "{what}");
            assert_eq!(received.informational, u32::from(plan.informational));
            let body = Seen { length: plan.wire.answer_bytes.into(), wrong_at: None };
            assert_eq!(received.body, body, "{what}");
            assert_eq!(received.trailer.is_some(), plan.wire.answer_trailers);
            let execution = &executions[received.execution.expect("it has one") as usize];
            assert_eq!(execution.request, plan.id);
            let bytes = if plan.body_us.is_some() { plan.wire.body_bytes } else { 0 };
            let body = Seen { length: bytes.into(), wrong_at: None };
            assert_eq!(execution.body, body, "{what}");
            let trailers = plan.wire.trailers && plan.body_us.is_some();
            assert_eq!(execution.trailer.is_some(), trailers, "{what}");
        }
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_same_seed_makes_the_same_run() {
    let mut runs = Vec::new();
    for seed in [3, 3, 4] {
        let hub = hub(seed, &requests(), &[when(3, Moment::HalfSent, 700, Act::Cancel)]);
        let (connect, mut accepted) = connections();
        let serving = Rc::clone(&hub);
        spawn(async move {
            while let Some(io) = accepted.recv().await {
                spawn(serve(Rc::clone(&serving), io));
            }
        });
        finish(run(Rc::clone(&hub), 0, connect)).await;
        runs.push((hub.ledger.begun(), hub.ledger.received(), hub.injected()));
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

/// Serves one connection frame by frame, with small windows, and judges the client as strictly as
/// a backend judges the proxy. Returns the kinds of frames that arrived.
async fn judge(mut raw: Raw) -> BTreeSet<&'static str> {
    let mut conduct = Conduct::new(Side::Client);
    let settings = [(setting::MAX_CONCURRENT_STREAMS, 2), (setting::INITIAL_WINDOW_SIZE, 300)];
    raw.write(|writer| writer.settings(&settings)).await;
    conduct.sent_settings(&[]);
    conduct.sent_settings(&settings);
    let mut kinds = BTreeSet::new();
    loop {
        let frame = match raw.reader.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return kinds,
            Err(error) => panic!("{error:?}"),
        };
        conduct.read(&frame).expect("the client does nothing that is forbidden");
        let (kind, ends) = match frame {
            Frame::Headers { stream, end, .. } => ("HEADERS", end.then_some(stream)),
            Frame::Data { stream, counted, end, .. } => {
                if counted > 0 {
                    for stream in [stream, 0] {
                        conduct.grant(stream, counted);
                        raw.write(|writer| writer.window_update(stream, counted)).await;
                    }
                }
                (if counted > 0 { "DATA" } else { "empty DATA" }, end.then_some(stream))
            }
            Frame::Settings(_) => {
                raw.write(FrameWriter::settings_ack).await;
                ("SETTINGS", None)
            }
            Frame::Ping(content) => {
                raw.write(|writer| writer.pong(content)).await;
                ("PING", None)
            }
            Frame::Priority { .. } => ("PRIORITY", None),
            Frame::GoAway { .. } => ("GOAWAY", None),
            Frame::Unknown { .. } => ("unknown", None),
            _ => ("other", None),
        };
        kinds.insert(kind);
        if let Some(stream) = ends {
            conduct.end(stream);
            raw.write(|writer| writer.headers(stream, &response("200", &[]), true)).await;
        }
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn it_stays_within_the_rfc_and_uses_all_of_it() {
    let mut kinds = BTreeSet::new();
    for seed in 0..60 {
        let hub = hub(seed, &requests(), &[]);
        let (connect, mut accepted) = connections();
        let judges = Rc::new(RefCell::new(Some(JoinSet::new())));
        let judging = Rc::clone(&judges);
        let accepting = spawn(async move {
            loop {
                let raw = Raw::accept(&mut accepted).await;
                judging.borrow_mut().as_mut().expect("it runs").spawn_local(judge(raw));
            }
        });
        finish(run(Rc::clone(&hub), 0, connect)).await;
        accepting.abort();
        let mut judges = judges.take().expect("it ran");
        while let Some(judge) = judges.join_next().await {
            kinds.extend(judge.expect("nothing is forbidden"));
        }
        for plan in &hub.plan.requests {
            assert_eq!(ended(&hub, plan.id).end, End::Complete, "seed {seed}, {}", plan.id);
        }
    }
    let all = ["DATA", "GOAWAY", "HEADERS", "PING", "PRIORITY", "SETTINGS", "empty DATA"];
    for kind in all.into_iter().chain(["unknown"]) {
        assert!(kinds.contains(kind), "{kind} is not among {kinds:?}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn tiny_windows_are_kept_to_and_faults_are_noted() {
    let mut over = 0;
    for seed in 0..40 {
        let hub = hub(seed, &[GET], &[]);
        let (connect, mut accepted) = connections();
        let proxy = spawn(async move {
            let mut raw = Raw::accept(&mut accepted).await;
            let mut window = 65_535;
            let stream = loop {
                match raw.reader.next().await.expect("frames").expect("a request") {
                    Frame::Settings(settings) => {
                        let initial = setting::INITIAL_WINDOW_SIZE;
                        let initial = settings.iter().find(|(name, _)| *name == initial);
                        window = initial.map_or(window, |(_, value)| *value);
                        raw.write(FrameWriter::settings_ack).await;
                    }
                    Frame::Headers { stream, .. } => break stream,
                    _ => {}
                }
            };
            sleep(Duration::from_millis(200)).await;
            raw.write(|writer| {
                writer.headers(stream, &response("200", &[]), false);
                writer.data(stream, &[0; 2_000], false);
                writer.reset(stream, 0);
            })
            .await;
            raw.rest().await;
            window
        });
        finish(run(Rc::clone(&hub), 0, connect)).await;
        let window = proxy.await.expect("the proxy's end");
        assert_eq!(ended(&hub, 1).end, End::Reset(0));
        let faults = hub.ledger.faults();
        if faults.iter().any(|fault| fault.contains("beyond its window")) {
            over += 1;
            assert!(window < 2_000, "{faults:?}");
        } else {
            assert_eq!(faults, [""; 0]);
        }
    }
    assert!(over > 5, "{over} of 40 had a tiny window");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_the_proxy_may_not_send_is_a_fault() {
    type Answer = fn(&mut FrameWriter, u32);
    let cases: [(&str, Answer, End); 6] = [
        (
            "uppercase",
            |writer, stream| writer.headers(stream, &response("200", &[("X-Upper", "1")]), true),
            End::Broken,
        ),
        (
            "ends with a 1xx head",
            |writer, stream| writer.headers(stream, &response("103", &[]), true),
            End::Broken,
        ),
        (
            "after the end",
            |writer, stream| {
                writer.headers(stream, &response("200", &[]), true);
                writer.headers(stream, &response("200", &[]), true);
            },
            End::Complete,
        ),
        ("WINDOW_UPDATE of 0", |writer, _| writer.window_update(0, 0), End::Broken),
        ("no PING", |writer, _| writer.pong([9; 8]), End::Broken),
        (
            "within a field block",
            |writer, stream| {
                writer.raw(kind::HEADERS, 0, stream, &[0x88]);
                writer.ping([0; 8]);
            },
            End::Broken,
        ),
    ];
    for (what, answer, end) in cases {
        let hub = hub(1, &[GET], &[]);
        let (connect, mut accepted) = connections();
        spawn(async move {
            let mut raw = Raw::accept(&mut accepted).await;
            let (stream, _) = raw.head().await;
            raw.write(|writer| answer(writer, stream)).await;
            sleep(Duration::from_millis(100)).await;
        });
        finish(run(Rc::clone(&hub), 0, connect)).await;
        let faults = hub.ledger.faults();
        assert!(faults.iter().any(|fault| fault.contains(what)), "{what}: {faults:?}");
        assert_eq!(ended(&hub, 1).end, end, "{what}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_cancelled_request_is_reset_at_its_moment() {
    for seed in 0..20 {
        for moment in [Moment::Arrived, Moment::HalfSent, Moment::Sent] {
            let hub = hub(seed, &[put(1, 10_000)], &[when(1, moment, 1_000, Act::Cancel)]);
            let (connect, mut accepted) = connections();
            let proxy = spawn(async move {
                let mut raw = Raw::accept(&mut accepted).await;
                raw.head().await;
                raw.rest().await
            });
            finish(run(Rc::clone(&hub), 0, connect)).await;
            assert_eq!(ended(&hub, 1).end, End::Cancelled);
            let frames = proxy.await.expect("the proxy's end");
            let reset = frames.iter().position(|frame| matches!(frame, Frame::Reset { .. }));
            let reset = reset.expect("it is reset");
            let later = |frame: &Frame| matches!(frame, Frame::Data { .. } | Frame::Headers { .. });
            assert!(!frames[reset..].iter().any(later));
        }
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_goaway_of_the_proxy_leads_to_another_connection() {
    for seed in 0..20 {
        let hub = hub(seed, &[GET, RequestPlan { id: 2, ..GET }], &[]);
        let (connect, mut accepted) = connections();
        spawn(async move {
            let mut first = Raw::accept(&mut accepted).await;
            first.head().await;
            first.write(|writer| writer.go_away(0, 0)).await;
            spawn(async move { first.rest().await });
            loop {
                let mut next = Raw::accept(&mut accepted).await;
                let (stream, _) = next.head().await;
                next.write(|writer| writer.headers(stream, &response("200", &[]), true)).await;
                spawn(async move { next.rest().await });
            }
        });
        finish(run(Rc::clone(&hub), 0, connect)).await;
        assert_eq!(ended(&hub, 1).end, End::Unprocessed);
        // The second one was on the same connection, or waited for its settings or its limit.
        assert!(matches!(ended(&hub, 2).end, End::Unprocessed | End::Complete));
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_stops_reading_grants_nothing() {
    let wire = RequestWire { answer_bytes: 3_000_000, ..RequestWire::default() };
    let stop = when(1, Moment::Arrived, 0, Act::ClientStopsReading { for_us: None });
    for seed in 0..20 {
        let hub = hub(seed, &[RequestPlan { wire, ..GET }], &[stop]);
        if has_large_windows(&hub, 0) {
            // All of it fits.
            continue;
        }
        let (connect, mut accepted) = connections();
        let serving = Rc::clone(&hub);
        spawn(async move {
            serve(serving, accepted.recv().await.expect("a connection")).await;
        });
        finish(run(Rc::clone(&hub), 0, connect)).await;
        let received = ended(&hub, 1);
        assert_eq!((received.body.length, received.end), (3_000_000, End::Complete));
        assert!((10_000..11_000).contains(&(received.at / 1_000_000)), "{received:?}");
    }
}
