//! Facts that `h2` hides. A proxy needs them to decide if a request may be sent again.

use h2::client::Builder;

use super::frames::{ACK, MAX_CONCURRENT_STREAMS, SETTINGS, frame, goaway, setting};
use super::setup::{Client, now, waits};

#[test]
fn an_error_hides_the_last_stream_of_a_goaway() {
    let mut client = Client::new();
    let (_first, second) = (client.get(), client.get());
    client.poll();
    client.receive(&goaway(1));
    let error = now(second).expect_err("it was not processed");
    assert!(error.is_go_away() && error.is_remote());
    let debug = format!("{error:?}");
    assert_eq!(debug, "Error { kind: GoAway(b\"\", NO_ERROR, Remote) }");
}

#[test]
fn a_request_that_goes_on_does_not_see_the_goaway() {
    let mut client = Client::new();
    let mut first = client.get();
    client.poll();
    assert!(!client.receive(&goaway(1)));
    assert!(waits(&mut first));
}

#[test]
fn an_error_hides_if_a_request_was_written() {
    let mut client = Client::with(&Builder::new(), &setting(MAX_CONCURRENT_STREAMS, 1));
    let (written, waiting) = (client.get(), client.get());
    client.poll();
    assert_eq!(client.peer.seen(), ["HEADERS 1"]);
    let Client { mut connection, peer, .. } = client;
    drop(peer);
    assert!(!waits(&mut connection));
    let errors = [written, waiting].map(|response| now(response).expect_err("lost"));
    assert_eq!(format!("{:?}", errors[0]), format!("{:?}", errors[1]));
}

#[test]
fn the_arrival_of_settings_is_hidden() {
    let mut builder = Builder::new();
    builder.initial_max_send_streams(7);
    // The handshake is over before anything has arrived.
    let mut client = Client::before_settings(&builder);
    assert_eq!(client.connection.max_concurrent_send_streams(), 7);
    client.receive(&[setting(MAX_CONCURRENT_STREAMS, 7), frame(SETTINGS, ACK, 0, &[])].concat());
    assert_eq!(client.connection.max_concurrent_send_streams(), 7);
}
