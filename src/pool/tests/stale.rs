//! Connections that are dead when they are used after being idle.

use super::*;

/// A pool with this many idle HTTP/1.1 connections to each backend.
fn idle(backends: usize, connections: usize) -> (World, Vec<ConnectionToken>) {
    let mut config = config(backends);
    config.limits.connections_per_backend = 8;
    for backend in &mut config.backends {
        backend.exclusive = true;
    }
    let mut world = World::new(config);
    for _ in 0..backends * connections {
        world.get();
    }
    let dials = world.dials();
    for connection in &dials {
        let protocol = Protocol::Http1;
        let max_streams = None;
        world.done(Input::Connected { connection: *connection, protocol, max_streams });
    }
    let streams = world.opens();
    assert_eq!((dials.len(), streams.len()), (backends * connections, backends * connections));
    for (stream, _) in streams {
        world.opened(stream);
        world.answer(stream);
    }
    (world, dials)
}

/// The connection of a stream turns out to be dead.
fn lose(world: &mut World, stream: StreamToken) {
    let connection = stream.connection;
    world.done(Input::ConnectionClosed { connection, sent_through: u32::MAX });
    world.fail(stream, StreamFailure::ConnectionLost);
}

fn ejections(world: &World) -> u64 {
    world.pool.stats().counters.ejections
}

#[test]
fn a_dead_idle_connection_takes_its_siblings_with_it_and_the_retry_is_dialled() {
    let (mut world, _) = idle(1, 6);
    world.pass(20 * SECOND);
    let request = world.get();
    let stream = world.open_one();
    lose(&mut world, stream);
    let closed = world.closes();
    assert_eq!(closed.len(), 5);
    assert!(closed.iter().all(|(_, reason)| *reason == CloseReason::Stale));
    world.connect_one(4);
    let stream = world.open_one();
    world.answer(stream);
    assert_eq!(world.outcomes[&request], (Outcome::Completed, 2, None));
    assert_eq!(ejections(&world), 0);
}

#[test]
fn dead_idle_connections_never_eject_a_backend() {
    let (mut world, _) = idle(1, 6);
    world.pass(20 * SECOND);
    let requests: Vec<_> = (0..6).map(|_| world.get()).collect();
    for (stream, _) in world.opens() {
        world.opened(stream);
        lose(&mut world, stream);
    }
    for connection in world.dials() {
        world.connected(connection, 8);
    }
    for (stream, _) in world.opens() {
        world.opened(stream);
        world.answer(stream);
    }
    for request in requests {
        assert_eq!(world.outcomes[&request], (Outcome::Completed, 2, None));
    }
    assert_eq!(ejections(&world), 0);
}

#[test]
fn a_retry_after_a_dead_connection_uses_no_idle_connection_of_another_backend_either() {
    let (mut world, _) = idle(3, 2);
    world.pass(20 * SECOND);
    let request = world.get();
    let stream = world.open_one();
    lose(&mut world, stream);
    assert_eq!(world.opens(), []);
    world.connect_all();
    let stream = world.open_one();
    world.answer(stream);
    assert_eq!(world.outcomes[&request], (Outcome::Completed, 2, None));
}

#[test]
fn a_connection_that_was_used_recently_survives_the_death_of_an_older_one() {
    let (mut world, _) = idle(1, 2);
    world.pass(20 * SECOND);
    let held = [world.get(), world.get()];
    let streams = world.opens();
    for (stream, _) in &streams {
        world.opened(*stream);
    }
    world.done(Input::ResponseStarted { stream: streams[1].0, status: 200 });
    world.done(Input::ResponseEnded { stream: streams[1].0 });
    lose(&mut world, streams[0].0);
    assert_eq!(world.closes(), []);
    let stream = world.open_one();
    assert_eq!(stream.connection, streams[1].0.connection, "it has just answered");
    world.answer(stream);
    assert!(held.iter().all(|request| world.outcome(*request) == Some(Outcome::Completed)));
}

#[test]
fn a_connection_that_was_busy_when_it_was_lost_is_not_stale() {
    let (mut world, _) = idle(1, 1);
    world.pass(20 * SECOND);
    let request = world.get();
    let stream = world.open_one();
    world.done(Input::ResponseStarted { stream, status: 200 });
    world.done(Input::ResponseEnded { stream });
    assert_eq!(world.outcome(request), Some(Outcome::Completed));
    let request = world.post();
    let stream = world.open_one();
    lose(&mut world, stream);
    assert!(world.outcome(request).is_some());
    assert_eq!(world.closes(), []);
}

#[test]
fn an_announced_keep_alive_ends_an_idle_connection_before_its_backend_does() {
    for (announced, closed_after) in [(5 * SECOND, 4 * SECOND), (SECOND, SECOND / 2)] {
        let mut world = World::new(config(1));
        world.get();
        let connection = world.dials()[0];
        let early = Input::KeepAliveAnnounced { connection, timeout: announced };
        assert_eq!(world.tell(early), Handled::Refused, "no response can have come");
        let protocol = Protocol::Http1;
        world.done(Input::Connected { connection, protocol, max_streams: None });
        let stream = world.open_one();
        world.done(Input::KeepAliveAnnounced { connection, timeout: announced });
        world.answer(stream);
        world.pass(closed_after - MILLISECOND);
        assert_eq!(world.closes(), []);
        world.pass(MILLISECOND);
        assert_eq!(world.closes(), [(connection, CloseReason::Idle)]);
    }
}

#[test]
fn a_longer_keep_alive_than_the_idle_timeout_changes_nothing() {
    let (mut world, connections) = idle(1, 1);
    let timeout = 600 * SECOND;
    world.done(Input::KeepAliveAnnounced { connection: connections[0], timeout });
    world.pass(60 * SECOND);
    assert_eq!(world.closes(), [(connections[0], CloseReason::Idle)]);
}
