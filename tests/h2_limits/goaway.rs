//! Requests around a GOAWAY, and the end of a client's connection.

use h2::client::Builder;

use super::frames::{END_STREAM, MAX_CONCURRENT_STREAMS, OK, block, goaway, headers, setting};
use super::setup::{Client, now};

/// The greatest stream identifier: a server that shuts down gracefully sends it first.
const GREATEST: u32 = u32::MAX >> 1;

fn one_stream_at_once() -> Client {
    Client::with(&Builder::new(), &setting(MAX_CONCURRENT_STREAMS, 1))
}

#[test]
fn a_request_that_waits_for_a_stream_fails_with_a_goaway() {
    let mut client = one_stream_at_once();
    let (first, second) = (client.get(), client.get());
    // One that was cancelled waits too, and its reset.
    let third = client.get();
    client.poll();
    assert_eq!(client.peer.seen(), ["HEADERS 1"]);
    drop(third);
    assert!(client.answers(&goaway(GREATEST)).is_empty());
    let error = now(second).expect_err("nothing of it was written");
    assert!(error.is_go_away() && error.is_remote());
    let answers = client.answers(&headers(1, END_STREAM, &block(&OK)));
    // Nothing is left that would keep the connection.
    assert_eq!(answers, ["GOAWAY NO_ERROR"], "no stream is opened after the GOAWAY");
    assert!(now(first).is_ok(), "it went on");
}

#[test]
fn a_request_that_was_not_written_fails_with_a_goaway() {
    let mut client = Client::new();
    let first = client.get();
    let answers = client.answers(&goaway(GREATEST));
    assert!(!answers.contains(&"HEADERS 1".to_owned()), "{answers:?}");
    assert!(now(first).is_err_and(|error| error.is_go_away() && error.is_remote()));
    let mut sender = client.sender.clone().expect("not dropped");
    let request = http::Request::get("http://a/").body(()).expect("valid");
    assert!(sender.send_request(request, true).is_err(), "a new request is refused");
}

#[test]
fn a_cancelled_request_is_written_although_nothing_of_it_was() {
    let mut client = one_stream_at_once();
    let (_first, second) = (client.get(), client.get());
    client.poll();
    drop(second);
    client.poll();
    assert_eq!(client.peer.seen(), ["HEADERS 1"]);
    let answers = client.answers(&headers(1, END_STREAM, &block(&OK)));
    assert_eq!(answers, ["HEADERS 3", "RST_STREAM 3 CANCEL"]);
}

#[test]
fn a_client_sends_goaway_only_when_all_of_its_handles_are_gone() {
    let mut client = Client::new();
    let response = client.get();
    client.poll();
    assert_eq!(client.peer.seen(), ["HEADERS 1"]);
    client.sender = None;
    assert!(!client.poll());
    assert!(client.peer.seen().is_empty(), "a request is in flight");
    client.receive(&headers(1, END_STREAM, &block(&OK)));
    assert!(client.peer.seen().is_empty(), "the response is not read");
    drop(response);
    assert!(client.poll());
    assert_eq!(client.peer.seen(), ["GOAWAY NO_ERROR"]);
}

#[test]
fn a_connection_that_is_dropped_sends_no_goaway() {
    let mut client = Client::new();
    let _response = client.get();
    client.poll();
    let Client { connection, mut peer, .. } = client;
    drop(connection);
    assert_eq!(peer.seen(), ["HEADERS 1"]);
}
