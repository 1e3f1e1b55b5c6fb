//! Every state and event of the table; the effects of load and limits.

use super::*;

const CAUSES: [DrainCause; 6] = [
    DrainCause::GoAway,
    DrainCause::MaxAge,
    DrainCause::MaxRequests,
    DrainCause::Unfit,
    DrainCause::Backend,
    DrainCause::Lost,
];

fn connection(lifecycle: Lifecycle, load: u32, limit: u32) -> Connection {
    Connection { lifecycle, load, limit, ..Connection::new() }
}

fn events() -> impl Iterator<Item = Event> {
    let single = [
        Event::Dialled { expected: 7 },
        Event::Established,
        Event::DialEnded,
        Event::Reserved,
        Event::Released,
        Event::Silent,
        Event::Acknowledged,
        Event::Alive,
        Event::Resumed,
        Event::ResumedBusy,
        Event::Closed,
    ];
    single.into_iter().chain(CAUSES.map(Event::Drain))
}

/// Connections in every state, with loads below, at and above their limit.
fn connections() -> impl Iterator<Item = Connection> {
    let without_load = [Lifecycle::Empty, Lifecycle::Connecting { expected: 3 }];
    let live = [Lifecycle::Ready, Lifecycle::Suspect, Lifecycle::Busy].into_iter();
    let live = live.chain(CAUSES.map(Lifecycle::Draining));
    let loads = |lifecycle| {
        let loads = (0..4).flat_map(|load| (0..4).map(move |limit| (load, limit)));
        loads.map(move |(load, limit)| connection(lifecycle, load, limit))
    };
    without_load
        .map(|lifecycle| connection(lifecycle, 0, 2))
        .into_iter()
        .chain(live.flat_map(loads))
}

/// Returns the connection after a legal event.
fn moved(before: &Connection, event: Event) -> Connection {
    let Connection { generation, lifecycle, load, opened, .. } = *before;
    let to = |lifecycle| Connection { lifecycle, ..before.clone() };
    match event {
        Event::Dialled { expected } => Connection {
            generation: generation + 1,
            ..connection(Lifecycle::Connecting { expected }, 0, 0)
        },
        Event::Established | Event::Alive | Event::Resumed => to(Lifecycle::Ready),
        Event::DialEnded | Event::Closed => to(Lifecycle::Empty),
        Event::Reserved => Connection { load: load + 1, opened: opened + 1, ..to(lifecycle) },
        Event::Released => Connection { load: load - 1, ..to(lifecycle) },
        Event::ResumedBusy => to(Lifecycle::Busy),
        Event::Silent => to(Lifecycle::Suspect),
        Event::Acknowledged => to(Lifecycle::Busy),
        Event::Drain(DrainCause::Backend) => Connection {
            drained_busy: lifecycle == Lifecycle::Busy,
            ..to(Lifecycle::Draining(DrainCause::Backend))
        },
        Event::Drain(cause) => to(Lifecycle::Draining(cause)),
    }
}

/// The legal events of each state, written from the meaning of the states, not read from the table.
const EXPECTED: [(ConnectionState, &[&str]); ConnectionState::ALL.len()] = [
    (ConnectionState::Empty, &["dialled"]),
    (ConnectionState::Connecting, &["established", "dial_ended"]),
    (
        ConnectionState::Available,
        &["reserved", "released", "silent", "drain", "drain_backend", "lost", "closed"],
    ),
    (ConnectionState::InUse, &["released", "silent", "drain", "drain_backend", "lost", "closed"]),
    (
        ConnectionState::Suspect,
        &["released", "acknowledged", "alive", "drain", "drain_backend", "lost", "closed"],
    ),
    (ConnectionState::Busy, &["released", "alive", "drain", "drain_backend", "lost", "closed"]),
    (ConnectionState::Draining, &["released", "lost", "closed"]),
    (
        ConnectionState::DrainingBackend,
        &["released", "drain", "lost", "resumed", "resumed_busy", "closed"],
    ),
    (ConnectionState::Lost, &["released", "closed"]),
];

