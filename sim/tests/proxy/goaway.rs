//! Tests backends that send GOAWAY, in two steps and in one, and backends that restart.

use std::sync::Arc;

use http::Method;
use tokio::sync::{mpsc, watch};

use crate::support::baton::message;
use crate::support::client::head;
use crate::support::raw::{Bodies, Frame, RawBackend, kind};
use crate::support::{Backend, Baton, Behaviour, Http2, run_load, unique_id, within};
use crate::system::{run, spawn};

/// The same with bodies too large to replay: a graceful GOAWAY needs no replay.
#[test]
fn rolling_goaway_loses_no_large_upload() {
    run(async {
        const REQUESTS: usize = 150;
        let behaviour = Behaviour { goaway_after: Some(10), ..Behaviour::default() };
        let backend = Backend::start(behaviour, |mut exchange| async move {
            let length = exchange.read().await.map(|(body, _)| body.len()).unwrap_or_default();
            exchange.answer(200, length.to_string()).await;
        })
        .await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        run_load(REQUESTS, 8, move |_| {
            let client = Arc::clone(&client);
            async move {
                let head = head(Method::POST, "/large", &unique_id());
                let answer = client.send(head, vec![7; 150_000]).await.expect("no request fails");
                assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"150000"[..]));
            }
        })
        .await;
        let executed = backend.seen(|seen| seen.executed.clone());
        assert_eq!(executed.len(), REQUESTS);
        assert!(executed.values().all(|times| *times == 1), "none was executed twice");
        assert!(backend.seen(|seen| seen.connections) >= REQUESTS / 10 / 2);
    });
}

/// Number of streams in flight, and how many of them the GOAWAY's last id covers.
const IN_FLIGHT: usize = 10;
const COVERED: usize = 4;

/// GOAWAY with a last id below some streams in flight: those above it run once more elsewhere;
/// those up to it are answered on their connection.
#[test]
fn goaway_moves_only_the_streams_above_its_last_id() {
    run(async {
        let (moved, moved_bodies) = mpsc::unbounded_channel();
        let (stayed, stayed_bodies) = mpsc::unbounded_channel();
        let moved_all = watch::Sender::new(0_usize);
        let backend = RawBackend::start(100, move |mut connection| {
            let (moved, stayed, moved_all) = (moved.clone(), stayed.clone(), moved_all.clone());
            async move {
                let mut bodies = Bodies::default();
                if connection.number > 0 {
                    while let Some((stream, body)) = connection.request(&mut bodies).await {
                        connection.answer(stream, &body).await;
                        moved.send(body).expect("the test listens");
                        moved_all.send_modify(|count| *count += 1);
                    }
                    return;
                }
                let mut requests = Vec::new();
                while requests.len() < IN_FLIGHT {
                    requests
                        .push(connection.request(&mut bodies).await.expect("a request arrives"));
                }
                requests.sort_unstable();
                connection.go_away(requests[COVERED - 1].0, 0).await;
                let mut seen = moved_all.subscribe();
                let all = seen.wait_for(|count| *count == IN_FLIGHT - COVERED);
                drop(within("the others ran elsewhere", all).await);
                for (stream, body) in &requests[..COVERED] {
                    connection.answer(*stream, body).await;
                    stayed.send(body.clone()).expect("the test listens");
                }
                let disturbed = rest(&mut connection).await.into_iter().any(|frame| {
                    frame.kind == kind::RST_STREAM && frame.stream <= requests[COVERED - 1].0
                });
                assert!(!disturbed, "streams up to the last id are not reset");
                drop(stayed);
            }
        })
        .await;
        let baton = Baton::start(&[backend.url()], &["--max-connections", "1"]).await;
        let client = Arc::new(Http2::connect(baton.address).await);

        post_all(&client, IN_FLIGHT).await;

        let stayed = take(stayed_bodies, COVERED).await;
        let moved = take(moved_bodies, IN_FLIGHT - COVERED).await;
        assert!(moved.iter().all(|body| !stayed.contains(body)), "none was executed twice");
        let again =
            baton.wait_for_requests(IN_FLIGHT).await.iter().filter(|l| l["attempts"] == 2).count();
        assert_eq!(again, IN_FLIGHT - COVERED, "only the unprocessed ones took a second attempt");
    });
}

/// Reads all frames up to the end of the connection.
async fn rest(connection: &mut crate::support::raw::RawConnection) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(frame) = connection.next().await {
        frames.push(frame);
    }
    frames
}

/// Receives the next `count` values of a channel, and checks that there are no more.
async fn take(mut channel: mpsc::UnboundedReceiver<String>, count: usize) -> Vec<String> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(within("one more", channel.recv()).await.expect("the script runs"));
    }
    assert!(channel.try_recv().is_err(), "there are no more than {count}");
    taken
}

