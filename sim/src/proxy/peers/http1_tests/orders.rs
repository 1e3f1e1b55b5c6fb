use super::*;
use crate::plan::{Code, Framing, LastId};
use std::time::Duration;
use tokio::time::sleep;

fn at_request(request: u32, moment: Moment) -> When {
    When::Request { request, moment }
}

#[test]
fn a_client_cancels_at_any_moment() {
    let moments = [Moment::Arrived, Moment::HalfSent, Moment::Sent, Moment::Read, Moment::Answered];
    for moment in moments {
        for when in [at_request(2, moment), at_stream(1, moment)] {
            if when == at_stream(1, Moment::Arrived) {
                continue;
            }
            let mut plan = plan(vec![upload(2), RequestPlan { at_us: 500_000, ..request(3) }]);
            // The backend reports that it has begun to answer before the head arrives.
            let after_us = if moment == Moment::Answered { 1_000 } else { 0 };
            plan.directives = vec![directive(when, after_us, Act::Cancel)];
            let ran = run(plan);
            assert_eq!(ran.received(2).end, End::Cancelled, "{when:?}");
            assert_eq!(ran.hub.injected().len(), 1, "{when:?}");
            for execution in ran.executions(2) {
                assert!(execution.answer.is_none_or(|answer| answer.ended.is_none()), "{when:?}");
            }
            let began = ran.received(2).status.is_some();
            assert_eq!(began, moment == Moment::Answered, "{when:?}");
            ran.check_complete(3);
            ran.check_no_faults();
        }
    }
}

#[test]
fn a_cancel_after_the_end_is_ignored() {
    let mut plan = plan(vec![request(2)]);
    plan.directives = vec![directive(at_stream(1, Moment::Ended), 5_000, Act::Cancel)];
    run(plan).check_complete(2);
}

#[test]
fn a_client_stops_reading_for_a_while_or_until_faults_stop() {
    for (for_us, until) in [(Some(2_000_000), 2_000), (None, 7_000), (Some(60_000_000), 7_000)] {
        let mut plan = plan(vec![request(2)]);
        let stop = Act::ClientStopsReading { for_us };
        plan.directives = vec![directive(at_request(2, Moment::Read), 0, stop)];
        let ran = run_beside(plan, 20, |hub, _| async move {
            sleep(Duration::from_secs(7)).await;
            hub.heal();
        });
        ran.check_complete(2);
        let at = ran.received(2).at / MILLISECOND;
        assert!((until..until + 150).contains(&at), "{at}");
    }
}

#[test]
fn a_broken_connection_cuts_every_answer_visibly_short() {
    for framing in [Framing::Length, Framing::Chunked, Framing::Close] {
        for act in [Act::Break, Act::Reset { code: Code::Cancel }] {
            let mut sent = request(2);
            sent.wire.framing = framing;
            let mut plan = plan(vec![sent]);
            plan.directives = vec![directive(at_stream(1, Moment::Answered), 60_000, act)];
            let ran = run(plan);
            assert_eq!(ran.received(2).end, End::Broken);
            let answer = ran.execution(2).answer.expect("its head was written");
            assert!(answer.ended.is_none() && answer.length == 60, "{answer:?}");
            assert_eq!(ran.received(2).body.length, 60);
        }
    }
}

#[test]
fn a_break_before_the_answer_leaves_the_first_request_broken() {
    let mut plan = plan(vec![upload(2)]);
    plan.directives = vec![directive(at_request(2, Moment::Sent), 0, Act::Break)];
    let ran = run(plan);
    assert_eq!((ran.received(2).end, ran.received(2).status), (End::Broken, None));
    assert!(ran.execution(2).body_ended && ran.execution(2).answer.is_none());
}

#[test]
fn an_answer_does_not_finish_until_faults_stop() {
    for moment in [Moment::Read, Moment::Answered] {
        let mut plan = plan(vec![request(2)]);
        plan.directives = vec![directive(at_stream(1, moment), 0, Act::NeverFinish)];
        let ran = run_beside(plan, 1 << 16, |hub, _| async move {
            sleep(Duration::from_secs(9)).await;
            let begun = hub.ledger.executions()[0].answer;
            assert_eq!(begun.is_some(), moment == Moment::Answered);
            assert!(begun.is_none_or(|answer| answer.ended.is_none()));
            hub.heal();
        });
        ran.check_complete(2);
        assert!(ran.received(2).at >= 9_000 * MILLISECOND);
    }
}

#[test]
fn an_answer_has_the_ordered_status_and_what_its_status_allows() {
    for (status, length) in [(503, 100), (204, 0), (205, 0), (304, 0), (404, 100)] {
        for framing in [Framing::Length, Framing::Chunked, Framing::Close] {
            let mut sent = upload(2);
            sent.wire.framing = framing;
            let mut plan = plan(vec![sent, RequestPlan { at_us: 500_000, ..request(3) }]);
            plan.directives =
                vec![directive(at_stream(1, Moment::Read), 0, Act::Status { status })];
            let ran = run(plan);
            ran.check_complete(2);
            ran.check_complete(3);
            ran.check_no_faults();
            assert_eq!(ran.received(2).status, Some(status));
            assert_eq!(ran.received(2).body.length, length);
            let kept = framing != Framing::Close;
            assert_eq!(ran.execution(3).connection, if kept { 1 } else { 2 });
        }
    }
}

