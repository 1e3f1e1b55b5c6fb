use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::*;
use crate::proxy::content::Body;

/// Runs the client of a plan against a test that gets each of its connections.
fn against<Serving>(plan: Plan, serve: impl Fn(u32, Pipe) -> Serving) -> Ran
where
    Serving: Future<Output = ()> + 'static,
{
    simulate(async {
        let (hub, tasks) = (Hub::start(plan), RefCell::new(JoinSet::new()));
        let client = Http1Client::new(&hub, 0, |number| {
            let (near, far) = Pipe::pair(1 << 16);
            tasks.borrow_mut().spawn_local(serve(number, far));
            ready(Ok(near))
        });
        client.run().await;
        client.close().await;
        let ran = Ran::end(hub);
        let mut tasks = tasks.take();
        while let Some(served) = tasks.join_next().await {
            served.expect("the test holds");
        }
        ran
    })
}

/// Reads as many heads of requests without a body.
async fn read_heads(io: &mut Pipe, count: usize) -> String {
    let mut text = String::new();
    while text.matches("\r\n\r\n").count() < count {
        let mut bytes = [0; 4_096];
        let read = io.read(&mut bytes).await.expect("a head");
        assert!(read > 0, "{text:?}");
        text += std::str::from_utf8(&bytes[..read]).expect("ASCII");
    }
    text
}

async fn write(io: &mut Pipe, text: &str) {
    io.write_all(text.as_bytes()).await.expect("the client reads");
}

/// An answer with this execution and this content.
fn answer(execution: u32, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head =
        format!("HTTP/1.1 200 OK\r\nx-execution: {execution}\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), content].concat()
}

/// The end of request 2, which is answered with this text, after which the connection closes; and
/// the number of faults.
fn answered_with(text: &'static str) -> (Received, usize) {
    let ran = against(plan(vec![request(2)]), move |_, mut io| async move {
        read_heads(&mut io, 1).await;
        write(&mut io, text).await;
    });
    (ran.received(2), ran.hub.ledger.faults().len())
}

#[test]
fn a_client_notices_wrong_bytes() {
    let mut content = Body::Response(5).piece(0, 100).to_vec();
    content[40] ^= 1;
    let bytes = answer(5, &content);
    let ran = against(plan(vec![request(2)]), move |_, mut io| {
        let bytes = bytes.clone();
        async move {
            read_heads(&mut io, 1).await;
            io.write_all(&bytes).await.expect("the client reads");
        }
    });
    let received = ran.received(2);
    assert_eq!((received.end, received.execution), (End::Complete, Some(5)));
    assert_eq!((received.body.length, received.body.wrong_at), (100, Some(40)));
}

#[test]
fn a_client_tells_complete_responses_from_those_cut_short() {
    let cases = [
        ("", End::Broken, 0),
        ("HTTP/1.1 200 O", End::Broken, 0),
        ("HTTP/1.1 103 Early Hints\r\n\r\n", End::Broken, 0),
        ("HTTP/1.1 200 OK\r\n\r\nabc", End::Complete, 3),
        ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc", End::Broken, 3),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", End::Complete, 3),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", End::Broken, 3),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-end: y\r\n", End::Broken, 0),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", End::Complete, 0),
    ];
    for (text, end, length) in cases {
        let (received, faults) = answered_with(text);
        assert_eq!((received.end, received.body.length, faults), (end, length, 0), "{text:?}");
    }
}

#[test]
fn a_client_notes_what_the_proxy_must_not_write() {
    let cases = [
        "HTTP/1.1 200 OK\n\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nx-execution: one\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
    ];
    for text in cases {
        let (received, faults) = answered_with(text);
        assert_eq!((received.end, faults), (End::Broken, 1), "{text:?}");
    }
    let unsolicited = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcd";
    let (received, faults) = answered_with(unsolicited);
    assert_eq!((received.end, received.body.length, faults), (End::Complete, 3, 1));
}

