//! Retries by evidence on a whole pool; the table itself is tested in `retry`.

use super::*;
use crate::pool::RetryConfig;
use crate::pool::input::code;

/// Returns a pool of two backends, and a request on its first attempt.
fn sent(idempotent: bool, has_body: bool) -> (World, RequestId, StreamToken) {
    let mut world = World::new(config(2));
    let request = world.arrive(idempotent, has_body);
    world.connect_one(4);
    let stream = world.open_one();
    (world, request, stream)
}

/// Returns true if a request with this failure is retried.
fn retried(idempotent: bool, failure: StreamFailure) -> bool {
    let (mut world, request, stream) = sent(idempotent, false);
    world.fail(stream, failure);
    match world.outcome(request) {
        None => true,
        Some(Outcome::Rejected(Rejection::AttemptFailed)) => false,
        Some(other) => panic!("unexpected outcome {other:?}"),
    }
}

#[test]
fn every_reset_code_before_a_response() {
    for code in 0..=0xe {
        let failure = StreamFailure::Reset { code };
        assert!(retried(true, failure), "idempotent, code {code}");
        assert_eq!(retried(false, failure), code == code::REFUSED_STREAM, "code {code}");
    }
}

#[test]
fn unsent_and_unprocessed_are_retried_for_any_method_and_unknown_is_not() {
    assert!(retried(false, StreamFailure::NotSent));
    assert!(retried(false, StreamFailure::Unprocessed));
    assert!(!retried(false, StreamFailure::ConnectionLost));
    assert!(!retried(false, StreamFailure::Malformed));
    assert!(retried(true, StreamFailure::ConnectionLost));
}

#[test]
fn every_reset_code_after_a_response_byte_cuts_short() {
    for code in 0..=0xe {
        let (mut world, request, stream) = sent(true, false);
        world.done(Input::ResponseStarted { stream, status: 200 });
        world.fail(stream, StreamFailure::Reset { code });
        let end = (Outcome::CutShort, 1, Some(Evidence::Responding));
        assert_eq!(world.outcomes[&request], end, "code {code}");
    }
}

#[test]
fn a_retry_goes_to_another_backend() {
    let (mut world, request, stream) = sent(false, false);
    world.fail(stream, StreamFailure::Reset { code: code::REFUSED_STREAM });
    let elsewhere = world.dials();
    assert_eq!(elsewhere.len(), 1, "another backend is dialled for it");
    assert_ne!(elsewhere[0].backend, stream.connection.backend);
    let again = world.open_one();
    assert_eq!(again.connection, stream.connection, "the only stream free at the moment");
    world.answer(again);
    let end = (Outcome::Completed, 2, None);
    assert_eq!(world.outcomes[&request], end);
}

#[test]
fn a_request_gets_at_most_three_attempts() {
    let (mut world, request, mut stream) = sent(true, false);
    for _ in 0..2 {
        world.fail(stream, StreamFailure::Reset { code: code::REFUSED_STREAM });
        world.connect_all();
        stream = world.open_one();
    }
    world.fail(stream, StreamFailure::Reset { code: code::REFUSED_STREAM });
    let outcome = Outcome::Rejected(Rejection::AttemptFailed);
    assert_eq!(world.outcomes[&request], (outcome, 3, Some(Evidence::Refused)));
    assert_eq!(Rejection::AttemptFailed.status(), 502);
}

#[test]
fn a_body_beyond_the_replay_buffer_is_not_retried() {
    let (mut world, request, stream) = sent(true, true);
    world.done(Input::ReplayBufferExceeded { request, stream });
    world.fail(stream, StreamFailure::Unprocessed);
    let outcome = Outcome::Rejected(Rejection::AttemptFailed);
    assert_eq!(world.outcomes[&request], (outcome, 1, Some(Evidence::Unprocessed)));
}

#[test]
fn a_body_that_outgrows_the_buffer_during_its_retry_ends_the_request() {
    let (mut world, request, stream) = sent(true, true);
    world.fail(stream, StreamFailure::Unprocessed);
    assert_eq!(world.outcome(request), None, "it is retried");
    // The upload of the first attempt went on meanwhile, so its buffered part is gone.
    world.done(Input::ReplayBufferExceeded { request, stream });
    let outcome = Outcome::Rejected(Rejection::AttemptFailed);
    assert_eq!(world.outcome(request), Some(outcome));
}

