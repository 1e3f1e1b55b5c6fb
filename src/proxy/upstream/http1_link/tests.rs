//! Tests of the phases of a connection.

use std::pin::pin;

use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::proxy::dial::Io;

/// A whole response without content.
const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

impl Io for DuplexStream {
    fn unanswered(&self) -> Option<u32> {
        None
    }
}

/// A connection that carries a request with a body, and the backend's end of it.
fn requested() -> (Http1Attempt, DuplexStream) {
    let (io, backend) = duplex(1024);
    let link = Link::new(Box::new(io));
    let number = link.borrow_mut().begin(Expected::Other, |outgoing| {
        outgoing.small().extend_from_slice(b"POST / HTTP/1.1\r\n\r\n");
    });
    (Http1Attempt::new(link, number, Some(BodyFraming::Length(1))), backend)
}

fn respond(backend: &mut DuplexStream, response: &[u8]) {
    let written = pin!(backend.write_all(response)).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(written, Poll::Ready(Ok(()))));
}

/// If it is delivered all the same, a client gets the response to another request.
#[test]
fn a_response_before_its_request_is_none() {
    let (mut attempt, mut backend) = requested();
    let context = &mut Context::from_waker(Waker::noop());
    respond(&mut backend, EMPTY);
    assert!(attempt.poll_response(context).is_pending());
    let link = Rc::clone(&attempt.link);
    assert!(link.borrow().ended().is_some());
    link.borrow_mut().fail_attempt();
    let Poll::Ready(Err(failure)) = attempt.poll_response(context) else { panic!("it failed") };
    assert_eq!(failure, StreamFailure::NotSent);
}

#[test]
fn a_response_frees_its_connection() {
    let (mut attempt, mut backend) = requested();
    let context = &mut Context::from_waker(Waker::noop());
    let mut sender = attempt.take_sender().expect("there is a body");
    assert!(matches!(sender.poll_flush(context), Poll::Ready(Ok(()))));
    respond(&mut backend, EMPTY);
    let Poll::Ready(Ok((head, body))) = attempt.poll_response(context) else {
        panic!("it is there")
    };
    assert_eq!((head.status.as_u16(), body.is_complete()), (200, true));
    assert!(attempt.link.borrow().is_free());
}

/// The content is whole, and the connection carries no other request.
#[test]
fn a_response_until_the_close_is_delivered_after_the_end() {
    let (mut attempt, mut backend) = requested();
    let context = &mut Context::from_waker(Waker::noop());
    let mut sender = attempt.take_sender().expect("there is a body");
    assert!(matches!(sender.poll_flush(context), Poll::Ready(Ok(()))));
    respond(&mut backend, b"HTTP/1.1 200 OK\r\n\r\nhello");
    let Poll::Ready(Ok((_, mut body))) = attempt.poll_response(context) else {
        panic!("it is there")
    };
    let Poll::Ready(Some(Ok(frame))) = body.poll(context) else { panic!("there is content") };
    assert_eq!(frame.into_data().expect("data"), "hello");
    assert!(body.poll(context).is_pending());
    drop(backend);
    assert!(matches!(body.poll(context), Poll::Ready(None)));
    assert!(body.is_complete() && body.closes());
    let mut link = attempt.link.borrow_mut();
    assert!(!link.is_free());
    assert_eq!(link.poll_ended(context), Poll::Ready(CLOSED));
}
