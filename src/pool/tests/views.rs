//! Views of requests in flight.

use super::*;

fn streams(world: &World, backend: u16) -> Vec<StreamView> {
    let connections = world.pool.connections(BackendId(backend));
    connections.flat_map(|connection| world.pool.streams(connection)).collect()
}

#[test]
fn the_view_lists_every_stream_of_a_full_connection_with_its_request() {
    let mut world = World::new(config(1));
    let requests: Vec<_> = (0..4).map(|_| world.post()).collect();
    let connection = world.connect_one(4);
    let opens = world.opens();
    assert_eq!(opens.len(), 4, "the table of streams is full");
    let unopened = streams(&world, 0);
    assert!(unopened.iter().all(|view| view.stream_id == 0 && !view.response_began));
    for (stream, _) in &opens {
        world.opened(*stream);
    }
    world.done(Input::ResponseStarted { stream: opens[1].0, status: 200 });
    let views = streams(&world, 0);
    let expected: Vec<_> = opens
        .iter()
        .zip([1, 3, 5, 7])
        .map(|((stream, request), stream_id)| StreamView {
            stream: *stream,
            stream_id,
            request: *request,
            response_began: *request == requests[1],
        })
        .collect();
    assert_eq!(views, expected);
    assert!(world.pool.is_current(connection));
    assert_eq!(world.pool.connections(BackendId(0)).collect::<Vec<_>>(), [connection]);
}

#[test]
fn streams_that_ended_or_are_being_reset_are_not_in_the_view() {
    let mut world = World::new(config(1));
    let requests: Vec<_> = (0..3).map(|_| world.get()).collect();
    let connection = world.connect_one(4);
    let opens = world.opens();
    for (stream, _) in &opens {
        world.opened(*stream);
    }
    world.answer(opens[0].0);
    world.done(Input::RequestCancelled { request: requests[2] });
    let left: Vec<_> = streams(&world, 0).iter().map(|view| view.request).collect();
    assert_eq!(left, [requests[1]]);
    assert_eq!(world.pool.slot(BackendId(0), 0).expect("a slot").streams, 2, "one is being reset");
    world.done(Input::ResetSent { stream: opens[2].0 });
    world.done(Input::ConnectionClosed { connection, sent_through: 5 });
    world.fail(opens[1].0, StreamFailure::ConnectionLost);
    assert!(!world.pool.is_current(connection));
    assert_eq!(world.pool.streams(connection).count(), 0, "the token is stale");
}

#[test]
fn unknown_backends_and_tokens_have_no_streams() {
    let world = World::new(config(1));
    let backend = BackendId(u16::MAX);
    assert_eq!(world.pool.connections(backend).count(), 0);
    let connection = ConnectionToken { backend, slot: u16::MAX, generation: u32::MAX };
    assert_eq!(world.pool.streams(connection).count(), 0);
    assert!(!world.pool.is_current(connection));
}

#[test]
fn a_stream_is_to_be_opened_from_the_order_to_the_report() {
    let mut world = World::new(config(1));
    world.get();
    world.connect_one(4);
    let (stream, _) = world.opens()[0];
    assert!(world.pool.is_to_be_opened(stream));
    world.opened(stream);
    assert!(!world.pool.is_to_be_opened(stream));
}

#[test]
fn a_backend_that_the_pool_never_had_has_its_whole_share() {
    let world = World::new(config(1));
    let unknown = BackendId(world.pool.config().limits.backends as u16);
    assert_eq!(world.pool.share(unknown, world.now), 100);
}

#[test]
fn tokens_and_failures_have_names() {
    let connection = ConnectionToken { backend: BackendId(1), slot: 2, generation: 3 };
    assert_eq!(connection.to_string(), "b1/s2/g3");
    let failures = [
        StreamFailure::NotSent,
        StreamFailure::HeadTooLarge,
        StreamFailure::Unprocessed,
        StreamFailure::ConnectionLost,
        StreamFailure::Malformed,
        StreamFailure::Reset { code: 2 },
    ];
    let names = failures.map(StreamFailure::name);
    let all: alloc::collections::BTreeSet<_> = names.into_iter().collect();
    assert!(all.len() == failures.len() && !all.contains(""), "{names:?}");
}