#[test]
fn an_order_that_is_there_before_its_stream_applies_to_it() {
    let mut plan = plan(vec![request(2), RequestPlan { at_us: 500_000, ..request(3) }]);
    let when = at_stream(2, Moment::Written);
    plan.directives = vec![
        directive(when, 0, Act::Status { status: 503 }),
        directive(when, 0, Act::Reset { code: Code::Cancel }),
    ];
    let ran = run_beside(plan, 1 << 16, |hub, _| async move {
        sleep(Duration::from_millis(400)).await;
        hub.reached(when, crate::proxy::hub::Target::Stream(0, 1, 2));
    });
    ran.check_complete(3);
    assert_eq!([2, 3].map(|id| ran.received(id).status), [Some(200), Some(503)]);
}

#[test]
fn a_starved_upload_and_a_reader_that_stops_make_the_body_late() {
    for act in [
        Act::StarveUpload { for_us: Some(3_000_000) },
        Act::StopReading { for_us: Some(3_000_000) },
    ] {
        for moment in [Moment::Read, Moment::HalfSent] {
            let mut plan = plan(vec![upload(2)]);
            plan.directives = vec![directive(at_stream(1, moment), 0, act)];
            let ran = run(plan);
            ran.check_complete(2);
            assert_eq!(ran.execution(2).body.length, 100);
            assert!(ran.received(2).at >= 3_000 * MILLISECOND, "{act:?} at {moment:?}");
        }
    }
}

#[test]
fn goaway_closes_after_the_present_answer_or_at_once_if_idle() {
    let act = Act::GoAway { last: LastId::Read, code: Code::NoError };
    for moment in [Moment::Read, Moment::Answered, Moment::Ended] {
        let mut plan = plan(vec![request(2), RequestPlan { at_us: 500_000, ..request(3) }]);
        plan.directives = vec![directive(at_stream(1, moment), 0, act)];
        let ran = run(plan);
        ran.check_complete(2);
        ran.check_complete(3);
        assert_eq!(ran.execution(3).connection, 2, "{moment:?}");
        ran.check_no_faults();
    }
}

#[test]
fn a_restart_breaks_connections_or_closes_them() {
    for graceful in [false, true] {
        let requests = vec![request(2), RequestPlan { at_us: 1_500_000, ..request(3) }];
        let ran = run_beside(plan(requests), 1 << 16, |_, backend| async move {
            sleep(Duration::from_millis(50)).await;
            backend.restart(graceful, 1_000_000);
        });
        if graceful {
            ran.check_complete(2);
        } else {
            assert_eq!(ran.received(2).end, End::Broken);
        }
        ran.check_complete(3);
        assert_eq!(ran.execution(3).connection, 2);
    }
}

#[test]
fn a_graceful_restart_breaks_what_is_left_at_half_of_its_time() {
    let mut plan = plan(vec![request(2)]);
    plan.directives = vec![directive(at_stream(1, Moment::Answered), 0, Act::NeverFinish)];
    let ran = run_beside(plan, 1 << 16, |_, backend| async move {
        sleep(Duration::from_millis(50)).await;
        backend.restart(true, 1_000_000);
    });
    assert_eq!(ran.received(2).end, End::Broken);
    let at = ran.received(2).at / MILLISECOND;
    assert!((550..560).contains(&at), "{at}");
}

#[test]
fn no_restart_breaks_connections_after_faults_have_stopped() {
    let ran = run_beside(plan(vec![upload(2)]), 1 << 16, |hub, backend| async move {
        sleep(Duration::from_millis(50)).await;
        backend.restart(true, 100_000);
        hub.heal();
        backend.heal();
    });
    ran.check_complete(2);
}

#[test]
fn an_order_for_the_other_side_finds_its_way_and_takes_effect_once() {
    // Both sides report these moments; the process gets its order once.
    let mut plan = plan(vec![upload(2)]);
    plan.directives = vec![
        directive(at_request(2, Moment::HalfSent), 0, Act::Shutdown),
        directive(at_request(2, Moment::Sent), 0, Act::ClientStopsReading { for_us: Some(1) }),
        directive(at_request(2, Moment::Arrived), 20_000, Act::Status { status: 404 }),
    ];
    let ran = run(plan);
    assert_eq!(ran.received(2).status, Some(404));
    let mut indices: Vec<usize> = ran.hub.injected().iter().map(|(_, index)| *index).collect();
    indices.sort_unstable();
    assert_eq!(indices, [0, 1, 2]);
}
