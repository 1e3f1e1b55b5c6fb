//! Draining: GOAWAY in every form, maximum age and requests, idle connections, shutdown.

use super::*;

const GRACEFUL: u32 = (1 << 31) - 1;

/// Returns a connection with `count` open streams, and their tokens in order of identifiers.
fn busy(world: &mut World, count: usize) -> (ConnectionToken, Vec<StreamToken>) {
    for _ in 0..count {
        world.post();
    }
    let connection = world.connect_one(4);
    let streams: Vec<_> = world.opens().iter().map(|(stream, _)| *stream).collect();
    assert_eq!(streams.len(), count);
    for stream in &streams {
        world.opened(*stream);
    }
    (connection, streams)
}

fn go_away(connection: ConnectionToken, last_stream_id: u32) -> Input {
    Input::GoAwayReceived { connection, last_stream_id, code: input::code::NO_ERROR }
}

#[test]
fn a_two_step_goaway_finishes_open_streams_and_opens_no_new_ones() {
    let mut world = World::new(config(1));
    let (connection, streams) = busy(&mut world, 3);
    world.done(go_away(connection, GRACEFUL));
    world.get();
    assert!(world.opens().is_empty());
    let next = world.connect_one(4);
    assert_ne!(next, connection, "a successor is dialled at once");
    world.done(go_away(connection, 5));
    for stream in streams {
        world.answer(stream);
    }
    assert_eq!(world.closes(), [(connection, CloseReason::Drained)]);
    let completed = world.outcomes.values().filter(|end| end.0 == Outcome::Completed);
    assert_eq!(completed.count(), 3);
}

#[test]
fn streams_above_the_last_id_are_retried_for_any_method_and_others_continue() {
    for (last, retried) in [(0, 4), (1, 3), (3, 2), (5, 1), (7, 0), (9, 0), (GRACEFUL, 0)] {
        let mut world = World::new(config(1));
        let (connection, streams) = busy(&mut world, 4);
        world.done(go_away(connection, last));
        assert_eq!(world.pool.stats().retrying, retried, "last id {last}");
        for stream in &streams[..4 - retried as usize] {
            world.answer(*stream);
        }
        world.pass(MILLISECOND * 150);
        if retried > 0 {
            world.connect_one(4);
        }
        for (stream, _) in world.opens() {
            world.opened(stream);
            world.answer(stream);
        }
        let completed = world.outcomes.values().filter(|end| end.0 == Outcome::Completed);
        assert_eq!(completed.count(), 4, "last id {last}");
    }
}

#[test]
fn a_repeated_goaway_may_lower_the_last_id_but_not_raise_it() {
    let mut world = World::new(config(1));
    let (connection, _streams) = busy(&mut world, 4);
    world.done(go_away(connection, 5));
    assert_eq!(world.pool.stats().retrying, 1);
    world.done(go_away(connection, GRACEFUL));
    assert_eq!(world.pool.stats().retrying, 1);
    world.done(go_away(connection, 3));
    assert_eq!(world.pool.stats().retrying, 2);
    world.done(go_away(connection, 3));
    assert_eq!(world.pool.stats().retrying, 2);
}

#[test]
fn an_order_that_crosses_a_goaway_is_unprocessed() {
    let mut world = World::new(config(1));
    let request = world.post();
    let connection = world.connect_one(4);
    let (stream, _) = world.opens()[0];
    world.done(go_away(connection, 0));
    assert_eq!(world.pool.stats().retrying, 0, "not yet opened, so its identifier is not known");
    world.done(Input::StreamOpened { stream, stream_id: 1 });
    assert_eq!(world.resets(), [(stream, input::code::CANCEL)]);
    assert_eq!(world.pool.stats().retrying, 1);
    world.pass(MILLISECOND * 150);
    world.connect_one(4);
    let again = world.open_one();
    world.answer(again);
    let end = (Outcome::Completed, 2, None);
    assert_eq!(world.outcomes[&request], end);
}

#[test]
fn a_goaway_during_the_handshake_ends_the_dial_and_backs_off() {
    let mut world = World::new(config(1));
    world.get();
    let connection = world.dials()[0];
    world.done(go_away(connection, 0));
    assert_eq!(world.closes(), [(connection, CloseReason::Drained)]);
    assert!(world.dials().is_empty());
    world.pass(MILLISECOND * 120);
    world.connect_one(4);
    assert_eq!(world.opens().len(), 1);
}

#[test]
fn a_hundred_unprocessed_streams_are_retried_regardless_of_the_budget() {
    let mut config = config(2);
    config.limits =
        Limits { streams_per_connection: 100, requests: 200, waiting: 100, ..config.limits };
    let mut world = World::new(config);
    for _ in 0..100 {
        world.post();
    }
    let dials = world.dials();
    world.connected(dials[0], 100);
    let streams = world.opens();
    for (stream, _) in &streams {
        world.opened(*stream);
    }
    world.done(go_away(dials[0], 0));
    assert!(world.outcomes.is_empty(), "the restart of a backend fails no request");
    assert_eq!(world.pool.stats().retrying, 100);
}