/// Sends POSTs with unique bodies, all at once; each must be answered with its own body.
async fn post_all(client: &Arc<Http2>, count: usize) {
    let client = Arc::clone(client);
    run_load(count, count, move |_| {
        let client = Arc::clone(&client);
        async move {
            let id = unique_id();
            let head = head(Method::POST, "/", &id);
            let answer = client.send(head, id.clone()).await.expect("it is answered");
            assert_eq!((answer.status.as_u16(), answer.body), (200, id.into()));
        }
    })
    .await;
}

/// GOAWAY covers a POST, then the connection breaks: the POST may have been executed, so it is not
/// retried, whatever the GOAWAY's code. The POST above the last id is retried.
#[test]
fn goaway_then_cut_retries_only_the_unprocessed_request() {
    run(async {
        for code in [0x0, 0x2, 0xb] {
            let (sent, mut received) = mpsc::unbounded_channel();
            let backend = RawBackend::start(100, move |mut connection| {
                let sent = sent.clone();
                async move {
                    let mut bodies = Bodies::default();
                    if connection.number > 0 {
                        while let Some((stream, body)) = connection.request(&mut bodies).await {
                            connection.answer(stream, &body).await;
                            sent.send(body).expect("the test listens");
                        }
                        return;
                    }
                    let mut requests = Vec::new();
                    for _ in 0..2 {
                        requests.push(
                            connection.request(&mut bodies).await.expect("a request arrives"),
                        );
                    }
                    requests.sort_unstable();
                    sent.send(requests[1].1.clone()).expect("the test listens");
                    connection.go_away(requests[0].0, code).await;
                }
            })
            .await;
            let baton = Baton::start(&[backend.url()], &[]).await;
            let client = Http2::connect(baton.address).await;
            let post = |id: &'static str| client.send(head(Method::POST, "/", id), id);
            let (one, other) = tokio::join!(post("one"), post("other"));
            let unprocessed = within("its body", received.recv()).await.expect("the script runs");
            for (id, answer) in [("one", one), ("other", other)] {
                let status = answer.expect("each is answered").status;
                let expected = if id == unprocessed { 200 } else { 502 };
                assert_eq!(status, expected, "{id}, GOAWAY code {code}");
            }
            let again = within("the repeated one", received.recv()).await.expect("the script runs");
            assert_eq!(again, unprocessed, "GOAWAY code {code}");
            assert!(received.try_recv().is_err(), "nothing else was retried");
        }
    });
}

/// GOAWAY with last id 0 right after the SETTINGS: the connection never carries a request.
#[test]
fn goaway_during_the_handshake_costs_no_request() {
    run(async {
        let backend = RawBackend::start(100, |mut connection| async move {
            if connection.number == 0 {
                return connection.go_away(0, 0).await;
            }
            let mut bodies = Bodies::default();
            while let Some((stream, body)) = connection.request(&mut bodies).await {
                connection.answer(stream, &body).await;
            }
        })
        .await;
        let baton = Baton::start(&[backend.url()], &["--max-connections", "1"]).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        post_all(&client, 5).await;
    });
}

/// The only backend restarts on the same port: requests in the meantime wait, then succeed.
#[test]
fn a_single_backend_restarts_and_requests_in_the_gap_wait() {
    run(async {
        let mut backend = Backend::echo().await;
        let flags = ["--queue-timeout", "25s", "--backoff-max", "500ms"];
        let baton = Baton::start(&[backend.url()], &flags).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        post_all(&client, 1).await;

        backend.stop().await;
        baton.wait_for_log("connection closed", |line| message(line) == "connection closed").await;
        let waiting = Arc::clone(&client);
        let waiting = spawn(async move { post_all(&waiting, 8).await });
        // A dial failed after the requests arrived, so they wait.
        baton.wait_for_log("connect failed", |line| message(line) == "connect failed").await;
        assert_eq!(baton.wait_for_requests(1).await.len(), 1, "none has ended");
        backend.listen().await;

        within("the waiting requests are answered", waiting).await.expect("none failed");
        let executed = backend.seen(|seen| seen.executed.clone());
        assert_eq!(executed.len(), 9);
        assert!(executed.values().all(|times| *times == 1), "none was executed twice");
    });
}

/// One of two backends restarts gracefully, several times, under load.
#[test]
fn graceful_restarts_beside_another_backend_fail_nothing() {
    run(async {
        let steady = Backend::echo().await;
        let restarting = Backend::echo().await;
        let baton = Baton::start(&[steady.url(), restarting.url()], &[]).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        let mut posted = 0;
        for restart in 1..=3 {
            // The other one serves all requests until a new connection exists.
            let before = restarting.seen(|seen| seen.executed.len());
            let takes_part = async {
                while restarting.seen(|seen| seen.executed.len()) == before {
                    post_all(&client, 10).await;
                    posted += 10;
                }
            };
            within("it serves again after each restart", takes_part).await;
            restarting.go_away();
            baton.wait_for_lines("goaway received", restart).await;
        }
        post_all(&client, 50).await;
        let executed = steady.seen(|seen| seen.executed.len());
        assert_eq!(executed + restarting.seen(|seen| seen.executed.len()), posted + 50);
    });
}
