//! Tests draining and undraining a backend, with commands and over the admin interface.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::{BodyExt as _, Full};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::client::head;
use crate::support::command::{carried_out, command, run_baton};
use crate::support::http1::{Http1Backend, Reached};
use crate::support::{Backend, Baton, Exchange, Http1, Http2, eventually, unique_id, within};
use crate::system::spawn;

const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

/// One connection of either protocol.
enum Client {
    Http1(Http1),
    Http2(Http2),
}

impl Client {
    /// Sends a request and checks that it is answered with its own body.
    async fn post(&mut self) {
        let id = unique_id();
        let head = head(Method::POST, "/load", &id);
        let answer = match self {
            Self::Http1(client) => client.send(head, id.clone()).await.expect("it is answered"),
            Self::Http2(client) => client.send(head, id.clone()).await.expect("it is answered"),
        };
        assert_eq!((answer.status.as_u16(), answer.body), (200, Bytes::from(id)));
    }
}

/// Clients of both protocols that send continuously until stopped.
struct Load {
    stop: watch::Sender<bool>,
    clients: JoinSet<usize>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let (stop, clients) = (watch::Sender::new(false), JoinSet::new());
        let mut load = Self { stop, clients };
        for _ in 0..3 {
            load.add(async move { Client::Http2(Http2::connect(address).await) });
            load.add(async move { Client::Http1(Http1::connect(address).await) });
        }
        load
    }

    fn add(&mut self, client: impl Future<Output = Client> + Send + 'static) {
        let stop = self.stop.subscribe();
        self.clients.spawn(async move {
            let mut client = client.await;
            let mut sent = 0;
            while !*stop.borrow() {
                client.post().await;
                sent += 1;
            }
            sent
        });
    }

    /// Stops the clients. Returns the number of answered requests.
    async fn stop(mut self) -> usize {
        self.stop.send_replace(true);
        let mut sent = 0;
        while let Some(client) = within("a client ends", self.clients.join_next()).await {
            sent += client.expect("no request fails");
        }
        sent
    }
}

/// Drains one of two backends under load twice, and undrains it in between.
async fn drain_under_load(
    urls: [String; 2],
    drained: impl Fn() -> usize,
    other: impl Fn() -> usize,
) {
    let baton = Baton::start(&urls, &[&ADMIN[..], &["--workers", "2"]].concat()).await;
    let target = format!("/drain?backend={}", urls[0]);
    let load = Load::start(baton.address);
    eventually("both get requests", || drained() > 50 && other() > 50).await;
    for _ in 0..2 {
        let report = carried_out(&baton, Method::POST, &target).await;
        let held = report["streams"].as_u64().expect("a number") as usize;
        let at_answer = drained();
        assert_eq!((&report["state"], &report["changed"]), (&"draining".into(), &true.into()));
        let followed = command(&baton, &["drain", &urls[0], "--wait"]).await;
        assert_eq!(followed.code, Some(0), "{followed:?}");
        let empty = drained();
        assert!(empty <= at_answer + held, "{empty} > {at_answer} + {held}: {report}");
        let served = other();
        eventually("the other one serves on", || other() > served + 100).await;
        assert_eq!(drained(), empty, "no new request after it was drained");
        let back = command(&baton, &["undrain", &urls[0]]).await;
        assert_eq!((back.code, &*back.stderr), (Some(0), ""), "{back:?}");
        eventually("it serves again", || drained() > empty + 20).await;
    }
    let sent = load.stop().await;
    let lines = baton.wait_for_requests(sent).await;
    assert_eq!(lines.len(), sent);
    assert!(lines.iter().all(|line| line["status"] == 200 && line["attempts"] == 1));
}

#[tokio::test(flavor = "local")]
async fn http2_backends_drain_under_load_without_a_failure() {
    let (drained, other) = (Backend::echo().await, Backend::echo().await);
    let urls = [drained.url(), other.url()];
    let heads = |backend: &Backend| backend.seen(|seen| seen.heads.len());
    drain_under_load(urls, || heads(&drained), || heads(&other)).await;
}

#[tokio::test(flavor = "local")]
async fn http1_backends_drain_under_load_without_a_failure() {
    let counts = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let mut backends = Vec::new();
    for count in &counts {
        let count = Arc::clone(count);
        let backend = Http1Backend::start(Reached::Cleartext, move |request| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                let body = request.into_body().collect().await.expect("a whole body");
                Response::new(Full::new(body.to_bytes()))
            }
        });
        backends.push(backend.await);
    }
    let urls = [backends[0].url(), backends[1].url()];
    let count = |index: usize| counts[index].load(Ordering::Relaxed);
    drain_under_load(urls, || count(0), || count(1)).await;
}

#[tokio::test(flavor = "local")]
async fn requests_in_flight_are_listed_and_finish() {
    let (backend, gate) = Backend::gated(Exchange::echo).await;
    let baton = Baton::start(&[backend.url()], &ADMIN).await;
    let client = Http2::connect(baton.address).await;
    let held = spawn(async move { client.send(head(Method::POST, "/long?x=1", "a"), "a").await });
    backend.wait_until("it is in flight", |seen| seen.open() == 1).await;
    let place = backend.address.to_string();
    let drained = command(&baton, &["drain", &place, "--within", "1h"]).await;
    assert_eq!(drained.code, Some(0), "{drained:?}");
    let lines: Vec<_> = drained.stdout.lines().collect();
    let [headline, columns, row] = lines[..] else { panic!("three lines: {drained:?}") };
    assert!(headline.contains(&backend.url()) && headline.contains("draining"), "{headline}");
    assert!(
        headline.contains("held by 1 request on 1 connection, deadline in 1h 0m"),
        "{headline}"
    );
    assert!(columns.starts_with("WORKER  CONNECTION"), "{columns}");
    let row: Vec<_> = row.split_whitespace().collect();
    assert_eq!(
        (&row[..4], &row[5..]),
        (&["0", "b0/s0/g1", "draining", "1"][..], &["-", "POST", "/long?x=1"][..])
    );
    assert!(drained.stderr.contains("no other backend of the cluster"), "{drained:?}");

    let report = carried_out(&baton, Method::GET, &format!("/drain?backend={place}")).await;
    let connection = &report["workers"][0]["connections"][0];
    assert_eq!(
        (&connection["connection"], &connection["state"]),
        (&"b0/s0/g1".into(), &"draining".into())
    );
    let stream = &connection["streams"][0];
    assert_eq!((&stream["stream"], &stream["response_begun"]), (&1.into(), &false.into()));
    assert!(stream["age_ms"].is_u64() && report["deadline_ms"].as_u64() > Some(3_000_000));

    let admin = baton.admin().await.to_string();
    let waiting =
        spawn(async move { run_baton(&["drain", &place, "--wait", "--admin", &admin]).await });
    gate.send_replace(true);
    let answer = within("it is answered", held).await.expect("no panic").expect("it finishes");
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"a"[..]));
    let waited = within("the command ends", waiting).await.expect("no panic");
    assert_eq!(waited.code, Some(0), "{waited:?}");
    assert!(waited.stdout.contains("nothing holds it"), "{waited:?}");
    assert!(baton.lines("request cut").is_empty());
}
