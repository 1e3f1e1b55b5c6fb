//! Tests reloads: triggers, reports, refusals, and the traffic in the meantime.

use std::net::SocketAddr;
use std::time::Duration;

use h2::client::ResponseFuture;
use http::Method;
use serde_json::Value;
use tokio::sync::watch;

use crate::support::baton::message;
use crate::support::client::{head, read_answer};
use crate::support::reload::{ConfigFile, LISTENER, PROCESS, cluster, refused, reload, reloaded};
use crate::support::{Backend, Baton, Behaviour, Exchange, Http1, Http2, within};
use crate::system::{TcpStream, run, spawn};

/// A backend that answers with its name.
async fn named(name: &'static str) -> Backend {
    Backend::start(Behaviour::default(), move |exchange: Exchange| exchange.answer(200, name)).await
}

/// A backend that answers with its name once the gate is open.
async fn gated(name: &'static str) -> (Backend, watch::Sender<bool>) {
    Backend::gated(move |exchange| exchange.answer(200, name)).await
}

async fn body(client: &Http2, path: &str) -> String {
    let answer = client.get(path).await.expect("it is answered");
    String::from_utf8(answer.body.to_vec()).expect("text")
}

fn text(parts: &[&str]) -> String {
    parts.concat()
}

/// The addresses of the first `count` listeners, in the order in which they started.
async fn addresses(baton: &Baton, count: usize) -> Vec<SocketAddr> {
    let lines = baton.wait_for_lines("listening", count).await;
    let address = |line: &Value| line["address"].as_str().expect("text").parse().expect("one");
    lines.iter().map(address).collect()
}

#[test]
fn backends_are_added_removed_and_kept_with_their_connections() {
    run(async {
        let (stays, goes, comes) =
            (named("stays").await, named("goes").await, named("comes").await);
        let file = |backends: &[(String, u16)]| {
            text(&[PROCESS, LISTENER, &cluster("web", "strategy = \"weighted\"", backends)])
        };
        let before = file(&[(stays.url(), 1), (goes.url(), 1)]);
        let config = ConfigFile::new("come-and-go.toml", &before);
        let baton = Baton::start_with_file(&config.path, &[]).await;
        let client = Http2::connect(baton.address).await;
        let both = async {
            while stays.seen(|seen| seen.connections) == 0
                || goes.seen(|seen| seen.connections) == 0
            {
                body(&client, "/").await;
            }
        };
        within("both have a connection", both).await;
        assert_eq!(reloaded(&baton).await, ["nothing changed"]);

        config.write(&file(&[(stays.url(), 7), (comes.url(), 1)]));
        let (status, report) = reload(&baton).await;
        assert_eq!(status, 200, "{report}");
        assert_eq!(
            report["changes"],
            serde_json::json!([
                format!("backend {} of web added", comes.url()),
                format!("backend {} of web removed", goes.url()),
                format!("backend {} of web weight 1 to 7", stays.url()),
            ])
        );
        assert_eq!((&report["changed"], &report["trigger"]), (&true.into(), &"admin".into()));
        assert_eq!(report["backends"]["kept"], 1);
        assert_eq!(report["clusters"]["kept"], 1);
        assert!(report["took_ms"].is_u64(), "{report}");
        let arrived = goes.seen(|seen| seen.heads.len());
        let come = async {
            while comes.seen(|seen| seen.heads.len()) == 0 {
                assert_ne!(body(&client, "/").await, "goes");
            }
        };
        within("the new one gets requests", come).await;
        assert_eq!(goes.seen(|seen| seen.heads.len()), arrived, "the old one gets no more");
        assert_eq!(stays.seen(|seen| seen.connections), 1, "its connection stays warm");
        let pools: Value = serde_json::from_str(&baton.ask("/pools").await).expect("JSON");
        let backends = pools["workers"][0]["clusters"][0]["backends"].as_array().expect("a list");
        let weight = |url: &str| {
            let backend = backends.iter().find(|backend| backend["backend"] == url);
            backend.map(|backend| backend["weight"].clone())
        };
        assert_eq!(weight(&stays.url()), Some(7.into()));
    });
}

