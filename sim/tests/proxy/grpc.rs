//! Tests what gRPC needs: trailers in both directions, trailers-only responses, bidirectional
//! streaming.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response};

use crate::support::client::{head, read_answer, read_chunk};
use crate::support::raw::{Bodies, Frame, RawBackend, STATUS_200, flag, kind};
use crate::support::{Backend, Baton, Behaviour, Exchange, Http2, within};
use crate::system::run;

fn call(path: &str) -> http::Request<()> {
    let mut head = head(Method::POST, path, path);
    head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    head.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    head
}

fn trailers(name: &'static str, value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(name.parse().expect("a name"), HeaderValue::from_static(value))])
}

/// A gRPC-like server: unary, trailers-only, and an echo of each message at once.
async fn serve(mut exchange: Exchange) {
    assert_eq!(exchange.head.headers()["te"], "trailers", "TE: trailers is kept");
    if exchange.head.uri().path() == "/missing" {
        let head = Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "12");
        let head = head.body(()).expect("a valid head");
        exchange.respond.send_response(head, true).expect("the stream is open");
        return;
    }
    let head = Response::builder().header("content-type", "application/grpc");
    let mut stream =
        exchange.start_with(head.body(()).expect("valid")).expect("the stream is open");
    while let Ok(Some(message)) = exchange.read_chunk().await {
        exchange.send(&mut stream, message, false).await;
    }
    let received = exchange.body.trailers().await.expect("the request ends properly");
    let mut end = trailers("grpc-status", "0");
    if let Some(received) = received {
        end.insert("request-trailer", received["x-checksum"].clone());
    }
    stream.send_trailers(end).expect("the stream is open");
}

async fn started() -> (Backend, Baton, Http2) {
    let backend = Backend::start(Behaviour::default(), serve).await;
    let baton = Baton::start(&[backend.url()], &[]).await;
    let client = Http2::connect(baton.address).await;
    (backend, baton, client)
}

/// A stream of messages says nothing for ten minutes. The backend is asked as rarely as gRPC's
/// servers tolerate it: four PINGs, of which the last two come minutes after another.
#[test]
fn grpc_stream_that_is_silent_for_ten_minutes_lives() {
    run(async {
        let pings = Rc::new(Cell::new(0));
        let counted = Rc::clone(&pings);
        let backend = RawBackend::start(100, move |mut connection| {
            let pings = Rc::clone(&counted);
            async move {
                let (stream, _) = connection.request(&mut Bodies::default()).await.expect("a call");
                connection.write(kind::HEADERS, flag::END_HEADERS, stream, STATUS_200).await;
                let frames = connection.all_within(Duration::from_secs(640)).await;
                let is_ping = |frame: &&Frame| frame.kind == kind::PING;
                pings.set(frames.iter().filter(is_ping).count());
                connection.write(kind::DATA, flag::END_STREAM, stream, b"at last").await;
                connection.all_within(Duration::from_secs(1)).await;
            }
        })
        .await;
        let baton = Baton::start(&[backend.url()], &["--response-stall-timeout", "1h"]).await;
        let client = Http2::connect(baton.address).await;
        let (response, _) = client.begin(call("/watch"), true).await.expect("a stream");
        let response = within("the response head", response).await.expect("it is answered");
        let mut body = response.into_body();
        tokio::time::sleep(Duration::from_secs(639)).await;
        assert_eq!(read_chunk(&mut body).await.expect("it lives"), Some(Bytes::from("at last")));
        assert_eq!(pings.get(), 4);
    });
}

#[test]
fn grpc_unary_call_ends_with_its_trailers() {
    run(async {
        let (_backend, _baton, client) = started().await;
        let answer = client.send(call("/unary"), "message").await.expect("it is answered");
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"message"[..]));
        assert_eq!(answer.header("content-type"), "application/grpc");
        assert_eq!(answer.trailers.expect("trailers")["grpc-status"], "0");
    });
}

#[test]
fn grpc_trailers_only_response_is_one_head() {
    run(async {
        let (_backend, _baton, client) = started().await;
        let (response, _stream) =
            client.begin(call("/missing"), false).await.expect("the connection lives");
        let response = within("the head", response).await.expect("a response");
        assert_eq!(response.headers()["grpc-status"], "12");
        assert!(response.body().is_end_stream(), "the head ends the stream");
    });
}

#[test]
fn grpc_bidirectional_stream_passes_message_by_message() {
    run(async {
        let (_backend, _baton, client) = started().await;
        let (response, mut stream) =
            client.begin(call("/bidi"), false).await.expect("the connection lives");
        stream.send_data(Bytes::from_static(b"hello"), false).expect("the stream is open");
        let response =
            within("the head, before the request ends", response).await.expect("a response");
        let mut body = response.into_body();
        assert_eq!(read_chunk(&mut body).await.expect("a message").expect("not the end"), "hello");
        for number in 0..20 {
            let message = format!("message {number}");
            stream.send_data(message.clone().into(), false).expect("the stream is open");
            let echoed = read_chunk(&mut body).await.expect("a message").expect("not the end");
            assert_eq!(echoed, message);
        }
        stream.send_trailers(trailers("x-checksum", "abc")).expect("the stream is open");
        assert!(
            read_chunk(&mut body).await.expect("no error").is_none(),
            "the end of the messages"
        );
        let end =
            within("the trailers", body.trailers()).await.expect("no error").expect("trailers");
        assert_eq!(end["grpc-status"], "0");
        assert_eq!(end["request-trailer"], "abc", "request trailers pass too");
    });
}

#[test]
fn trailers_pass_without_a_body() {
    run(async {
        let (_backend, _baton, client) = started().await;
        let (response, mut stream) =
            client.begin(call("/empty"), false).await.expect("the connection lives");
        stream.send_trailers(trailers("x-checksum", "of nothing")).expect("the stream is open");
        let response = within("the head", response).await.expect("a response");
        let answer = read_answer(response).await.expect("a whole response");
        assert!(answer.body.is_empty());
        assert_eq!(answer.trailers.expect("trailers")["request-trailer"], "of nothing");
    });
}
