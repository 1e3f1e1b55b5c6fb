//! Acts on a connection or a stream.

use std::time::Duration;

use tokio::time::sleep;

use crate::plan::{Act, Code, LastId, Moment, Plan, Stage};
use crate::proxy::content::Seen;
use crate::proxy::hub::{Order, Target};
use crate::proxy::peers::frames::{Fields, Frame, GREATEST, setting};
use crate::proxy::peers::test_support::*;

const SECOND: Duration = Duration::from_secs(1);

fn slow() -> Scene {
    Scene::with(|backend| backend.work = span(1_000_000))
}

#[test]
fn each_goaway_has_its_last_id_and_disowns_what_is_above() {
    let cases = [
        (LastId::Greatest, GREATEST, 2),
        (LastId::AboveRead, 5, 2),
        (LastId::Read, 3, 2),
        (LastId::BelowRead, 1, 1),
        (LastId::Zero, 0, 0),
    ];
    for (kind, id, kept) in cases {
        simulate(async || {
            let scene = slow();
            let mut client = scene.client().await;
            client.request(1, 0, true).await;
            client.request(3, 1, true).await;
            settle().await;
            scene.order(Act::GoAway { last: kind, code: Code::Internal });
            let (last, code, _) = client.go_away().await;
            assert_eq!((last, code), (id, 2));
            let executions = scene.hub.ledger.executions();
            let disowned: Vec<bool> = executions.iter().map(|one| one.disowned).collect();
            assert_eq!(disowned, [kept < 1, kept < 2], "{kind:?}");
            // Streams above the last id are ignored; others are served as before.
            client.request(5, 2, true).await;
            settle().await;
            let served = id >= 5;
            assert_eq!(scene.hub.ledger.executions().len(), if served { 3 } else { 2 });
            let frames = client.frames_in(SECOND * 2).await;
            for (number, stream) in [1, 3].into_iter().enumerate() {
                assert_eq!(ended(&frames, stream), number < kept, "{kind:?}, stream {stream}");
            }
            assert_eq!(ended(&frames, 5), served);
            assert_eq!(reset_code(&frames, 3), None);
            if id < GREATEST {
                assert_eq!(client.next().await, None, "drained");
            }
            assert_eq!(scene.faults(), [""; 0]);
        });
    }
}

#[test]
fn the_lowest_last_id_stays_in_force() {
    simulate(async || {
        let scene = slow();
        let mut client = scene.client().await;
        client.request(1, 0, true).await;
        settle().await;
        scene.order(Act::GoAway { last: LastId::Read, code: Code::NoError });
        scene.order(Act::GoAway { last: LastId::Greatest, code: Code::NoError });
        assert_eq!(client.go_away().await.0, 1);
        assert_eq!(client.go_away().await.0, GREATEST);
        client.request(3, 1, true).await;
        settle().await;
        assert_eq!(scene.hub.ledger.executions().len(), 1);
    });
}

#[test]
fn a_lying_goaway_also_disowns_what_was_answered() {
    simulate(async || {
        let scene = Scene::new(plan());
        let mut client = scene.client().await;
        client.request(1, 0, true).await;
        assert!(ended(&client.frames().await, 1));
        scene.order(Act::GoAway { last: LastId::Zero, code: Code::NoError });
        let _ = client.go_away().await;
        let record = scene.execution();
        assert!(record.disowned && record.answer.is_some_and(|answer| answer.ended.is_some()));
    });
}

#[test]
fn a_reset_ends_a_stream_and_refused_disowns_it() {
    for (code, disowned) in [(Code::Internal, false), (Code::Refused, true)] {
        simulate(async || {
            let scene = slow();
            let mut client = scene.client().await;
            client.request(1, 0, true).await;
            settle().await;
            scene.order_stream(1, Act::Reset { code });
            let frames = client.frames_in(SECOND * 2).await;
            assert_eq!(reset_code(&frames, 1), Some(code.number()));
            assert_eq!(statuses(&frames, 1), [0; 0]);
            let record = scene.execution();
            assert_eq!((record.disowned, record.answer), (disowned, None));
            scene.order_stream(1, Act::Reset { code });
            assert_eq!(client.frames().await, [], "it is done");
        });
    }
}