/// Requests of a removed backend or cluster are answered over the same connections.
#[test]
fn removed_backends_and_clusters_finish_their_requests() {
    run(async {
        let (backend, gate) = gated("removed backend").await;
        let (of_cluster, cluster_gate) = gated("removed cluster").await;
        let stays = named("stays").await;
        let before = text(&[
            PROCESS,
            LISTENER,
            &cluster("web", "", &[(backend.url(), 1)]),
            &cluster("old", "", &[(of_cluster.url(), 1)]),
            "[[route]]\npath_prefix = \"/old\"\ncluster = \"old\"\n[[route]]\ncluster = \"web\"\n",
        ]);
        let config = ConfigFile::new("finish.toml", &before);
        let baton = Baton::start_with_file(&config.path, &[]).await;
        let client = Http2::connect(baton.address).await;
        let (one, _) =
            client.begin(head(Method::GET, "/", "one"), true).await.expect("the connection lives");
        let (other, _) =
            client.begin(head(Method::GET, "/old", "other"), true).await.expect("as above");
        backend.wait_until("it is in flight", |seen| seen.open() == 1).await;
        of_cluster.wait_until("it is in flight", |seen| seen.open() == 1).await;

        config.write(&text(&[PROCESS, LISTENER, &cluster("web", "", &[(stays.url(), 1)])]));
        let changes = reloaded(&baton).await;
        assert!(changes.contains(&"cluster old removed".to_owned()), "{changes:?}");
        assert!(changes.contains(&"route */old to old removed".to_owned()), "{changes:?}");
        assert_eq!(body(&client, "/old").await, "stays", "new requests go by the new routes");
        gate.send_replace(true);
        cluster_gate.send_replace(true);
        for (response, name) in [(one, "removed backend"), (other, "removed cluster")] {
            let response = within("the response", response).await.expect("it is answered");
            assert_eq!(read_answer(response).await.expect("to its end").body, name);
        }
        for backend in [&backend, &of_cluster] {
            assert_eq!(backend.seen(|seen| (seen.connections, seen.resets.len())), (1, 0));
        }
        assert_eq!(body(&client, "/").await, "stays");
    });
}

/// A file whose cluster has this many requests. Another size requires another pool.
fn sized(backend: &Backend, requests: usize, drain: &str) -> String {
    let limits = format!(
        "limits = {{ requests = {requests}, waiting = 8 }}\ntimeouts = {{ drain = '{drain}' }}"
    );
    text(&[PROCESS, LISTENER, &cluster("web", &limits, &[(backend.url(), 1)])])
}

/// A request in flight in a pool that has been replaced. That pool has the given drain timeout; the
/// current one has 500 ms.
struct HeldInReplaced {
    backend: Backend,
    gate: watch::Sender<bool>,
    baton: Baton,
    client: Http2,
    response: ResponseFuture,
}

impl HeldInReplaced {
    async fn start(name: &str, drain: &str) -> Self {
        let (backend, gate) = gated("it").await;
        let config = ConfigFile::new(name, &sized(&backend, 64, drain));
        let baton = Baton::start_with_file(&config.path, &[]).await;
        let client = Http2::connect(baton.address).await;
        let held = client.begin(head(Method::GET, "/", "held"), true).await;
        let (response, _) = held.expect("the connection lives");
        backend.wait_until("it is in flight", |seen| seen.open() == 1).await;
        config.write(&sized(&backend, 128, "500ms"));
        let changes = reloaded(&baton).await;
        assert_eq!(changes[0], "pools of cluster web replaced");
        Self { backend, gate, baton, client, response }
    }
}

/// A replaced pool finishes the requests it has accepted.
#[test]
fn replaced_pools_finish_their_requests() {
    run(async {
        let held = HeldInReplaced::start("pools.toml", "500ms").await;
        let next = held.client.begin(head(Method::GET, "/", "next"), true).await;
        let (next, _) = next.expect("the connection lives");
        held.backend.wait_until("both are in flight", |seen| seen.open() == 2).await;
        // Longer than the drain timeout, and far less than twenty times that.
        tokio::time::sleep(Duration::from_secs(1)).await;
        held.gate.send_replace(true);
        for response in [held.response, next] {
            let response = within("the response", response).await.expect("it is answered");
            assert_eq!(read_answer(response).await.expect("to its end").body, "it");
        }
        assert_eq!(held.backend.seen(|seen| seen.connections), 2);
    });
}

