//! The table in the module's documentation, by rows.

use super::*;

const EVENTS: [Event; 10] = [
    Event::Dialled { expected: 7 },
    Event::Established,
    Event::DialEnded,
    Event::Reserved,
    Event::Released,
    Event::Silent,
    Event::Alive,
    Event::Drain(DrainCause::MaxAge),
    Event::Drain(DrainCause::Lost),
    Event::Closed,
];

fn connection(lifecycle: Lifecycle, load: u32, limit: u32) -> Connection {
    Connection { lifecycle, load, limit, ..Connection::new() }
}

/// Checks one row: the state after each of `EVENTS`; `None` is a dash.
fn row(connection: &Connection, expected: [Option<SlotState>; 10]) {
    for (event, expected) in EVENTS.into_iter().zip(expected) {
        let mut after = connection.clone();
        let result = after.apply(event);
        match expected {
            Some(state) => {
                assert_eq!(result, Ok(()), "{event:?} in {:?}", connection.state());
                assert_eq!(after.state(), state, "{event:?} in {:?}", connection.state());
            }
            None => {
                assert_eq!(result, Err(Illegal), "{event:?} in {:?}", connection.state());
                assert_eq!(&after, connection, "a refused {event:?} changes nothing");
            }
        }
    }
}

const EMPTY: Option<SlotState> = Some(SlotState::Empty);
const CONNECTING: Option<SlotState> = Some(SlotState::Connecting);
const AVAILABLE: Option<SlotState> = Some(SlotState::Available);
const IN_USE: Option<SlotState> = Some(SlotState::InUse);
const SUSPECT: Option<SlotState> = Some(SlotState::Suspect);
const DRAINING: Option<SlotState> = Some(SlotState::Draining);

#[test]
fn empty() {
    let row_of = [CONNECTING, None, None, None, None, None, None, None, None, None];
    row(&connection(Lifecycle::Empty, 0, 0), row_of);
}

#[test]
fn connecting() {
    let connecting = Lifecycle::Connecting { expected: 3 };
    let row_of = |ready| [None, ready, EMPTY, None, None, None, None, None, None, None];
    row(&connection(connecting, 0, 5), row_of(AVAILABLE));
    row(&connection(connecting, 0, 0), row_of(IN_USE));
}

#[test]
fn available_without_load() {
    let row_of =
        |reserved| [None, None, None, reserved, None, SUSPECT, None, DRAINING, DRAINING, EMPTY];
    row(&connection(Lifecycle::Ready, 0, 2), row_of(AVAILABLE));
    row(&connection(Lifecycle::Ready, 0, 1), row_of(IN_USE));
}

#[test]
fn available_with_load() {
    row(
        &connection(Lifecycle::Ready, 1, 2),
        [None, None, None, IN_USE, AVAILABLE, SUSPECT, None, DRAINING, DRAINING, None],
    );
}

#[test]
fn in_use() {
    let row_of = |released, closed| {
        [None, None, None, None, released, SUSPECT, None, DRAINING, DRAINING, closed]
    };
    row(&connection(Lifecycle::Ready, 2, 2), row_of(AVAILABLE, None));
    row(&connection(Lifecycle::Ready, 4, 2), row_of(IN_USE, None));
    row(&connection(Lifecycle::Ready, 0, 0), row_of(None, EMPTY));
}

#[test]
fn suspect() {
    let row_of = |alive, released, closed| {
        [None, None, None, None, released, None, alive, DRAINING, DRAINING, closed]
    };
    row(&connection(Lifecycle::Suspect, 1, 2), row_of(AVAILABLE, SUSPECT, None));
    row(&connection(Lifecycle::Suspect, 2, 2), row_of(IN_USE, SUSPECT, None));
    row(&connection(Lifecycle::Suspect, 0, 2), row_of(AVAILABLE, None, EMPTY));
}

#[test]
fn draining() {
    let row_of =
        |released, lost, closed| [None, None, None, None, released, None, None, None, lost, closed];
    let draining = Lifecycle::Draining(DrainCause::GoAway);
    row(&connection(draining, 1, 2), row_of(DRAINING, DRAINING, None));
    row(&connection(draining, 0, 2), row_of(None, DRAINING, EMPTY));
    let lost = Lifecycle::Draining(DrainCause::Lost);
    row(&connection(lost, 1, 2), row_of(DRAINING, None, None));
}

#[test]
fn only_ready_connections_have_capacity_and_it_is_never_negative() {
    assert_eq!(connection(Lifecycle::Ready, 3, 5).capacity(), 2);
    assert_eq!(connection(Lifecycle::Ready, 5, 2).capacity(), 0);
    assert_eq!(connection(Lifecycle::Suspect, 0, 5).capacity(), 0);
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