#[test]
fn every_event_in_every_state_moves_as_the_table_says_or_changes_nothing() {
    let (mut legal, mut illegal) = ([0; ConnectionState::ALL.len()], 0);
    for before in connections() {
        for event in events() {
            let state = before.exact_state();
            let load_fits = match event {
                Event::Released => before.load > 0,
                Event::Closed => before.load == 0,
                _ => true,
            };
            let mut after = before.clone();
            let result = after.apply(event);
            if LEGAL[row(event)].1.contains(&state) && load_fits {
                assert_eq!(result, Ok(()), "{event:?} of {before:?}");
                assert_eq!(after, moved(&before, event), "{event:?} of {before:?}");
                legal[state as usize] |= 1 << row(event);
            } else {
                assert_eq!(result, Err(Illegal), "{event:?} of {before:?}");
                assert_eq!(after, before, "a refused {event:?} changes nothing");
                illegal += 1;
            }
        }
    }
    assert!(illegal > 0);
    for (state, expected) in EXPECTED {
        let met =
            LEGAL.iter().enumerate().filter(|(row, _)| legal[state as usize] & (1 << row) != 0);
        let met: Vec<_> = met.map(|(_, (event, _))| *event).collect();
        assert_eq!(met, expected, "legal events in {state}");
    }
}

#[test]
fn the_public_state_follows_from_lifecycle_load_and_limit() {
    let state = |lifecycle, load, limit| connection(lifecycle, load, limit).state();
    assert_eq!(state(Lifecycle::Empty, 0, 0), SlotState::Empty);
    assert_eq!(state(Lifecycle::Connecting { expected: 4 }, 0, 0), SlotState::Connecting);
    assert_eq!(state(Lifecycle::Ready, 1, 2), SlotState::Available);
    assert_eq!(state(Lifecycle::Ready, 2, 2), SlotState::InUse);
    assert_eq!(state(Lifecycle::Ready, 4, 2), SlotState::InUse, "the peer lowered the limit");
    assert_eq!(state(Lifecycle::Suspect, 1, 2), SlotState::Suspect);
    assert_eq!(state(Lifecycle::Busy, 1, 2), SlotState::Suspect);
    for cause in [DrainCause::GoAway, DrainCause::Backend, DrainCause::Lost] {
        assert_eq!(state(Lifecycle::Draining(cause), 1, 2), SlotState::Draining);
    }
}

#[test]
fn only_ready_connections_have_capacity_and_it_is_never_negative() {
    assert_eq!(connection(Lifecycle::Ready, 3, 5).capacity(), 2);
    assert_eq!(connection(Lifecycle::Ready, 5, 2).capacity(), 0);
    assert_eq!(connection(Lifecycle::Suspect, 0, 5).capacity(), 0);
    assert_eq!(connection(Lifecycle::Busy, 1, 5).capacity(), 0);
    assert_eq!(connection(Lifecycle::Draining(DrainCause::MaxAge), 0, 5).capacity(), 0);
}

#[test]
fn the_limit_is_the_least_of_those_of_peer_operator_and_protocol() {
    let mut connection = connection(Lifecycle::Ready, 0, 0);
    let mut limit = |max_streams, cap| {
        connection.set_limit(max_streams, cap);
        connection.limit
    };
    assert_eq!(limit(None, 256), 100, "before the first SETTINGS");
    assert_eq!(limit(None, 20), 20);
    assert_eq!(limit(Some(u32::MAX), 256), 256);
    assert_eq!(limit(Some(0), 256), 0);
    connection.protocol = Protocol::Http1;
    connection.set_limit(Some(50), 256);
    assert_eq!(connection.limit, 1, "an HTTP/1.1 connection carries one request at a time");
}
