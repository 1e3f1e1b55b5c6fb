//! Requests and answers without faults.

use std::time::Duration;

use crate::plan::{Act, Moment, Plan, RequestPlan};
use crate::proxy::content::Seen;
use crate::proxy::exact::waiting;
use crate::proxy::ledger::path;
use crate::proxy::peers::frames::{Fields, Frame, setting};
use crate::proxy::peers::test_support::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_h2_library_reads_every_form_of_answer() {
    simulate(async || check_every_form(window(0)).await);
}

#[test]
fn an_upload_of_the_h2_library_passes_a_small_window() {
    simulate(async || check_uploads(window(1_000)).await);
}

#[test]
fn the_windows_of_the_client_are_obeyed() {
    simulate(async || {
        let mut plan = request(0);
        plan.wire.answer_bytes = 100;
        let scene = Scene::requests(&[plan]);
        let mut client = scene.client().await;
        client.writer.settings(&[(setting::INITIAL_WINDOW_SIZE, 10)]);
        client.request(1, 0, true).await;
        let frames = client.frames().await;
        assert_eq!(body(&frames, 1).0.len(), 10);
        client.writer.window_update(1, 60);
        client.flush().await;
        assert_eq!(body(&client.frames().await, 1).0.len(), 60);
        assert_eq!(scene.execution().answer.map(|answer| answer.length), Some(70));
        client.writer.settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]);
        client.writer.window_update(1, 10);
        client.flush().await;
        assert_eq!(body(&client.frames().await, 1).0.len(), 0);
        client.writer.settings(&[(setting::INITIAL_WINDOW_SIZE, 1_000)]);
        client.flush().await;
        let frames = client.frames().await;
        assert_eq!(body(&frames, 1).0.len(), 30);
        assert!(ended(&frames, 1));
        assert!(scene.execution().answer.is_some_and(|answer| answer.ended.is_some()));
    });
}

#[test]
fn room_in_the_windows_is_granted_as_the_body_is_read() {
    simulate(async || {
        let mut plan = Plan { requests: vec![upload(0, 40_000)], ..plan() };
        plan.backends[0].wire = window(10_000);
        let scene = Scene::new(plan);
        let mut client = scene.client().await;
        client.request(1, 0, false).await;
        client.body(1, 0, 0, 4_999, false).await;
        assert_eq!(client.frames().await, []);
        client.body(1, 0, 4_999, 1, false).await;
        assert_eq!(client.frames().await, [Frame::WindowUpdate { stream: 1, by: 5_000 }]);
        for piece in 1..8 {
            client.body(1, 0, piece * 5_000, 5_000, piece == 7).await;
        }
        let frames = client.frames().await;
        let connection: u32 = frames.iter().map(grant_of_the_connection).sum();
        assert_eq!(connection, 35_000);
        assert_eq!(scene.execution().body, Seen { length: 40_000, wrong_at: None });
        assert_eq!(scene.faults(), [""; 0]);
    });
}

fn grant_of_the_connection(frame: &Frame) -> u32 {
    match frame {
        Frame::WindowUpdate { stream: 0, by } => *by,
        _ => 0,
    }
}

#[test]
fn a_wide_window_also_widens_the_connection() {
    simulate(async || {
        let scene = Scene::with(|backend| backend.wire = window(100_000));
        let mut client = Client::new(scene.connect(1 << 20));
        client.writer.preface();
        client.writer.settings(&[]);
        client.flush().await;
        let settings = client.expect_settings().await;
        assert_eq!(settings, [(setting::INITIAL_WINDOW_SIZE, 100_000)]);
        assert_eq!(client.next().await, Some(Frame::WindowUpdate { stream: 0, by: 34_465 }));
    });
}

#[test]
fn late_settings_hold_everything_else_back() {
    simulate(async || {
        let scene = Scene::with(|backend| {
            backend.settings_late_us = Some(1_000_000);
            backend.max_streams = Some(3);
        });
        let mut client = Client::new(scene.connect(1 << 20));
        client.writer.preface();
        client.writer.settings(&[]);
        client.request(1, 0, true).await;
        assert_eq!(client.frames_in(SECOND * 9 / 10).await, []);
        let record = scene.execution();
        assert!(record.body_ended && record.answer.is_none());
        assert_eq!(client.expect_settings().await, [(setting::MAX_CONCURRENT_STREAMS, 3)]);
        assert_eq!(client.next().await, Some(Frame::SettingsAck));
        assert_eq!(statuses(&client.frames().await, 1), [200]);
        assert_eq!(scene.faults(), [""; 0]);
    });
}

#[test]
fn work_and_body_take_their_time() {
    simulate(async || {
        let mut plan = Plan { requests: vec![request(0)], ..plan() };
        plan.requests[0].wire.piece_bytes = 5;
        plan.requests[0].informational = 2;
        plan.backends[0].work = span(1_000_000);
        plan.backends[0].body = span(1_000_000);
        let scene = Scene::new(plan);
        let mut client = scene.client().await;
        client.request(1, 0, true).await;
        assert_eq!(client.frames_in(SECOND * 9 / 10).await, []);
        let frames = client.frames_in(SECOND / 2).await;
        assert_eq!(statuses(&frames, 1), [103, 103, 200]);
        assert!(body(&frames, 1).0.len() <= 5 && !ended(&frames, 1));
        assert!(scene.execution().answer.expect("an answer").ended.is_none());
        let frames = client.frames_in(SECOND).await;
        assert!(ended(&frames, 1));
        assert!(scene.execution().answer.expect("an answer").ended.is_some());
    });
}

