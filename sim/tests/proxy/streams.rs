//! Tests streams and their limits: refusals, MAX_CONCURRENT_STREAMS and its changes.

use std::sync::Arc;

use h2::Reason;
use http::Method;
use tokio::sync::{mpsc, watch};

use crate::support::client::head;
use crate::support::raw::{Bodies, RawBackend, kind};
use crate::support::{Backend, Baton, Behaviour, Http2, run_load, unique_id, within};
use crate::system::{run, spawn};

/// Each POST is refused the first time, then retried and executed once.
#[test]
fn refused_stream_is_retried_and_executed_once() {
    run(async {
        let backend = Backend::start(Behaviour::default(), |exchange| async move {
            if exchange.times_arrived() == 1 {
                return exchange.reset(Reason::REFUSED_STREAM);
            }
            exchange.echo().await;
        })
        .await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        run_load(40, 4, move |_| {
            let client = Arc::clone(&client);
            async move {
                let id = unique_id();
                let answer = client.send(head(Method::POST, "/refused", &id), id.clone()).await;
                let answer = answer.expect("it is answered");
                assert_eq!((answer.status.as_u16(), answer.body), (200, id.into()));
            }
        })
        .await;
        let executed = backend.seen(|seen| seen.executed.clone());
        assert_eq!(executed.len(), 40);
        assert!(executed.values().all(|times| *times == 1), "each POST was executed once");
        for line in baton.wait_for_requests(40).await {
            assert_eq!(line["attempts"], 2, "{line}");
            assert_eq!(line["evidence"], "refused", "{line}");
        }
    });
}

/// A backend that always refuses: the attempts run out, and the client gets a 502.
#[test]
fn always_refused_is_a_502_after_three_attempts() {
    run(async {
        let backend = Backend::start(Behaviour::default(), |exchange| async move {
            exchange.reset(Reason::REFUSED_STREAM);
        })
        .await;
        let baton = Baton::start(&[backend.url()], &[]).await;
        let client = Http2::connect(baton.address).await;
        let answer = client.get("/refused").await.expect("an answer of Baton's own");
        assert_eq!(answer.status, 502);
        assert!(answer.header("proxy-status").starts_with("baton; error="), "{:?}", answer.headers);
        assert_eq!(backend.seen(|seen| seen.heads.len()), 3);
        assert_eq!(baton.wait_for_requests(1).await[0]["attempts"], 3);
    });
}

/// A body that was read before the refusal is replayed from its first byte. One larger than the
/// replay buffer cannot be replayed, and the client gets a 502.
#[test]
fn refused_bodies_are_replayed_up_to_the_replay_buffer() {
    run(async {
        let backend = Backend::start(Behaviour::default(), |mut exchange| async move {
            if exchange.times_arrived() > 1 {
                return exchange.echo().await;
            }
            // For the large body, enough that Baton has dropped its beginning.
            let enough = if exchange.id() == "large" { 200_000 } else { 40_000 };
            let mut received = 0;
            while received < enough {
                let chunk = exchange.read_chunk().await.expect("no reset").expect("more to come");
                received += chunk.len();
            }
            exchange.reset(Reason::REFUSED_STREAM);
        })
        .await;
        let baton = Baton::start(&[backend.url()], &["--replay-buffer", "65536"]).await;
        let client = Http2::connect(baton.address).await;
        let small: Vec<u8> = (0..40_000_u32).map(|at| (at % 251) as u8).collect();
        let answer = client.send(head(Method::POST, "/", "small"), small.clone()).await;
        let answer = answer.expect("it is answered");
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        assert!(answer.body == small, "the same bytes from the start");
        let large = vec![7; 300_000];
        let answer = client.send(head(Method::POST, "/", "large"), large).await;
        assert_eq!(answer.expect("an answer of Baton's own").status, 502);
        assert_eq!(backend.seen(|seen| seen.executed.get("large").copied()), None);
        assert_eq!(backend.seen(|seen| seen.heads.len()), 3, "the large one was not sent again");
    });
}