/// Thirty requests on one connection, whose backend refuses all of them.
fn thirty_refused(budget_percent: u32, budget_floor: u32) -> World {
    let mut config = config(1);
    config.limits.streams_per_connection = 30;
    config.limits.waiting = 30;
    config.limits.connections_per_backend = 1;
    config.retry = RetryConfig { budget_percent, budget_floor, ..config.retry };
    let mut world = World::new(config);
    for _ in 0..30 {
        world.get();
    }
    world.connect_one(30);
    for (stream, _) in world.opens() {
        world.opened(stream);
        world.fail(stream, StreamFailure::Reset { code: code::REFUSED_STREAM });
    }
    world
}

/// Returns the numbers of requests that wait for a place in the retry budget, and are on a retry.
fn retries(world: &World) -> (u32, u32) {
    let stats = world.pool.stats();
    (stats.deferred, stats.retrying)
}

#[test]
fn a_retry_waits_for_a_place_in_the_budget() {
    let mut world = thirty_refused(20, 10);
    for deferred in [20, 10, 0] {
        assert_eq!(retries(&world), (deferred, 10));
        let opened = world.opens();
        assert_eq!(opened.len(), 10, "as many as the floor of the budget at a time");
        for (stream, _) in opened {
            world.opened(stream);
            world.answer(stream);
        }
    }
    let completed = world.outcomes.values().filter(|end| end.0 == Outcome::Completed);
    assert_eq!(completed.count(), 30);
}

#[test]
fn a_response_that_begins_leaves_its_place_in_the_budget() {
    let mut world = thirty_refused(0, 1);
    let stream = world.open_one();
    world.done(Input::ResponseStarted { stream, status: 200 });
    assert_eq!(retries(&world), (28, 1));
    world.open_one();
}

#[test]
fn failures_count_at_once_if_their_retries_wait() {
    let mut config = config(2);
    config.retry = RetryConfig { budget_percent: 0, budget_floor: 1, ..config.retry };
    let mut world = World::new(config);
    for _ in 0..4 {
        world.get();
    }
    world.connect_one(4);
    let streams = world.opens();
    assert_eq!(streams.len(), 4);
    for (stream, _) in streams {
        world.opened(stream);
        world.fail(stream, StreamFailure::Reset { code: 0x2 });
    }
    // The first one has asked another backend; the other three wait.
    assert_eq!(world.pool.stats().counters.ejections, 1);
}

#[test]
fn a_request_that_fails_everywhere_counts_for_one_backend_also_if_it_has_to_wait() {
    let mut config = config(3);
    config.retry = RetryConfig { budget_percent: 0, budget_floor: 1, ..config.retry };
    config.health.failures = 1;
    let mut world = World::new(config);
    let (holder, poison) = (world.get(), world.get());
    world.connect_all();
    let streams = world.opens();
    let failure = StreamFailure::Reset { code: 0x2 };
    for request in [holder, poison] {
        let (stream, _) = streams.iter().find(|(_, of)| *of == request).expect("both are sent");
        world.opened(*stream);
        world.fail(*stream, failure);
    }
    assert_eq!(world.pool.stats().counters.ejections, 1, "the failure whose retry waits");
    world.done(Input::RequestCancelled { request: holder });
    world.connect_all();
    let again = world.opens();
    let (stream, _) = again.iter().find(|(_, of)| *of == poison).expect("it is tried again");
    world.opened(*stream);
    world.fail(*stream, failure);
    assert_eq!(world.pool.stats().counters.ejections, 1, "two backends fail it: it is to blame");
    assert_eq!(world.outcomes[&poison].1, 2, "it is not tried a third time");
}

#[test]
fn the_oldest_retry_gets_the_next_place() {
    let mut world = thirty_refused(0, 1);
    let first = world.open_one();
    world.answer(first);
    let (_, second) = world.opens()[0];
    assert_eq!(second.index, 1);
    world.done(Input::RequestCancelled { request: second });
    assert_eq!(world.opens()[0].1.index, 2, "a cancelled retry leaves its place");
}

