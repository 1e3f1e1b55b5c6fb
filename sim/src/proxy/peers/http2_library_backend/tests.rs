use std::time::Duration;

use crate::plan::{Act, BackendPlan, Code, Health, LastId, Moment, Plan, RequestPlan};
use crate::proxy::content::Seen;
use crate::proxy::exact::waiting;
use crate::proxy::ledger::path;
use crate::proxy::peers::frames::{Frame, GREATEST, error, setting};
use crate::proxy::peers::test_support::*;

const SECOND: Duration = Duration::from_secs(1);

fn scene(change: impl FnOnce(&mut BackendPlan)) -> Scene {
    Scene::with(|backend| {
        backend.wire = library();
        change(backend);
    })
}

fn uploads(requests: &[RequestPlan], directives: &[crate::plan::Directive]) -> Scene {
    let mut plan = plan();
    plan.backends[0].wire = library();
    Scene::new(Plan { requests: requests.to_vec(), directives: directives.to_vec(), ..plan })
}

/// The frames that arrive without delay, except those of the library's own account.
async fn frames(client: &mut Client) -> Vec<Frame> {
    client.frames().await
}

#[test]
fn the_client_of_the_library_reads_every_form_of_answer() {
    simulate(async || check_every_form(library()).await);
}

#[test]
fn an_upload_passes_a_small_window() {
    let mut wire = library();
    wire.window = 1_000;
    simulate(async || check_uploads(wire).await);
}

#[test]
fn the_plan_of_the_backend_is_in_its_settings() {
    simulate(async || {
        let scene = scene(|backend| {
            backend.max_streams = Some(3);
            backend.wire.window = 1_000;
            backend.settings_late_us = Some(1_000_000);
        });
        let mut client = Client::new(scene.connect(1 << 20));
        client.writer.preface();
        client.writer.settings(&[]);
        client.request(1, 0, true).await;
        assert_eq!(client.frames_in(SECOND * 9 / 10).await, []);
        let settings = client.expect_settings().await;
        assert!(settings.contains(&(setting::MAX_CONCURRENT_STREAMS, 3)), "{settings:?}");
        assert!(settings.contains(&(setting::INITIAL_WINDOW_SIZE, 1_000)), "{settings:?}");
        assert_eq!(statuses(&frames(&mut client).await, 1), [200]);
        assert!(scene.execution().answer.is_some_and(|answer| answer.ended.is_some()));
    });
}

#[test]
fn a_graceful_goaway_finishes_streams() {
    simulate(async || {
        let scene = scene(|backend| backend.work = span(1_000_000));
        let mut client = scene.client().await;
        client.request(1, 0, true).await;
        settle().await;
        scene.order(Act::GoAway { last: LastId::Zero, code: Code::NoError });
        let (last, code, _) = client.go_away().await;
        assert_eq!((last, code), (GREATEST, 0));
        let Some(Frame::Ping(content)) = client.next().await else { panic!("no PING") };
        client.writer.pong(content);
        client.flush().await;
        assert_eq!(client.go_away().await.0, 1);
        let frames = client.frames_in(SECOND * 2).await;
        assert!(ended(&frames, 1));
        assert_eq!(client.next().await, None);
        assert!(!scene.execution().disowned);
        assert_eq!(scene.faults(), [""; 0]);
    });
}

#[test]
fn another_goaway_ends_the_connection() {
    simulate(async || {
        let scene = scene(|backend| backend.work = span(1_000_000));
        let mut client = scene.client().await;
        client.request(1, 0, true).await;
        settle().await;
        scene.order(Act::GoAway { last: LastId::Zero, code: Code::Protocol });
        let (last, code, _) = client.go_away().await;
        assert_eq!((last, code), (1, 1));
        assert_eq!(client.next().await, None);
        let record = scene.execution();
        assert!(!record.disowned && record.answer.is_none());
        assert_eq!(scene.faults(), [""; 0], "the backend's own GOAWAY is no fault of the proxy");
        assert_eq!(scene.backend.connections(), 0);
    });
}