#[test]
fn an_order_about_a_request_is_for_its_last_stream() {
    for by_library in [false, true] {
        simulate(async || {
            let scene = Scene::with(|backend| {
                backend.work = span(1_000_000);
                backend.wire.by_library = by_library;
            });
            let mut client = scene.client().await;
            client.request(1, 4, true).await;
            client.request(3, 4, true).await;
            settle().await;
            let target = Target::Request(4);
            let order = Order { act: Act::Reset { code: Code::Internal }, target };
            scene.hub.pass_on(Target::Backend(0, 1), order);
            let frames = client.frames().await;
            assert_eq!((reset_code(&frames, 1), reset_code(&frames, 3)), (None, Some(2)));
        });
    }
}

#[test]
fn an_order_at_the_moment_of_reading_comes_before_the_application() {
    simulate(async || {
        let directives = vec![directive(Moment::Read, Act::Reset { code: Code::Refused })];
        let scene = Scene::new(Plan { directives, ..plan() });
        let mut client = scene.client().await;
        client.request(1, 0, true).await;
        client.request(3, 1, true).await;
        let frames = client.frames().await;
        assert_eq!(reset_code(&frames, 1), Some(7));
        assert_eq!(scene.execution().request, 1);
        assert!(ended(&frames, 3));
    });
}

#[test]
fn an_order_at_the_moment_of_the_head_comes_before_the_body() {
    simulate(async || {
        let directives = vec![directive(Moment::Answered, Act::Reset { code: Code::Internal })];
        let scene = Scene::new(Plan { directives, ..plan() });
        let mut client = scene.client().await;
        client.request(1, 0, true).await;
        let frames = client.frames().await;
        assert_eq!(statuses(&frames, 1), [200]);
        assert_eq!(reset_code(&frames, 1), Some(2));
        assert!(!ended(&frames, 1) && body(&frames, 1).1 == 0);
        let answer = scene.execution().answer.expect("a head");
        assert!(answer.ended.is_none() && answer.length == 0);
    });
}

#[test]
fn orders_that_come_before_a_stream_wait_for_it() {
    simulate(async || {
        let scene = Scene::new(plan());
        let mut client = scene.client().await;
        scene.order_stream(2, Act::Status { status: 503 });
        scene.order_stream(2, Act::Reset { code: Code::Internal });
        client.request(1, 0, true).await;
        client.request(3, 1, true).await;
        let frames = client.frames().await;
        assert_eq!((statuses(&frames, 1), statuses(&frames, 3)), (vec![200], vec![503]));
        assert_eq!(reset_code(&frames, 3), None, "a stream that was not read is not reset");
        let answer = scene.hub.ledger.executions()[1].answer.expect("an answer");
        assert_eq!(answer.status, 503);
    });
}

#[test]
fn a_lower_limit_is_sent_and_streams_above_it_are_refused() {
    simulate(async || {
        let scene = slow();
        let mut client = scene.client().await;
        client.request(1, 0, true).await;
        settle().await;
        scene.order(Act::Settings { max_streams: 1 });
        assert_eq!(client.expect_settings().await, [(setting::MAX_CONCURRENT_STREAMS, 1)]);
        client.request(3, 1, true).await;
        let frames = client.frames().await;
        assert_eq!(reset_code(&frames, 3), Some(7));
        assert_eq!(scene.execution().request, 0);
        assert_eq!(scene.faults(), [""; 0], "it was not acknowledged");
        client.writer.settings_ack();
        client.request(5, 2, true).await;
        let (_, code, _) = client.go_away().await;
        assert_eq!(code, 1);
        assert_eq!(scene.faults().len(), 1);
        assert!(scene.faults()[0].contains("1 are allowed"), "{:?}", scene.faults());
    });
}

#[test]
fn an_answer_that_never_finishes_goes_on_when_faults_stop() {
    simulate(async || {
        let mut plan = plan();
        plan.backends[0].body = span(1_000_000);
        plan.requests[0].wire.piece_bytes = 5;
        let scene = Scene::new(plan);
        let mut client = scene.client().await;
        client.request(1, 0, true).await;
        assert_eq!(statuses(&client.frames().await, 1), [200]);
        scene.order_stream(1, Act::NeverFinish);
        scene.order(Act::GoAway { last: LastId::Read, code: Code::NoError });
        let frames = client.frames_in(SECOND * 100).await;
        assert!(!ended(&frames, 1) && scene.backend.connections() == 1);
        scene.backend.heal(crate::plan::Health::Refuses);
        let frames = client.frames().await;
        assert!(ended(&frames, 1));
        assert_eq!(client.next().await, None);
        assert!(scene.execution().answer.is_some_and(|answer| answer.ended.is_some()));
    });
}