/// At process shutdown, a replaced pool has its own drain timeout, independent of the current
/// pool's.
#[test]
fn replaced_pools_end_with_the_process() {
    run(async {
        let mut held = HeldInReplaced::start("pools-end.toml", "3s").await;
        // Longer than the current pool's drain timeout.
        tokio::time::sleep(Duration::from_millis(1_700)).await;
        held.baton.terminate();
        let response = within("the response", held.response).await.expect("it is answered");
        assert_eq!(response.status(), 503);
        assert_eq!(held.baton.exit().await, Some(0));
    });
}

#[test]
fn listeners_are_added_and_removed() {
    run(async {
        let (backend, gate) = gated("it").await;
        let web = cluster("web", "", &[(backend.url(), 1)]);
        let one = text(&[PROCESS, LISTENER, &web]);
        let two = text(&[PROCESS, LISTENER, "[[listener]]\naddress = \"[::1]:0\"\n", &web]);
        let config = ConfigFile::new("listeners-change.toml", &one);
        let baton = Baton::start_with_file(&config.path, &[]).await;
        assert!(baton.lines("listener removed").is_empty());
        config.write(&two);
        assert_eq!(reloaded(&baton).await, ["listener [::1]:0 added"]);
        let added = addresses(&baton, 2).await[1];
        let http2 = Http2::connect(added).await;
        let (held, _) =
            http2.begin(head(Method::GET, "/", "held"), true).await.expect("the connection lives");
        let mut http1 = Http1::connect(added).await;
        let last = spawn(async move { http1.get("/").await });
        let other = Http2::connect(baton.address).await;
        backend.wait_until("both are in flight", |seen| seen.open() == 2).await;

        config.write(&one);
        assert_eq!(reloaded(&baton).await, ["listener [::1]:0 removed"]);
        assert_eq!(
            baton.wait_for_lines("listener removed", 1).await[0]["address"],
            added.to_string()
        );
        let gone = async { while TcpStream::connect(added).await.is_ok() {} };
        within("the port is closed", gone).await;
        gate.send_replace(true);
        let response = within("the response", held).await.expect("it is answered");
        assert_eq!(read_answer(response).await.expect("to its end").body, "it");
        let last = within("the response", last).await.expect("no panic").expect("it is answered");
        assert_eq!((&last.body[..], last.header("connection")), (&b"it"[..], "close"));
        let closed = within("the connection ends", http2.closed).await;
        closed.expect("no panic").expect("in order, by GOAWAY");
        assert_eq!(body(&other, "/").await, "it", "connections of the kept listener still work");
    });
}

#[test]
fn a_kept_listener_changes_its_protocols() {
    run(async {
        let backend = named("it").await;
        let file = |http2: bool| {
            let listener = format!("{LISTENER}http2 = {http2}\n");
            text(&[PROCESS, &listener, &cluster("web", "", &[(backend.url(), 1)])])
        };
        let config = ConfigFile::new("protocols.toml", &file(true));
        let baton = Baton::start_with_file(&config.path, &[]).await;
        let before = Http2::connect(baton.address).await;
        assert_eq!(body(&before, "/").await, "it");
        config.write(&file(false));
        assert_eq!(reloaded(&baton).await, ["listener 127.0.0.1:0 changed"]);
        assert_eq!(body(&before, "/").await, "it", "open connections keep their protocol");
        let tcp = crate::support::client::connect(baton.address).await;
        let after = h2::client::handshake(tcp).await;
        let refused = match after {
            Err(_) => true,
            Ok((_, connection)) => within("the connection ends", connection).await.is_err(),
        };
        assert!(refused, "no HTTP/2 any more");
        assert_eq!(
            Http1::connect(baton.address).await.get("/").await.expect("HTTP/1.1").body,
            "it"
        );
    });
}