#[test]
fn a_draining_connection_ends_at_its_deadline_and_does_not_block_its_successors() {
    let mut world = World::new(config(1));
    let (connection, streams) = busy(&mut world, 2);
    for stream in &streams {
        world.done(Input::ResponseStarted { stream: *stream, status: 200 });
    }
    world.done(go_away(connection, GRACEFUL));
    for _ in 0..8 {
        world.get();
    }
    assert_eq!(world.dials().len(), 2, "both connections of the limit, besides the draining one");
    world.pass(SECOND * 30);
    assert!(world.closes().contains(&(connection, CloseReason::DrainDeadline)));
    let cut = world.outcomes.values().filter(|end| end.0 == Outcome::CutShort);
    assert_eq!(cut.count(), 2);
}

#[test]
fn max_age_drains_with_jitter() {
    let mut config = config(1);
    config.timeouts.idle = SECOND * 36_000;
    config.timeouts.max_age = SECOND * 1_000;
    let mut ages = Vec::new();
    let mut world = World::new(config);
    for _ in 0..10 {
        world.get();
        world.connect_one(4);
        let stream = world.open_one();
        world.answer(stream);
        let born = world.now;
        while world.closes().is_empty() {
            world.pass(SECOND);
        }
        ages.push(world.now.since(born));
    }
    assert!(ages.iter().all(|age| (SECOND * 900..=SECOND * 1_101).contains(age)), "{ages:?}");
    let spread = *ages.iter().max().expect("ten") - *ages.iter().min().expect("ten");
    assert!(spread > SECOND * 20, "not all at once: {ages:?}");
}

#[test]
fn a_connection_drains_after_its_last_request() {
    let mut config = config(1);
    config.max_requests_per_connection = Some(3);
    let mut world = World::new(config);
    for _ in 0..3 {
        world.get();
    }
    let connection = world.connect_one(4);
    let streams = world.opens();
    world.get();
    assert_eq!(world.dials().len(), 1, "the fourth needs another connection");
    for (stream, _) in streams {
        world.opened(stream);
        world.answer(stream);
    }
    assert_eq!(world.closes(), [(connection, CloseReason::Drained)]);
}

#[test]
fn an_idle_connection_is_closed_and_frames_do_not_keep_it_open() {
    let mut world = World::new(config(1));
    world.get();
    let connection = world.connect_one(4);
    let stream = world.open_one();
    world.answer(stream);
    for _ in 0..59 {
        world.pass(SECOND);
        world.done(Input::FrameReceived { connection, carries_message: false });
    }
    assert!(world.closes().is_empty());
    world.pass(SECOND);
    assert_eq!(world.closes(), [(connection, CloseReason::Idle)]);
    assert!(world.pool.is_empty());
}

#[test]
fn shutdown_finishes_accepted_requests_and_closes_all_connections() {
    let mut world = World::new(config(1));
    let (connection, streams) = busy(&mut world, 2);
    world.done(SHUTDOWN);
    assert_eq!(world.tell(SHUTDOWN), Handled::Refused);
    let late = world.get();
    world.answer(streams[0]);
    world.answer(streams[1]);
    assert!(world.closes().is_empty(), "the late request is still to be served");
    let stream = world.open_one();
    world.answer(stream);
    assert_eq!(world.outcome(late), Some(Outcome::Completed));
    assert_eq!(world.closes(), [(connection, CloseReason::Shutdown)]);
    assert!(world.pool.is_empty());
}

#[test]
fn a_replaced_pool_has_as_long_as_a_draining_connection() {
    let mut config = config(1);
    config.timeouts.response_stall = SECOND * 6000;
    let drain = config.timeouts.drain;
    let replaced = Input::ShutdownRequested { cause: ShutdownCause::PoolReplaced };
    for ends_sooner in [false, true] {
        let mut world = World::new(config.clone());
        let (connection, streams) = busy(&mut world, 1);
        world.done(Input::ResponseStarted { stream: streams[0], status: 200 });
        assert_eq!(world.pool.shutdown_deadline(), None);
        world.done(replaced);
        assert_eq!(world.tell(replaced), Handled::Refused);
        let mut left = drain * limits::DRAIN_EXTENSIONS_MAX;
        if ends_sooner {
            world.done(SHUTDOWN);
            left = drain;
            assert_eq!(world.tell(SHUTDOWN), Handled::Refused);
            assert_eq!(
                world.tell(replaced),
                Handled::Refused,
                "the deadline can only move forward"
            );
        }
        assert_eq!(world.pool.shutdown_deadline(), Some(world.now.after(left)));
        for _ in 1..left.as_secs() {
            world.pass(SECOND);
            world.done(Input::FrameReceived { connection, carries_message: false });
        }
        assert!(world.outcomes.is_empty(), "{:?}", world.outcomes);
        world.pass(SECOND);
        let outcomes: Vec<_> = world.outcomes.values().map(|end| end.0).collect();
        assert_eq!(outcomes, [Outcome::CutShort]);
        assert!(world.pool.is_empty());
    }
}

#[test]
fn shutdown_ends_everything_at_its_deadline() {
    let mut config = config(1);
    config.timeouts.queue = SECOND * 60;
    let mut world = World::new(config);
    let (_connection, streams) = busy(&mut world, 2);
    world.done(Input::ResponseStarted { stream: streams[0], status: 200 });
    world.done(SHUTDOWN);
    world.pass(SECOND * 30);
    let outcomes: Vec<_> = world.outcomes.values().map(|end| end.0).collect();
    assert!(outcomes.contains(&Outcome::CutShort));
    assert_eq!(outcomes.len(), 2);
    assert!(world.pool.is_empty());
    let refused = world.tell(Input::RequestArrived { idempotent: true, has_body: false });
    assert_eq!(refused, Handled::Rejected(Rejection::ShuttingDown));
}
