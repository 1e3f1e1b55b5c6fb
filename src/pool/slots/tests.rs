//! The operations of the token layer, one property per test.

use super::*;

const BACKEND: BackendId = BackendId(0);
const OTHER: BackendId = BackendId(1);

fn limits(connections: usize, streams: usize) -> Limits {
    Limits {
        connections_per_backend: connections,
        streams_per_connection: streams,
        ..Limits::DEFAULT
    }
}

fn slots(connections: usize, streams: usize) -> Slots {
    Slots::new(2, &limits(connections, streams))
}

#[test]
fn a_fresh_pool_is_empty_and_refuses_to_acquire() {
    let mut slots = slots(2, 3);
    assert_eq!(slots.count(BACKEND), 0);
    assert!(!slots.has_capacity(BACKEND));
    assert_eq!(slots.acquire(BACKEND, 0), None);
    assert_eq!(slots.total_available_streams(BACKEND), 0);
    assert_eq!(slots.recount(), Ok(()));
}

#[test]
fn add_then_acquire_then_get() {
    let mut slots = slots(2, 3);
    let first = slots.add_and_acquire(BACKEND, 3, 7).expect("an empty pool has a slot");
    let second = slots.acquire(BACKEND, 8).expect("two streams are left");
    assert_eq!(slots.get(first), Ok(StreamEntry::Open { ordinal: 0, stream_id: 0, request: 7 }));
    assert_eq!(slots.get(second), Ok(StreamEntry::Open { ordinal: 1, stream_id: 0, request: 8 }));
    assert_eq!(slots.total_available_streams(BACKEND), 1);
    assert_eq!(slots.count(BACKEND), 1);
    assert_eq!(slots.recount(), Ok(()));
}

#[test]
fn a_token_is_stale_after_release_and_a_fresh_acquire_works() {
    let mut slots = slots(1, 1);
    let token = slots.add_and_acquire(BACKEND, 1, 0).expect("not full");
    assert_eq!(slots.release(token, true), Ok(()));
    assert_eq!(slots.get(token), Err(Stale));
    let fresh = slots.acquire(BACKEND, 1).expect("the stream is free again");
    assert_eq!(fresh.stream, token.stream, "the entry is reused, the token is not");
    assert!(slots.get(fresh).is_ok());
    assert_eq!(slots.get(token), Err(Stale));
}

#[test]
fn release_of_a_stale_token_changes_nothing_however_often() {
    let mut slots = slots(1, 2);
    let token = slots.add_and_acquire(BACKEND, 2, 0).expect("not full");
    let other = slots.acquire(BACKEND, 1).expect("not full");
    assert_eq!(slots.release(token, true), Ok(()));
    let before = slots.stats();
    for keep in [true, false, true, false] {
        assert_eq!(slots.release(token, keep), Err(Stale));
    }
    assert_eq!(slots.stats(), before);
    assert!(slots.get(other).is_ok());
    assert_eq!(slots.recount(), Ok(()));
}

#[test]
fn release_without_keep_drains_the_connection() {
    let mut slots = slots(1, 2);
    let token = slots.add_and_acquire(BACKEND, 2, 0).expect("not full");
    assert_eq!(slots.release(token, false), Ok(()));
    assert!(!slots.has_capacity(BACKEND));
    assert_eq!(slots.stats().draining, 1);
    assert!(slots.can_dial(BACKEND), "a draining connection does not block its successor");
}

#[test]
fn capacity_is_exhausted_exactly_at_the_limit() {
    let mut slots = slots(2, 3);
    let mut taken = 0;
    for _ in 0..2 {
        assert!(slots.add_and_acquire(BACKEND, 3, taken).is_some());
        taken += 1;
        while slots.acquire(BACKEND, taken).is_some() {
            taken += 1;
        }
    }
    assert_eq!(taken, 6);
    assert!(!slots.has_capacity(BACKEND));
    assert_eq!(slots.dial(BACKEND, 3), None, "two connections are the limit");
    assert!(slots.can_dial(OTHER), "another backend has its own");
    assert_eq!(slots.recount(), Ok(()));
}