#[test]
fn every_trigger_reloads() {
    run(async {
        let (one, other) = (named("one").await, named("other").await);
        let file = |backend: &Backend, watch: bool| {
            let process = PROCESS.replace("[process]\n", &format!("[process]\nwatch = {watch}\n"));
            text(&[&process, LISTENER, &cluster("web", "", &[(backend.url(), 1)])])
        };
        let config = ConfigFile::new("triggers.toml", &file(&one, false));
        let baton = Baton::start_with_file(&config.path, &[]).await;
        let client = Http2::connect(baton.address).await;
        assert_eq!(body(&client, "/").await, "one");
        config.write(&file(&other, false));
        baton.hang_up();
        let lines = baton.wait_for_lines("reloaded", 1).await;
        assert_eq!(lines[0]["trigger"], "SIGHUP");
        assert!(lines[0]["changes"].as_str().expect("text").contains(&one.url()), "{}", lines[0]);
        assert_eq!(body(&client, "/").await, "other");
        config.write(&file(&one, true));
        let changes = reloaded(&baton).await;
        assert!(changes.contains(&"process.watch false to true".to_owned()), "{changes:?}");
        assert_eq!(body(&client, "/").await, "one");
        // From here on the file is watched. An invalid file is logged, and Baton keeps running.
        config.write("wrong");
        let refused = "reload refused, nothing changed";
        let line = baton.wait_for_log(refused, |line| message(line) == refused).await;
        assert_eq!((&line["trigger"], &line["level"]), (&"changed file".into(), &"ERROR".into()));
        assert!(line["reasons"].as_str().expect("text").contains("triggers.toml:1:"), "{line}");
        config.write(&file(&other, true));
        let lines = baton.wait_for_lines("reloaded", 3).await;
        assert_eq!(lines[2]["trigger"], "changed file");
        assert_eq!(body(&client, "/").await, "other");
        assert_eq!(baton.lines(refused).len(), 1, "once for each change");
        let metrics = baton.metrics().await;
        for (outcome, count) in [("changed", 3), ("unchanged", 0), ("failed", 1)] {
            let counted = metrics.sum("baton_reloads_total", &[("outcome", outcome)]) as u64;
            assert_eq!(counted, count, "{outcome}");
        }
        assert_eq!(metrics.sum("baton_last_reload_successful", &[]) as u64, 1);
    });
}

/// Concurrent reload requests are all answered; only the first changes something.
#[test]
fn concurrent_reloads_run_one_after_the_other() {
    run(async {
        let (one, other) = (named("one").await, named("other").await);
        let file = |backend: &Backend| {
            text(&[PROCESS, LISTENER, &cluster("web", "", &[(backend.url(), 1)])])
        };
        let config = ConfigFile::new("at-once.toml", &file(&one));
        let baton = Baton::start_with_file(&config.path, &[]).await;
        config.write(&file(&other));
        let asked = async { tokio::join!(reload(&baton), reload(&baton), reload(&baton)) };
        let answers: [_; 3] = within("all are answered", asked).await.into();
        assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
        let changed = answers.iter().filter(|(_, report)| report["changed"] == true);
        assert_eq!(changed.count(), 1);
        assert_eq!(baton.wait_for_lines("reloaded", 3).await.len(), 3);
        assert_eq!(body(&Http2::connect(baton.address).await, "/").await, "other");
    });
}

#[test]
fn a_reload_during_shutdown_does_nothing() {
    run(async {
        let (backend, gate) = gated("it").await;
        let file = text(&[PROCESS, LISTENER, &cluster("web", "", &[(backend.url(), 1)])]);
        let config = ConfigFile::new("stopping.toml", &file);
        let mut baton = Baton::start_with_file(&config.path, &[]).await;
        let client = Http2::connect(baton.address).await;
        let (held, _) =
            client.begin(head(Method::GET, "/", "held"), true).await.expect("the connection lives");
        backend.wait_until("it is in flight", |seen| seen.open() == 1).await;
        baton.terminate();
        baton.wait_for_log("draining", |line| message(line) == "draining").await;
        assert_eq!(refused(&baton, 503).await, ["not reloaded: the proxy is about to stop"]);
        baton.hang_up();
        baton.wait_for_lines("access log reopened", 1).await;
        gate.send_replace(true);
        let response = within("the response", held).await.expect("it is answered");
        assert_eq!(read_answer(response).await.expect("to its end").body, "it");
        assert_eq!(baton.exit().await, Some(0));
        assert!(baton.lines("reloaded").is_empty());
    });
}