#[test]
fn a_backend_that_stops_reading_reads_on_later() {
    simulate(async || {
        let scene = Scene::new(plan());
        let mut client = scene.client().await;
        scene.order(Act::StopReading { for_us: Some(1_000_000) });
        settle().await;
        client.request(1, 0, true).await;
        sleep(SECOND * 9 / 10).await;
        assert!(scene.hub.ledger.executions().is_empty());
        sleep(SECOND / 5).await;
        assert_eq!(scene.execution().stream, 1);
        scene.order(Act::StopReading { for_us: None });
        settle().await;
        client.request(3, 1, true).await;
        sleep(SECOND * 1_000).await;
        assert_eq!(scene.hub.ledger.executions().len(), 1);
        scene.backend.heal(crate::plan::Health::Well);
        settle().await;
        assert_eq!(scene.hub.ledger.executions().len(), 2);
    });
}

#[test]
fn a_starved_upload_gets_no_window_and_goes_on_later() {
    simulate(async || {
        let mut plan = Plan { requests: vec![upload(0, 1_500)], ..plan() };
        plan.backends[0].wire = window(1_000);
        let scene = Scene::new(plan);
        let mut client = scene.client().await;
        scene.order_stream(1, Act::StarveUpload { for_us: Some(1_000_000) });
        client.request(1, 0, false).await;
        client.body(1, 0, 0, 1_000, false).await;
        assert_eq!(client.frames_in(SECOND * 9 / 10).await, []);
        assert_eq!(scene.execution().body.length, 0);
        let frames = client.frames_in(SECOND / 5).await;
        assert_eq!(frames, [Frame::WindowUpdate { stream: 1, by: 1_000 }]);
        client.body(1, 0, 1_000, 500, true).await;
        assert!(ended(&client.frames().await, 1));
        assert_eq!(scene.execution().body, Seen { length: 1_500, wrong_at: None });
    });
}

#[test]
fn a_starved_upload_that_is_reset_gives_the_window_of_the_connection_back() {
    simulate(async || {
        let scene = Scene::requests(&[upload(0, 40_000)]);
        let mut client = scene.client().await;
        scene.order_stream(1, Act::StarveUpload { for_us: None });
        client.request(1, 0, false).await;
        for piece in 0..4 {
            client.body(1, 0, piece * 10_000, 10_000, false).await;
        }
        assert_eq!(client.frames().await, []);
        client.writer.reset(1, 8);
        client.flush().await;
        assert_eq!(client.frames().await, [Frame::WindowUpdate { stream: 0, by: 40_000 }]);
    });
}

#[test]
fn pings_without_responses_end_the_connection() {
    simulate(async || {
        let scene = Scene::with(|backend| backend.ping_strikes = Some(2));
        let mut client = scene.client().await;
        for answers in [true, false] {
            for number in 0..2 {
                client.writer.ping([number; 8]);
            }
            client.flush().await;
            let frames = client.frames().await;
            let pongs = frames.iter().filter(|frame| matches!(frame, Frame::Pong(_)));
            assert_eq!(pongs.count(), 2);
            if answers {
                client.request(1, 0, true).await;
                client.frames().await;
            }
        }
        client.writer.ping([4; 8]);
        client.flush().await;
        let (last, code, before) = client.go_away().await;
        assert_eq!((last, code, before), (1, 0xb, vec![]));
    });
}

#[test]
fn a_connection_is_replaced_after_its_number_of_streams() {
    simulate(async || {
        let scene = Scene::with(|backend| {
            backend.streams_per_connection = Some(2);
            backend.work = span(1_000_000);
        });
        let mut client = scene.client().await;
        client.request(1, 0, true).await;
        assert_eq!(client.frames().await, []);
        client.request(3, 1, true).await;
        let (last, code, _) = client.go_away().await;
        assert_eq!((last, code), (3, 0));
        let frames = client.frames_in(SECOND * 2).await;
        assert!(ended(&frames, 1) && ended(&frames, 3));
        assert_eq!(client.next().await, None);
        assert_eq!(scene.resets(), 0);
    });
}

#[test]
fn a_break_is_a_reset_of_the_connection() {
    simulate(async || {
        let scene = slow();
        let mut client = scene.client().await;
        client.request(1, 0, true).await;
        settle().await;
        scene.order_stream(1, Act::Break);
        assert_eq!(client.next().await, None);
        assert_eq!((scene.resets(), scene.backend.connections()), (1, 0));
    });
}