#[test]
fn pings_and_streams_are_counted() {
    simulate(async || {
        let scene = scene(|backend| backend.ping_strikes = Some(2));
        let mut client = scene.client().await;
        for number in 0..2 {
            client.writer.ping([number; 8]);
        }
        client.request(1, 0, true).await;
        let frames = client.frames().await;
        assert!(!frames.iter().any(|frame| matches!(frame, Frame::GoAway { .. })), "{frames:?}");
        for number in 2..5 {
            client.writer.ping([number; 8]);
        }
        client.flush().await;
        assert_eq!(client.go_away().await.1, 0xb);
        assert_eq!(scene.faults(), [""; 0]);
    });
    simulate(async || {
        let scene = scene(|backend| backend.streams_per_connection = Some(2));
        let mut client = scene.client().await;
        client.request(1, 0, true).await;
        let frames = client.frames().await;
        assert!(!frames.iter().any(|frame| matches!(frame, Frame::GoAway { .. })), "{frames:?}");
        client.request(3, 1, true).await;
        assert_eq!(client.go_away().await.1, 0);
    });
}

#[test]
fn a_stream_is_reset_before_and_after_the_application_has_it() {
    simulate(async || {
        let reset = Act::Reset { code: Code::Refused };
        let directives = [directive(Moment::Read, reset)];
        let scene = uploads(&[request(0), upload(1, 10)], &directives);
        let mut client = scene.client().await;
        client.request(1, 0, true).await;
        assert_eq!(reset_code(&frames(&mut client).await, 1), Some(7));
        assert!(scene.hub.ledger.executions().is_empty());
        client.request(3, 1, false).await;
        settle().await;
        scene.order_stream(2, Act::Reset { code: Code::Refused });
        assert_eq!(reset_code(&frames(&mut client).await, 3), Some(7));
        assert!(scene.execution().disowned);
        assert_eq!(scene.faults(), [""; 0]);
    });
}

#[test]
fn an_order_at_the_moment_of_the_head_comes_before_the_body() {
    simulate(async || {
        let directives = [directive(Moment::Answered, Act::Reset { code: Code::Internal })];
        let scene = uploads(&[request(0)], &directives);
        let mut client = scene.client().await;
        client.request(1, 0, true).await;
        let frames = frames(&mut client).await;
        assert_eq!((statuses(&frames, 1), reset_code(&frames, 1)), (vec![200], Some(2)));
        assert!(!ended(&frames, 1));
        assert!(scene.execution().answer.is_some_and(|answer| answer.ended.is_none()));
    });
}

#[test]
fn an_early_answer_and_an_expectation() {
    simulate(async || {
        let early = |id| RequestPlan { early_response: true, ..upload(id, 10) };
        let plans: Vec<RequestPlan> = (0..16).map(early).collect();
        let scene = uploads(&plans, &[]);
        let mut client = scene.client().await;
        let (mut resets, mut reads_on) = (0, 0);
        for id in 0..16 {
            let stream = 2 * id + 1;
            client.request(stream, id, false).await;
            let frames = frames(&mut client).await;
            assert!(ended(&frames, stream));
            client.body(stream, id, 0, 10, true).await;
            settle().await;
            let record = scene.hub.ledger.executions().remove(id as usize);
            assert!(record.answer.is_some_and(|answer| answer.ended.is_some()));
            match reset_code(&frames, stream) {
                Some(code) => {
                    assert_eq!((code, record.body.length), (0, 0));
                    resets += 1;
                }
                None => {
                    assert_eq!(record.body, Seen { length: 10, wrong_at: None });
                    reads_on += 1;
                }
            }
        }
        assert!(resets > 2 && reads_on > 2, "{resets} and {reads_on}");
        assert_eq!(scene.faults(), [""; 0]);
    });
    simulate(async || {
        let scene = uploads(&[upload(0, 5)], &[]);
        let mut client = scene.client().await;
        let fields = head("POST", &path(0)).with("expect", "100-continue");
        client.writer.headers(1, &fields, false);
        client.flush().await;
        assert_eq!(statuses(&frames(&mut client).await, 1), [100]);
        client.body(1, 0, 0, 5, true).await;
        assert_eq!(statuses(&frames(&mut client).await, 1), [200]);
        let answer = scene.execution().answer.expect("an answer");
        assert_eq!((answer.status, answer.ended.is_some()), (200, true));
    });
}