#[test]
fn an_early_answer_comes_before_the_end_of_the_request() {
    simulate(async || {
        let early = |id| RequestPlan { early_response: true, ..upload(id, 10) };
        let plans: Vec<RequestPlan> = (0..16).map(early).collect();
        let scene = Scene::requests(&plans);
        let mut client = scene.client().await;
        let (mut resets, mut reads_on) = (0, 0);
        for id in 0..16 {
            let stream = 2 * id + 1;
            client.request(stream, id, false).await;
            let frames = client.frames().await;
            assert_eq!(statuses(&frames, stream), [200]);
            assert!(ended(&frames, stream));
            client.body(stream, id, 0, 10, true).await;
            settle().await;
            let record = scene.hub.ledger.executions().remove(id as usize);
            assert!(record.answer.is_some_and(|answer| answer.ended.is_some()));
            if let Some(code) = reset_code(&frames, stream) {
                assert_eq!((code, record.body.length), (0, 0));
                resets += 1;
            } else {
                assert!(record.body_ended && record.body.length == 10);
                reads_on += 1;
            }
        }
        assert!(resets > 2 && reads_on > 2, "{resets} and {reads_on}");
        assert_eq!(scene.faults(), [""; 0]);
    });
}

#[test]
fn an_expectation_is_met_before_the_body() {
    simulate(async || {
        let scene = Scene::requests(&[upload(0, 5)]);
        let mut client = scene.client().await;
        let fields = head("POST", &path(0)).with("expect", "100-continue");
        client.writer.headers(1, &fields, false);
        client.flush().await;
        assert_eq!(statuses(&client.frames().await, 1), [100]);
        client.body(1, 0, 0, 5, true).await;
        assert_eq!(statuses(&client.frames().await, 1), [200]);
    });
}

#[test]
fn what_was_not_handed_to_the_network_is_not_recorded() {
    simulate(async || {
        let mut plan = request(0);
        plan.wire.answer_bytes = 30_000;
        let scene = Scene::requests(&[plan]);
        let mut client = Client::new(scene.connect(4_000));
        client.writer.preface();
        client.writer.settings(&[]);
        client.request(1, 0, true).await;
        settle().await;
        let answer = scene.execution().answer;
        assert!(
            answer.is_none_or(|answer| answer.length == 0 && answer.ended.is_none()),
            "{answer:?}"
        );
        let frames = client.frames().await;
        assert_eq!(body(&frames, 1).0.len(), 30_000);
        let answer = scene.execution().answer.expect("an answer");
        assert!(answer.ended.is_some() && answer.length == 30_000);
    });
}

#[test]
fn every_moment_is_reported() {
    simulate(async || {
        let moments =
            [Moment::Read, Moment::HalfSent, Moment::Sent, Moment::Answered, Moment::Ended];
        // An act without an effect.
        let directives = moments.map(|moment| directive(moment, Act::BreakAtPreface)).to_vec();
        let mut plan = Plan { requests: vec![upload(0, 100)], directives, ..plan() };
        plan.backends[0].work = span(10_000);
        plan.backends[0].body = span(10_000);
        let scene = Scene::new(plan);
        let mut client = scene.client().await;
        let reached = || scene.hub.injected().into_iter().map(|(_, index)| index);
        client.request(1, 0, false).await;
        settle().await;
        assert_eq!(reached().collect::<Vec<_>>(), [0]);
        client.body(1, 0, 0, 49, false).await;
        settle().await;
        assert_eq!(reached().count(), 1);
        client.body(1, 0, 49, 1, false).await;
        settle().await;
        assert_eq!(reached().collect::<Vec<_>>(), [0, 1]);
        client.body(1, 0, 50, 50, true).await;
        settle().await;
        assert_eq!(reached().collect::<Vec<_>>(), [0, 1, 2]);
        let _ = client.frames_in(Duration::from_millis(12)).await;
        assert_eq!(reached().collect::<Vec<_>>(), [0, 1, 2, 3]);
        let _ = client.frames_in(SECOND).await;
        assert_eq!(reached().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    });
}

#[test]
fn health_checks_are_answered_and_not_recorded() {
    simulate(async || {
        let scene = Scene::new(plan());
        let mut client = scene.client().await;
        let mut ask = async |stream, path: &str| {
            client.writer.headers(stream, &head("GET", path), true);
            client.flush().await;
            client.frames().await
        };
        assert_eq!(statuses(&ask(1, "/health").await, 1), [200]);
        scene.backend.override_health_checks(Some(false), 1_000_000);
        assert_eq!(statuses(&ask(3, "/health").await, 3), [503]);
        let grpc = "/grpc.health.v1.Health/Check";
        let frames = ask(5, grpc).await;
        assert_eq!(body(&frames, 5).0, [0, 0, 0, 0, 2, 8, 2]);
        let trailers = Fields::new().with("grpc-status", "0");
        assert!(frames.contains(&Frame::Headers { stream: 5, fields: trailers, end: true }));
        scene.backend.override_health_checks(None, 1_000_000);
        assert_eq!(ask(7, "/health").await, []);
        tokio::time::sleep(SECOND).await;
        assert_eq!(body(&ask(9, grpc).await, 9).0, [0, 0, 0, 0, 2, 8, 1]);
        assert!(scene.hub.ledger.executions().is_empty());
    });
}

#[test]
fn a_connection_that_its_client_closes_leaves_nothing() {
    simulate(async || {
        let scene = Scene::with(|backend| backend.work = span(1_000_000));
        let mut client = scene.client().await;
        client.request(1, 0, true).await;
        settle().await;
        assert_eq!((scene.backend.connections(), waiting()), (1, 1));
        drop(client);
        settle().await;
        assert_eq!(scene.backend.connections(), 0);
        assert_eq!(waiting(), 0, "the answer that was being worked on");
        assert!(scene.execution().answer.is_none());
    });
}