/// A scene whose first connection has this act at its dial.
fn dialled(act: Act) -> Scene {
    let mut plan = plan();
    let when = crate::plan::When::Dialled { backend: 0, connection: 1 };
    plan.directives = vec![crate::plan::Directive { when, ..directive(Moment::Read, act) }];
    Scene::new(plan)
}

#[test]
fn a_dial_fails_at_each_stage() {
    let acts = [
        (Act::FailDial { stage: Stage::Tcp }, 1),
        (Act::FailDial { stage: Stage::Tls }, 1),
        (Act::BreakAtPreface, 1),
        (Act::FailDial { stage: Stage::Settings }, 0),
    ];
    for (act, resets) in acts {
        simulate(async || {
            let scene = dialled(act);
            let mut client = Client::new(scene.connect(1 << 20));
            client.writer.preface();
            client.writer.settings(&[]);
            client.flush().await;
            let frames = client.frames_in(SECOND).await;
            let without_settings = resets == 0;
            assert_eq!(frames.len(), usize::from(without_settings), "{frames:?}");
            assert_eq!(client.next().await, None);
            assert_eq!(scene.resets(), resets, "{act:?}");
            drop(client);
            settle().await;
            assert_eq!((scene.backend.connections(), scene.faults().len()), (0, 0));
        });
    }
}

#[test]
fn a_break_at_the_preface_waits_for_it() {
    simulate(async || {
        let scene = dialled(Act::BreakAtPreface);
        let mut client = Client::new(scene.connect(1 << 20));
        settle().await;
        assert_eq!(scene.resets(), 0);
        client.writer.preface();
        client.flush().await;
        settle().await;
        assert_eq!(scene.resets(), 1);
    });
}

#[test]
fn a_dial_stalls_for_its_time() {
    simulate(async || {
        let scene = dialled(Act::StallDial { stage: Stage::Settings, for_us: Some(1_000_000) });
        let mut client = Client::new(scene.connect(1 << 20));
        client.writer.preface();
        client.writer.settings(&[]);
        client.flush().await;
        assert_eq!(client.frames_in(SECOND * 9 / 10).await, []);
        client.expect_settings().await;
        let scene = dialled(Act::StallDial { stage: Stage::Tls, for_us: None });
        let mut client = Client::new(scene.connect(1 << 20));
        client.writer.preface();
        client.flush().await;
        assert_eq!(client.frames_in(SECOND * 1_000).await, []);
        drop(client);
        settle().await;
        assert_eq!(scene.backend.connections(), 0, "its client gave up");
    });
}

#[test]
fn what_is_not_a_backends_goes_to_the_client_and_the_process() {
    simulate(async || {
        let scene = Scene::new(plan());
        let mut client = scene.client().await;
        let mut request = scene.hub.mailbox(Target::Request(4));
        let mut process = scene.hub.mailbox(Target::Process);
        client.request(1, 4, true).await;
        settle().await;
        scene.order_stream(1, Act::Cancel);
        scene.order_stream(1, Act::DisconnectAll);
        settle().await;
        assert_eq!(request.try_recv().map(|order| order.act), Ok(Act::Cancel));
        let order = process.try_recv().expect("an order");
        assert_eq!((order.act, order.target), (Act::DisconnectAll, Target::Stream(0, 1, 1)));
        drop(client);
        settle().await;
        scene.order_stream(1, Act::Shutdown);
        assert_eq!(process.try_recv().map(|order| order.act), Ok(Act::Shutdown), "it is gone");
    });
}

#[test]
fn the_client_may_reset_at_any_time() {
    simulate(async || {
        let scene = slow();
        let mut client = scene.client().await;
        client.request(1, 0, true).await;
        settle().await;
        client.writer.reset(1, 8);
        client.writer.headers(3, &head("GET", "/r1"), true);
        client.flush().await;
        let frames = client.frames_in(SECOND * 2).await;
        assert!(statuses(&frames, 1).is_empty() && ended(&frames, 3));
        assert_eq!(scene.hub.ledger.executions()[0].answer, None);
        client.writer.headers(5, &head("POST", "/r2"), false);
        client.writer.headers(5, &Fields::new().with("x-end", "request-2"), true);
        client.flush().await;
        settle().await;
        let trailer = scene.hub.ledger.executions()[2].trailer.clone();
        assert_eq!(trailer.as_deref(), Some("request-2"));
    });
}