/// The backend allows 5 streams; 64 requests arrive at once; two connections are allowed.
#[test]
fn limit_of_five_streams_holds_with_64_concurrent_requests() {
    run(async {
        const CONNECTIONS: usize = 2;
        let gate = watch::Sender::new(false);
        let opening = gate.clone();
        let behaviour = Behaviour { max_streams: Some(5), ..Behaviour::default() };
        let backend = Backend::start(behaviour, move |exchange| {
            let mut gate = gate.subscribe();
            async move {
                gate.wait_for(|open| *open).await.map(drop).expect("the test holds the sender");
                exchange.echo().await;
            }
        })
        .await;
        let flags = ["--max-connections", "2", "--queue-timeout", "25s"];
        let baton = Baton::start(&[backend.url()], &flags).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        let load = spawn(run_load(64, 64, move |_| {
            let client = Arc::clone(&client);
            async move {
                let id = unique_id();
                let answer = client.send(head(Method::POST, "/", &id), id.clone()).await;
                assert_eq!(answer.expect("it is answered").body, id.as_bytes());
            }
        }));

        backend.wait_until("all streams are in use", |seen| seen.open() == 5 * CONNECTIONS).await;
        opening.send_replace(true);
        within("all 64 are answered", load).await.expect("none failed");
        assert_eq!(backend.seen(|seen| seen.most_open), 5, "never more than 5 on a connection");
        assert_eq!(backend.seen(|seen| seen.connections), CONNECTIONS);
        // The h2 crate refuses a sixth stream before the script sees it; attempts would show that.
        for line in baton.wait_for_requests(64).await {
            assert_eq!(line["attempts"], 1, "a stream too many was opened: {line}");
        }
    });
}

/// SETTINGS lowers the limit to 0 and later raises it: requests wait, none is lost.
#[test]
fn settings_lowered_to_zero_and_raised_again() {
    run(async {
        let (lowered, mut is_lowered) = mpsc::channel(1);
        let raise = watch::Sender::new(false);
        let raising = raise.clone();
        let backend = RawBackend::start(10, move |mut connection| {
            let (lowered, mut raise) = (lowered.clone(), raise.subscribe());
            async move {
                assert_eq!(connection.number, 0, "only one connection is allowed");
                let mut bodies = Bodies::default();
                for _ in 0..3 {
                    let (stream, body) =
                        connection.request(&mut bodies).await.expect("a request arrives");
                    connection.answer(stream, &body).await;
                }
                // The acknowledgement of the first SETTINGS may still be on its way: two round
                // trips.
                connection.limit_streams(0).await;
                connection.ping().await;
                connection.until(|frame| frame.acknowledges(kind::PING)).await;
                lowered.send(()).await.expect("the test listens");
                within("the test raises the limit", raise.wait_for(|raise| *raise))
                    .await
                    .map(drop)
                    .ok();
                connection.ping().await;
                let quiet = connection.until(|frame| frame.acknowledges(kind::PING)).await;
                assert!(quiet.iter().all(|frame| frame.kind != kind::HEADERS), "the limit is 0");
                connection.limit_streams(10).await;
                while let Some((stream, body)) = connection.request(&mut bodies).await {
                    connection.answer(stream, &body).await;
                }
            }
        })
        .await;
        let flags = ["--max-connections", "1", "--queue-timeout", "25s"];
        let baton = Baton::start(&[backend.url()], &flags).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        post_each(&client, 3).await;
        within("the limit is lowered", is_lowered.recv()).await.expect("the script runs");
        baton.wait_for_requests(3).await;

        let posting = Arc::clone(&client);
        let waiting = spawn(async move { post_each(&posting, 8).await });
        // Two round trips: the requests have reached Baton, and it had time to open streams
        // wrongly.
        tokio::task::yield_now().await;
        client.ping().await;
        client.ping().await;
        assert_eq!(baton.lines("request").len(), 3, "none is answered while the limit is 0");
        raising.send_replace(true);
        within("the waiting requests are answered", waiting).await.expect("none failed");
        for line in baton.wait_for_requests(11).await {
            assert_eq!(line["attempts"], 1, "{line}");
        }
    });
}