#[test]
fn more_requests_make_room_for_a_retry_before_a_new_request() {
    let mut world = thirty_refused(10, 0);
    assert_eq!(retries(&world), (27, 3));
    let opened: Vec<_> = (0..10)
        .flat_map(|_| {
            world.get();
            world.opens()
        })
        .collect();
    assert_eq!(retries(&world), (26, 4));
    assert_eq!(opened[12].1.index, 3, "after three retries and nine new requests");
}

#[test]
fn a_retry_waits_for_its_place_until_the_response_is_due() {
    let mut world = thirty_refused(0, 1);
    let connection = world.open_one().connection;
    for _ in 0..29 {
        world.pass(SECOND);
        world.done(Input::FrameReceived { connection, carries_message: false });
    }
    assert_eq!(retries(&world), (29, 1));
    world.pass(SECOND * 2);
    let late = Outcome::Rejected(Rejection::ResponseDeadline);
    assert!(world.outcomes.values().all(|end| end.0 == late), "{:?}", world.outcomes);
    assert_eq!(world.outcomes.len(), 30);
}

#[test]
fn without_a_budget_nothing_waits_for_a_place() {
    let world = thirty_refused(0, 0);
    let failed = Outcome::Rejected(Rejection::AttemptFailed);
    assert_eq!(world.outcomes.values().filter(|end| end.0 == failed).count(), 30);
}

#[test]
fn streams_not_yet_written_when_the_connection_closed_are_retried() {
    let mut world = World::new(config(2));
    let requests: Vec<_> = (0..3).map(|_| world.post()).collect();
    let dials = world.dials();
    world.connected(dials[0], 4);
    let streams: Vec<_> = world.opens().iter().map(|(stream, _)| *stream).collect();
    world.opened(streams[0]);
    world.opened(streams[1]);
    world.done(Input::ConnectionClosed { connection: dials[0], sent_through: 1 });
    assert_eq!(world.pool.stats().retrying, 2, "identifier 3, and the one never opened");
    world.fail(streams[0], StreamFailure::ConnectionLost);
    let outcome = Outcome::Rejected(Rejection::AttemptFailed);
    assert_eq!(world.outcomes[&requests[0]], (outcome, 1, Some(Evidence::Unknown)));
    assert_eq!(world.pool.slot_state(dials[0].backend, 0), Some(SlotState::Empty));
}

#[test]
fn a_response_that_was_received_before_the_connection_closed_is_delivered() {
    let (mut world, request, stream) = sent(false, false);
    let connection = stream.connection;
    world.done(Input::ConnectionClosed { connection, sent_through: 1 });
    assert_eq!(world.outcome(request), None, "its owner may still hold the response");
    let again = Input::ConnectionClosed { connection, sent_through: 1 };
    assert_eq!(world.tell(again), Handled::Refused);
    world.done(Input::ResponseStarted { stream, status: 200 });
    world.done(Input::ResponseEnded { stream });
    assert_eq!(world.outcome(request), Some(Outcome::Completed));
    assert!(world.closes().is_empty(), "there is nothing left to close");
}

#[test]
fn a_lost_connection_whose_streams_never_report_ends_at_the_drain_deadline() {
    let (mut world, request, stream) = sent(false, false);
    let connection = stream.connection;
    world.done(Input::ResponseStarted { stream, status: 200 });
    world.done(Input::ConnectionClosed { connection, sent_through: 1 });
    world.pass(SECOND * 30);
    assert_eq!(world.outcome(request), Some(Outcome::CutShort));
    assert!(
        world.closes().iter().all(|(closed, _)| *closed != connection),
        "it was closed already"
    );
}

#[test]
fn a_connection_takes_no_streams_after_too_many_malformed_responses() {
    let mut world = World::new(config(1));
    for number in 1..=limits::MALFORMED_PER_CONNECTION_MAX {
        world.post();
        if number == 1 {
            world.connect_one(100);
        }
        let stream = world.open_one();
        world.done(Input::StreamFailed { stream, failure: StreamFailure::Malformed });
        let is_in_use = world.pool.is_current(stream.connection);
        assert_eq!(is_in_use, number < limits::MALFORMED_PER_CONNECTION_MAX, "after {number}");
    }
}