#[test]
fn what_waits_goes_on_when_faults_stop() {
    simulate(async || {
        let scene = uploads(&[upload(0, 10), request(1), request(2)], &[]);
        let mut client = scene.client().await;
        scene.order_stream(1, Act::StarveUpload { for_us: None });
        scene.order_stream(2, Act::NeverFinish);
        scene.order_stream(3, Act::Status { status: 503 });
        client.request(1, 0, false).await;
        client.body(1, 0, 0, 10, true).await;
        client.request(3, 1, true).await;
        client.request(5, 2, true).await;
        let frames = client.frames_in(SECOND * 100).await;
        assert_eq!(scene.hub.ledger.executions()[0].body.length, 0);
        assert!(!ended(&frames, 1) && !ended(&frames, 3));
        assert_eq!(statuses(&frames, 5), [503]);
        scene.backend.heal(Health::Well);
        let frames = client.frames().await;
        assert!(ended(&frames, 1) && ended(&frames, 3));
    });
}

#[test]
fn a_starved_upload_and_stopped_reading_end_in_time() {
    simulate(async || {
        let scene = uploads(&[upload(0, 10), request(1)], &[]);
        let mut client = scene.client().await;
        scene.order_stream(1, Act::StarveUpload { for_us: Some(1_000_000) });
        client.request(1, 0, false).await;
        client.body(1, 0, 0, 10, true).await;
        assert!(!ended(&client.frames_in(SECOND * 9 / 10).await, 1));
        assert!(ended(&client.frames_in(SECOND / 5).await, 1));
        scene.order(Act::StopReading { for_us: Some(1_000_000) });
        settle().await;
        client.request(3, 1, true).await;
        let _ = client.frames_in(SECOND * 9 / 10).await;
        assert_eq!(scene.hub.ledger.executions().len(), 1);
        assert!(ended(&client.frames_in(SECOND / 5).await, 3));
    });
}

#[test]
fn breaks_restarts_and_switches() {
    simulate(async || {
        let scene = scene(|backend| backend.work = span(1_000_000));
        let mut client = scene.client().await;
        client.request(1, 0, true).await;
        settle().await;
        scene.backend.switch_to_http1();
        assert_eq!(reset_code(&frames(&mut client).await, 1), Some(0xd));
        scene.backend.restart(true, 10_000_000);
        assert_eq!(client.go_away().await.1, 0);
        scene.backend.break_all();
        let rest = client.frames().await;
        assert!(rest.iter().all(|frame| matches!(frame, Frame::Ping(_))), "{rest:?}");
        assert_eq!((scene.resets(), scene.backend.connections()), (1, 0));
        drop(client);
        settle().await;
        assert_eq!(waiting(), 1, "the end of the restart");
    });
}

#[test]
fn what_the_library_finds_wrong_is_a_fault() {
    simulate(async || {
        let scene = scene(|_| {});
        let mut client = scene.client().await;
        client.writer.headers(1, &head("GET", "/r0").with("connection", "close"), true);
        client.flush().await;
        assert_eq!(reset_code(&frames(&mut client).await, 1), Some(error::PROTOCOL_ERROR));
        assert_eq!(scene.faults().len(), 1);
        assert!(scene.faults()[0].contains("h2 resets stream 1"), "{:?}", scene.faults());
        client.writer.data(3, b"x", true);
        client.flush().await;
        assert_eq!(client.go_away().await.1, error::PROTOCOL_ERROR);
        settle().await;
        assert_eq!(scene.faults().len(), 2);
        assert!(scene.faults()[1].contains("h2 ends the connection"), "{:?}", scene.faults());
    });
}