#[test]
fn a_close_on_a_kept_connection_may_be_answered_by_sending_elsewhere() {
    let late = RequestPlan { at_us: 500_000, ..request(3) };
    let ran = against(plan(vec![request(2), late]), |_, mut io| async move {
        read_heads(&mut io, 1).await;
        write(&mut io, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        read_heads(&mut io, 1).await;
    });
    assert_eq!([2, 3].map(|id| ran.received(id).end), [End::Complete, End::Unprocessed]);
    // It is not sent again.
    assert_eq!(ran.hub.ledger.begun().len(), 2);
}

#[test]
fn a_connection_that_closes_while_idle_is_not_used_again() {
    let late = RequestPlan { at_us: 500_000, ..request(3) };
    let ran = against(plan(vec![request(2), late]), |_, mut io| async move {
        read_heads(&mut io, 1).await;
        write(&mut io, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    });
    assert_eq!([2, 3].map(|id| ran.received(id).end), [End::Complete, End::Complete]);
    ran.check_no_faults();
}

/// A plan whose client pipelines requests with these ids.
fn pipelined(requests: Vec<RequestPlan>) -> Plan {
    let mut plan = plan(requests);
    plan.wire.clients[0].pipelines = true;
    plan
}

#[test]
fn a_client_pipelines_a_few_requests_in_order() {
    let requests = (2..9).map(|id| RequestPlan { at_us: u64::from(id), ..request(id) }).collect();
    let ran = against(pipelined(requests), |number, mut io| async move {
        sleep(Duration::from_millis(50)).await;
        let count = if number == 1 { 4 } else { 3 };
        let heads = read_heads(&mut io, count).await;
        let mut ids = heads.split(" /r").skip(1);
        for _ in 0..count {
            let id = ids.next().and_then(|rest| rest.split(' ').next()).expect("a target");
            let id: u32 = id.parse().expect("an id");
            let content = Body::Response(id + 100).piece(0, 10);
            io.write_all(&answer(id + 100, &content)).await.expect("the client reads");
        }
        read_to_end(&mut io).await;
    });
    ran.check_no_faults();
    for id in 2..9 {
        let received = ran.received(id);
        assert_eq!((received.end, received.execution), (End::Complete, Some(id + 100)));
        if received.body.length > 0 {
            assert_eq!((received.body.length, received.body.wrong_at), (10, None));
        }
    }
}

async fn read_to_end(io: &mut Pipe) -> Vec<u8> {
    let mut rest = Vec::new();
    io.read_to_end(&mut rest).await.expect("the client closes");
    rest
}

#[test]
fn what_is_pipelined_behind_a_close_is_unprocessed_and_nothing_goes_behind_a_post() {
    let mut post = RequestPlan { idempotent: false, ..request(4) };
    post.at_us = 2;
    let requests = vec![
        RequestPlan { at_us: 0, ..request(2) },
        RequestPlan { at_us: 1, ..request(3) },
        post,
        RequestPlan { at_us: 3, ..request(5) },
    ];
    let ran = against(pipelined(requests), |number, mut io| async move {
        sleep(Duration::from_millis(50)).await;
        if number == 1 {
            let heads = read_heads(&mut io, 3).await;
            assert!(heads.contains("POST /r4 ") && !heads.contains("/r5 "), "{heads}");
        } else {
            read_heads(&mut io, 1).await;
        }
        write(&mut io, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(read_to_end(&mut io).await, b"");
    });
    let ends = [2, 3, 4, 5].map(|id| ran.received(id).end);
    // The last one was not begun, so that it could be sent on another connection.
    assert_eq!(ends, [End::Complete, End::Unprocessed, End::Unprocessed, End::Complete]);
    assert_eq!(ran.hub.ledger.begun().len(), 4);
    ran.check_no_faults();
}

#[test]
fn a_client_sends_the_body_after_a_second_without_an_answer() {
    let mut expecting = upload(2);
    expecting.wire.expects = true;
    let ran = against(plan(vec![expecting]), |_, mut io| async move {
        let head = read_heads(&mut io, 1).await;
        assert!(head.ends_with("expect: 100-continue\r\n\r\n"), "{head}");
        let mut bytes = [0; 2];
        let early = tokio::time::timeout(Duration::from_millis(990), io.read(&mut bytes)).await;
        assert!(early.is_err(), "it waits");
        io.read_exact(&mut bytes).await.expect("the body");
        assert_eq!(&bytes, b"1e");
        write(&mut io, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        read_to_end(&mut io).await;
    });
    assert_eq!(ran.received(2).end, End::Complete);
}

#[test]
fn a_client_stops_sending_if_the_answer_closes_the_connection() {
    let sent = RequestPlan { body_us: Some(10_000_000), ..upload(2) };
    let ran = against(plan(vec![sent]), |_, mut io| async move {
        read_heads(&mut io, 1).await;
        write(&mut io, "HTTP/1.1 413 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(read_to_end(&mut io).await, b"");
    });
    assert_eq!((ran.received(2).end, ran.received(2).status), (End::Complete, Some(413)));
    assert!(ran.at < 1_000 * MILLISECOND);
}

#[test]
fn a_client_half_closes_after_its_last_request_and_reads_the_answer() {
    let mut plan = plan(vec![request(2), RequestPlan { at_us: 500_000, ..upload(3) }]);
    plan.wire.clients[0].half_closes = true;
    let ran = against(plan, |_, mut io| async move {
        read_heads(&mut io, 1).await;
        write(&mut io, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let rest = read_to_end(&mut io).await;
        assert!(rest.ends_with(b"0\r\nx-end: request-3\r\n\r\n"));
        write(&mut io, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno").await;
        sleep(Duration::from_secs(5)).await;
    });
    assert_eq!([2, 3].map(|id| ran.received(id).end), [End::Complete, End::Complete]);
    assert!(ran.at < 2_000 * MILLISECOND, "it closes after the answer");
}

#[test]
fn a_reset_is_no_end_of_a_response() {
    let ran = against(plan(vec![request(2)]), |_, mut io| async move {
        read_heads(&mut io, 1).await;
        write(&mut io, "HTTP/1.1 200 OK\r\n\r\nabc").await;
        sleep(Duration::from_millis(10)).await;
        io.reset.set(true);
    });
    assert_eq!((ran.received(2).end, ran.received(2).body.length), (End::Broken, 3));
}

#[test]
fn a_client_over_http10_takes_the_end_of_the_connection_for_that_of_the_response() {
    let later = RequestPlan { at_us: 500_000, ..request(3) };
    let mut plan = plan(vec![request(2), later]);
    plan.wire.clients[0].http10 = true;
    let ran = against(plan, |number, mut io| async move {
        let head = read_heads(&mut io, 1).await;
        assert!(head.contains(" HTTP/1.0\r\n") && !head.contains("connection:"), "{head}");
        let chunked = if number == 1 { "" } else { "transfer-encoding: chunked\r\n" };
        write(&mut io, &format!("HTTP/1.0 200 OK\r\n{chunked}\r\nabc")).await;
    });
    assert_eq!((ran.received(2).end, ran.received(2).body.length), (End::Complete, 3));
    assert_eq!(ran.received(3).end, End::Broken);
    assert!(ran.hub.ledger.faults()[0].contains("transfer-encoding in a response to HTTP/1.0"));
}

#[test]
fn a_client_notes_what_it_could_not_send() {
    let ran = simulate(async {
        let hub = Hub::start(plan(Vec::new()));
        // The first cannot be opened, the second closes at once.
        let client = Http1Client::new(&hub, 0, |number| {
            let refused = io::ErrorKind::ConnectionRefused.into();
            ready(if number == 1 { Err(refused) } else { Ok(Pipe::pair(1 << 16).0) })
        });
        client.request(request(2), false).await;
        client.request(request(3), false).await;
        client.close().await;
        Ran::end(hub)
    });
    let not_sent: Vec<u32> = ran.hub.ledger.all_not_sent().iter().map(|(id, _)| *id).collect();
    assert_eq!((not_sent, ran.hub.ledger.begun()), (vec![2, 3], Vec::new()));
}