/// The limit of one connection drops to 0 for good: requests use another connection.
#[test]
fn settings_lowered_to_zero_moves_requests_to_another_connection() {
    run(async {
        let (lowered, mut is_lowered) = mpsc::channel(1);
        let backend = RawBackend::start(10, move |mut connection| {
            let lowered = lowered.clone();
            async move {
                let mut bodies = Bodies::default();
                while let Some((stream, body)) = connection.request(&mut bodies).await {
                    if connection.number == 0 {
                        connection.limit_streams(0).await;
                        connection.ping().await;
                        connection.until(|frame| frame.acknowledges(kind::PING)).await;
                        lowered.send(()).await.expect("the test listens");
                    }
                    connection.answer(stream, &body).await;
                }
            }
        })
        .await;
        let flags = ["--max-connections", "2", "--queue-timeout", "25s"];
        let baton = Baton::start(&[backend.url()], &flags).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        post_each(&client, 1).await;
        within("the limit is lowered", is_lowered.recv()).await.expect("the script runs");
        post_each(&client, 6).await;
        let lines = baton.wait_for_requests(7).await;
        let first = &lines[0]["connection"];
        assert!(lines[1..].iter().all(|line| line["connection"] != *first), "{lines:?}");
        assert!(lines.iter().all(|line| line["attempts"] == 1), "{lines:?}");
    });
}

/// SETTINGS lowers the limit below the number of open streams: these continue, and no new stream is
/// opened until the load is below the new limit.
#[test]
fn settings_lowered_below_what_is_open() {
    run(async {
        let (held, mut is_held) = mpsc::channel(1);
        let go_on = watch::Sender::new(false);
        let going_on = go_on.clone();
        let backend = RawBackend::start(10, move |mut connection| {
            let (held, mut go_on) = (held.clone(), go_on.subscribe());
            async move {
                let mut bodies = Bodies::default();
                let mut open = Vec::new();
                for _ in 0..4 {
                    open.push(connection.request(&mut bodies).await.expect("a request arrives"));
                }
                connection.limit_streams(2).await;
                connection.ping().await;
                connection.until(|frame| frame.acknowledges(kind::PING)).await;
                held.send(()).await.expect("the test listens");
                within("more requests came", go_on.wait_for(|go_on| *go_on)).await.map(drop).ok();
                // Open streams go from 4 to 3 to 2 with a limit of 2: two answers free no capacity,
                // the third does.
                for (stream, body) in open.drain(..2) {
                    connection.answer(stream, &body).await;
                }
                connection.ping().await;
                let quiet = connection.until(|frame| frame.acknowledges(kind::PING)).await;
                assert!(quiet.iter().all(|frame| frame.kind != kind::HEADERS), "the limit is 2");
                for (stream, body) in open {
                    connection.answer(stream, &body).await;
                }
                while let Some((stream, body)) = connection.request(&mut bodies).await {
                    connection.answer(stream, &body).await;
                }
            }
        })
        .await;
        let flags = ["--max-connections", "1", "--queue-timeout", "25s"];
        let baton = Baton::start(&[backend.url()], &flags).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        let posting = Arc::clone(&client);
        let first = spawn(async move { post_each(&posting, 4).await });
        within("the limit is lowered", is_held.recv()).await.expect("the script runs");
        let posting = Arc::clone(&client);
        let second = spawn(async move { post_each(&posting, 6).await });
        tokio::task::yield_now().await;
        client.ping().await;
        going_on.send_replace(true);
        within("those that were open are answered", first).await.expect("none failed");
        within("those that waited are answered", second).await.expect("none failed");
        for line in baton.wait_for_requests(10).await {
            assert_eq!(line["attempts"], 1, "{line}");
        }
    });
}

/// Sends POSTs with unique bodies, all at once; each must be answered with its own body.
async fn post_each(client: &Arc<Http2>, count: usize) {
    let client = Arc::clone(client);
    run_load(count, count, move |_| {
        let client = Arc::clone(&client);
        async move {
            let id = unique_id();
            let answer = client.send(head(Method::POST, "/", &id), id.clone()).await;
            let answer = answer.expect("it is answered");
            assert_eq!((answer.status.as_u16(), answer.body), (200, id.into()));
        }
    })
    .await;
}
