//! The queue and its bounds, and the stream limits of peers.

use super::*;

#[test]
fn the_queue_is_bounded_and_its_deadline_ends_in_503() {
    let mut world = World::new(config(1));
    let waiting: Vec<_> = (0..12).map(|_| world.get()).collect();
    let refused = world.tell(Input::RequestArrived { idempotent: true, has_body: false });
    assert_eq!(refused, Handled::Rejected(Rejection::QueueFull));
    world.pass(SECOND * 3);
    for request in waiting {
        let outcome = world.outcome(request).expect("the deadline passed");
        assert_eq!(outcome, Outcome::Rejected(Rejection::QueueDeadline));
    }
    assert_eq!(Rejection::QueueDeadline.status(), 503);
}

#[test]
fn the_request_table_is_bounded() {
    let mut config = config(4);
    config.limits.requests = 5;
    config.limits.waiting = 5;
    let mut world = World::new(config);
    for _ in 0..5 {
        world.get();
        world.connect_all();
    }
    let refused = world.tell(Input::RequestArrived { idempotent: true, has_body: false });
    assert_eq!(refused, Handled::Rejected(Rejection::RequestsFull));
    let (stream, request) = world.opens()[0];
    world.opened(stream);
    world.answer(stream);
    assert_eq!(world.outcome(request), Some(Outcome::Completed));
    world.get();
}

#[test]
fn the_oldest_request_is_served_first() {
    let mut world = World::new(config(1));
    let requests: Vec<_> = (0..10).map(|_| world.get()).collect();
    for connection in world.dials() {
        world.connected(connection, 3);
    }
    let mut served = Vec::new();
    while served.len() < 10 {
        for (stream, request) in world.opens() {
            served.push(request);
            world.opened(stream);
            world.answer(stream);
        }
    }
    assert_eq!(served, requests);
}

#[test]
fn after_a_limit_falls_below_the_load_no_stream_opens_until_the_load_is_below_it() {
    let mut config = config(1);
    config.limits.connections_per_backend = 1;
    let mut world = World::new(config);
    for _ in 0..4 {
        world.get();
    }
    let connection = world.connect_one(4);
    let streams: Vec<_> = world.opens().iter().map(|(stream, _)| *stream).collect();
    assert_eq!(streams.len(), 4);
    world.done(Input::MaxStreamsChanged { connection, max_streams: 2 });
    assert_eq!(world.pool.slot_state(BackendId(0), 0), Some(SlotState::InUse));
    assert_eq!(world.pool.available_streams(BackendId(0)), 0);
    world.get();
    for stream in &streams[..2] {
        world.opened(*stream);
        world.answer(*stream);
        assert!(world.opens().is_empty(), "load 3 and 2 are not below the limit of 2");
    }
    world.opened(streams[2]);
    world.answer(streams[2]);
    assert_eq!(world.opens().len(), 1);
}

#[test]
fn a_limit_of_zero_stops_all_streams_and_raising_it_serves_at_once() {
    let mut config = config(1);
    config.limits.connections_per_backend = 1;
    let mut world = World::new(config);
    world.get();
    let connection = world.connect_one(0);
    assert!(world.opens().is_empty());
    world.get();
    world.done(Input::MaxStreamsChanged { connection, max_streams: u32::MAX });
    assert_eq!(world.opens().len(), 2);
    world.done(Input::MaxStreamsChanged { connection, max_streams: 0 });
    world.get();
    assert!(world.opens().is_empty());
    world.done(Input::MaxStreamsChanged { connection, max_streams: 3 });
    assert_eq!(world.opens().len(), 1);
}

#[test]
fn a_cancelled_stream_counts_until_its_reset_is_on_the_wire() {
    let mut config = config(1);
    config.limits.connections_per_backend = 1;
    let mut world = World::new(config);
    let request = world.get();
    world.connect_one(1);
    let stream = world.open_one();
    world.get();
    world.done(Input::RequestCancelled { request });
    assert_eq!(world.resets(), [(stream, input::code::CANCEL)]);
    assert!(world.opens().is_empty(), "the peer still counts the stream");
    world.done(Input::ResetSent { stream });
    assert_eq!(world.opens().len(), 1);
    assert_eq!(world.tell(Input::ResetSent { stream }), Handled::Stale);
}

#[test]
fn cancelling_before_the_stream_is_opened_makes_the_late_opening_stale() {
    let mut world = World::new(config(1));
    let request = world.post();
    world.connect_one(4);
    let (stream, _) = world.opens()[0];
    world.done(Input::RequestCancelled { request });
    assert_eq!(world.tell(Input::StreamOpened { stream, stream_id: 1 }), Handled::Stale);
    world.done(Input::ResetSent { stream });
    assert_eq!(world.pool.stats().slots.streams, 0);
}

#[test]
fn a_complete_response_before_the_end_of_the_request_is_success_and_stops_the_upload() {
    let mut world = World::new(config(1));
    let request = world.post();
    world.connect_one(4);
    let stream = world.open_one();
    world.done(Input::ResponseStarted { stream, status: 413 });
    world.done(Input::ResponseEnded { stream });
    assert_eq!(world.outcome(request), Some(Outcome::Completed));
    assert_eq!(world.resets(), [(stream, input::code::NO_ERROR)]);
    assert_eq!(world.pool.stats().slots.streams, 1);
    world.done(Input::ResetSent { stream });
    assert_eq!(world.pool.stats().slots.streams, 0);
}

#[test]
fn the_response_head_has_a_deadline_that_starts_when_the_request_is_sent() {
    let mut world = World::new(config(1));
    let request = world.post();
    let connection = world.connect_one(4);
    let stream = world.open_one();
    for _ in 0..40 {
        world.pass(SECOND);
        world.done(Input::FrameReceived { connection, carries_message: false });
    }
    assert_eq!(world.outcome(request), None, "a slow upload has no deadline");
    world.done(Input::RequestSent { stream });
    for _ in 0..30 {
        world.pass(SECOND);
        world.done(Input::FrameReceived { connection, carries_message: false });
    }
    let outcome = Outcome::Rejected(Rejection::ResponseDeadline);
    assert_eq!(world.outcomes[&request], (outcome, 1, Some(Evidence::Unknown)));
    assert_eq!(world.resets(), [(stream, input::code::CANCEL)]);
    assert_eq!(Rejection::ResponseDeadline.status(), 504);
}