#[test]
fn stats_equal_a_recount() {
    let mut slots = slots(3, 2);
    slots.add_and_acquire(BACKEND, 2, 0).expect("not full");
    let one = slots.add_and_acquire(OTHER, 1, 1).expect("not full");
    slots.dial(OTHER, 2).expect("not full");
    let stats = slots.stats();
    let expected = SlotStats {
        empty: 9,
        connecting: 1,
        available: 1,
        in_use: 1,
        streams: 2,
        ..SlotStats::default()
    };
    assert_eq!(stats, expected);
    assert_eq!(slots.expected_streams(), 2);
    slots.release(one, true).expect("live");
    assert_eq!(slots.count_idle(OTHER), 1);
    assert_eq!(slots.recount(), Ok(()));
}

#[test]
fn close_all_makes_every_token_stale() {
    let mut slots = slots(2, 2);
    let token = slots.add_and_acquire(BACKEND, 2, 0).expect("not full");
    let dial = slots.dial(OTHER, 2).expect("not full");
    slots.close_all();
    assert_eq!(slots.get(token), Err(Stale));
    assert_eq!(slots.find(dial), Err(Stale));
    assert_eq!(slots.count(BACKEND) + slots.count(OTHER), 0);
    assert_eq!(slots.recount(), Ok(()));
    let fresh = slots.add_and_acquire(BACKEND, 2, 0).expect("all slots are free again");
    assert_eq!(fresh.connection.slot, token.connection.slot);
    assert_ne!(fresh.connection.generation, token.connection.generation);
}

#[test]
fn a_used_up_generation_retires_the_slot() {
    let mut slots = slots(1, 1);
    slots.generation_max = 2;
    for _ in 0..4 {
        let token = slots.dial(BACKEND, 1).expect("two slots, two generations each");
        slots.apply(token, Event::DialEnded).expect("it is connecting");
        assert_eq!(slots.recount(), Ok(()));
    }
    assert_eq!(slots.dial(BACKEND, 1), None);
    assert_eq!(slots.stats().retired, 2);
}

#[test]
fn a_token_for_another_backend_slot_or_entry_is_refused() {
    let mut slots = slots(2, 2);
    let token = slots.add_and_acquire(BACKEND, 2, 0).expect("not full");
    let connection = token.connection;
    for wrong in [
        ConnectionToken { backend: OTHER, ..connection },
        ConnectionToken { backend: BackendId(u16::MAX), ..connection },
        ConnectionToken { slot: 1, ..connection },
        ConnectionToken { slot: u16::MAX, ..connection },
        ConnectionToken { generation: 2, ..connection },
        ConnectionToken { generation: 0, ..connection },
    ] {
        assert_eq!(slots.find(wrong), Err(Stale));
        assert_eq!(slots.get(StreamToken { connection: wrong, ..token }), Err(Stale));
        assert_eq!(slots.release(StreamToken { connection: wrong, ..token }, true), Err(Stale));
    }
    for wrong in [
        StreamToken { stream: 1, ..token },
        StreamToken { stream: u16::MAX, ..token },
        StreamToken { ordinal: 1, ..token },
    ] {
        assert_eq!(slots.get(wrong), Err(Stale));
        assert_eq!(slots.release(wrong, false), Err(Stale));
    }
    assert!(slots.get(token).is_ok());
    assert_eq!(slots.recount(), Ok(()));
}

#[test]
fn a_token_of_a_slot_or_backend_that_does_not_exist_is_stale() {
    let slots = slots(1, 1);
    let per_backend = slots.per_backend() as u16;
    for (backend, slot) in [(OTHER, per_backend), (BackendId(2), 0)] {
        let token = ConnectionToken { backend, slot, generation: 0 };
        assert_eq!(slots.find(token), Err(Stale));
    }
}
