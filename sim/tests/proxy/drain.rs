//! Tests draining and undraining a backend, with commands and over the admin interface.

use std::path::Path;
use std::sync::Arc;

use http::Method;

use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::baton::message;
use crate::support::certificate::{cluster_trust, scratch_file};
use crate::support::client::head;
use crate::support::command::{carried_out, command, order, run_baton};
use crate::support::load::Held;
use crate::support::{Backend, Baton, Behaviour, Exchange, Http2, eventually, within};
use crate::system::{replace, run, spawn};

const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

#[test]
fn the_deadline_cuts_remaining_requests_and_sets_the_exit_code() {
    run(async {
        let backend = Backend::start(Behaviour::default(), Exchange::begin_and_hang).await;
        let baton = Baton::start(&[backend.url()], &ADMIN).await;
        let client = Http2::connect(baton.address).await;
        let (response, _stream) = client
            .begin(head(Method::GET, "/events", "a"), true)
            .await
            .expect("the connection lives");
        let response = within("the response begins", response).await.expect("it begins");
        let followed =
            command(&baton, &["drain", &backend.url(), "--within", "300ms", "--wait"]).await;
        assert_eq!(followed.code, Some(1), "{followed:?}");
        assert!(followed.stdout.contains("the deadline cut 1 request:"), "{followed:?}");
        let row = followed.stdout.lines().last().expect("a line").split_whitespace();
        let row: Vec<_> = row.collect();
        assert_eq!(
            (&row[..3], &row[4..]),
            (&["0", "b0/s0/g1", "1"][..], &["begun", "lost", "GET", "/events"][..])
        );
        let cut = crate::support::client::read_answer(response).await;
        assert!(cut.is_err(), "a response cut short is an error");
        let line = baton.wait_for_log("a cut request", |line| message(line) == "request cut").await;
        assert_eq!((&line["connection"], &line["stream"]), (&"b0/s0/g1".into(), &1.into()));
        assert_eq!((&line["by"], &line["path"]), (&"drain_deadline".into(), &"/events".into()));
        assert!(line["age_ms"].as_u64() >= Some(300), "{line}");
        let request = &baton.wait_for_requests(1).await[0];
        assert_eq!(request["outcome"], "cut_short");
    });
}

/// A retryable request moves to another backend when the deadline ends its stream.
#[test]
fn retryable_requests_cut_by_the_deadline_are_sent_elsewhere() {
    run(async {
        let stalled = Backend::start(Behaviour::default(), |exchange: Exchange| async {
            exchange.wait_for_reset().await;
        })
        .await;
        let other = Backend::healthy().await;
        let baton = Baton::start(&[stalled.url(), other.url()], &ADMIN).await;
        let client = Arc::new(Http2::connect(baton.address).await);
        let arrived = |backend: &Backend| backend.seen(|seen| seen.heads.len());
        let mut requests = JoinSet::new();
        while arrived(&stalled) == 0 {
            let client = Arc::clone(&client);
            let sent = requests.len();
            requests.spawn(async move { client.get(&format!("/{sent}")).await });
            let here = || arrived(&stalled) + arrived(&other) > sent;
            eventually("a backend has it", here).await;
        }
        let followed =
            command(&baton, &["drain", &stalled.url(), "--within", "0s", "--wait"]).await;
        assert_eq!(followed.code, Some(1), "{followed:?}");
        assert!(followed.stdout.contains("sent elsewhere"), "{followed:?}");
        let sent = requests.len();
        while let Some(answer) = within("all are answered", requests.join_next()).await {
            assert_eq!(answer.expect("no panic").expect("answered").status, 200);
        }
        assert_eq!(arrived(&other), sent);
    });
}

#[test]
fn a_second_drain_can_only_bring_the_deadline_forward() {
    run(async {
        let backend = Backend::start(Behaviour::default(), Exchange::begin_and_hang).await;
        let baton = Baton::start(&[backend.url()], &ADMIN).await;
        let client = Http2::connect(baton.address).await;
        let held =
            client.begin(head(Method::GET, "/", "a"), true).await.expect("the connection lives");
        backend.wait_until("it is in flight", |seen| seen.open() == 1).await;
        let drain = |within: &str| format!("/drain?backend={}{within}", backend.url());
        let first = carried_out(&baton, Method::POST, &drain("&within=1m")).await;
        assert!(first["deadline_ms"].as_u64() <= Some(60_000), "{first}");
        for later in ["&within=1h", ""] {
            let again = carried_out(&baton, Method::POST, &drain(later)).await;
            assert_eq!(again["changed"], false, "{again}");
            assert!(again["deadline_ms"].as_u64() <= Some(60_000), "{again}");
        }
        let followed =
            command(&baton, &["drain", &backend.url(), "--within", "0s", "--wait"]).await;
        assert_eq!(followed.code, Some(1), "{followed:?}");
        drop(held);
    });
}

#[test]
fn waiting_for_a_drain_ends_when_it_is_undone() {
    run(async {
        let (backend, _gate) = Backend::gated(Exchange::echo).await;
        let baton = Baton::start(&[backend.url()], &ADMIN).await;
        let client = Http2::connect(baton.address).await;
        let _held =
            client.begin(head(Method::GET, "/", "a"), true).await.expect("the connection lives");
        backend.wait_until("it is in flight", |seen| seen.open() == 1).await;
        let (url, admin) = (backend.url(), baton.admin().await.to_string());
        let arguments =
            ["drain", &url, "--within", "1h", "--wait", "--admin", &admin].map(str::to_owned);
        let waiting =
            spawn(async move { run_baton(&arguments.each_ref().map(String::as_str)).await });
        let draining =
            |line: &Value| message(line) == "backend changed" && line["state"] == "draining";
        baton.wait_for_log("it drains", draining).await;
        assert_eq!(command(&baton, &["undrain", &url]).await.code, Some(0));
        let waited = within("the command ends", waiting).await.expect("no panic");
        assert_eq!(waited.code, Some(1), "{waited:?}");
        assert!(waited.stderr.contains("was undrained meanwhile"), "{waited:?}");
    });
}

#[test]
fn the_streams_of_every_worker_are_listed() {
    run(async {
        let (backend, gate) = Backend::gated(Exchange::echo).await;
        let flags = [&ADMIN[..], &["--workers", "2"]].concat();
        let baton = Baton::start(&[backend.url()], &flags).await;
        let held = Held::begin(&baton, &backend).await;
        let target = format!("/drain?backend={}&within=1h", backend.url());
        let report = carried_out(&baton, Method::POST, &target).await;
        assert_eq!(report["streams"].as_u64(), Some(held.requests.len() as u64), "{report}");
        let workers = report["workers"].as_array().expect("a list");
        assert_eq!(workers.len(), 2);
        let mut streams = std::collections::BTreeSet::new();
        for worker in workers {
            assert_eq!((&worker["answered"], &worker["state"]), (&true.into(), &"draining".into()));
            for connection in worker["connections"].as_array().expect("a list") {
                for stream in connection["streams"].as_array().expect("a list") {
                    let name = format!(
                        "{} {} {}",
                        worker["worker"], connection["connection"], stream["stream"]
                    );
                    assert!(streams.insert(name), "{report}");
                }
            }
        }
        assert_eq!(streams.len(), held.requests.len());
        gate.send_replace(true);
        for (response, _) in held.requests {
            assert_eq!(within("it is answered", response).await.expect("answered").status(), 200);
        }
        let followed = command(&baton, &["drain", &backend.url(), "--wait"]).await;
        assert_eq!(followed.code, Some(0), "{followed:?}");
    });
}

/// The same report at shutdown.
#[test]
fn a_shutdown_logs_requests_in_flight_and_those_its_deadline_cuts() {
    run(async {
        let (backend, _gate) = Backend::gated(Exchange::echo).await;
        let flags = ["--workers", "2", "--drain-timeout", "300ms"];
        let mut baton = Baton::start(&[backend.url()], &flags).await;
        let mut held = Vec::new();
        let client = Http2::connect(baton.address).await;
        for number in 0..3 {
            let request = head(Method::POST, &format!("/{number}"), "held");
            held.push(client.begin(request, true).await.expect("the connection lives"));
        }
        backend.wait_until("all are in flight", |seen| seen.open() == 3).await;
        baton.terminate();
        let line = baton.wait_for_log("draining", |line| message(line) == "draining").await;
        assert_eq!(line["requests"], 3, "{line}");
        let cut = baton.wait_for_lines("request cut", 3).await;
        let mut paths: Vec<_> =
            cut.iter().map(|line| line["path"].as_str().expect("text")).collect();
        paths.sort_unstable();
        assert_eq!(paths, ["/0", "/1", "/2"]);
        for line in cut {
            assert_eq!(
                (&line["connection"], &line["by"]),
                (&"b0/s0/g1".into(), &"shutdown".into())
            );
            assert!(
                line["age_ms"].as_u64() >= Some(300) && line["stream"].as_u64() >= Some(1),
                "{line}"
            );
        }
        assert!(baton.exit().await.is_some());
    });
}

/// Writes a configuration file with one cluster of these backends and `more` lines in the cluster.
fn write_file(file: &Path, backends: &[&Backend], more: &str) {
    let trust = cluster_trust();
    let mut text = format!(
        "[process]\nworkers = 2\n[admin]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \
         \"127.0.0.1:0\"\n[cluster.web]\n{trust}\nstrategy = \"weighted\"\n{more}\n"
    );
    for backend in backends {
        text.push_str(&format!("[[cluster.web.backend]]\nurl = \"{}\"\n", backend.url()));
    }
    replace(file, &text);
}

/// An operator's drain and weight survive a reload that keeps the backend, even with new pools.
#[test]
fn a_drain_and_a_weight_survive_a_reload() {
    run(async {
        let backends =
            [Backend::healthy().await, Backend::healthy().await, Backend::healthy().await];
        let [drained, heavy, late] = &backends;
        let file = scratch_file("drain-reload.toml");
        write_file(&file, &[drained, heavy], "");
        let baton = Baton::start_with_file(&file, &[]).await;
        let target = format!("/drain?backend={}&within=1h", drained.url());
        carried_out(&baton, Method::POST, &target).await;
        carried_out(&baton, Method::POST, &format!("/weight?backend={}&weight=7", heavy.url()))
            .await;
        for more in ["timeouts = { idle = \"9s\" }", "limits = { connections_per_backend = 3 }"] {
            write_file(&file, &[drained, heavy, late], more);
            carried_out(&baton, Method::POST, "/reload").await;
            let report =
                carried_out(&baton, Method::GET, &format!("/drain?backend={}", drained.url()))
                    .await;
            assert_eq!(report["state"], "draining", "{more}: {report}");
            assert!(report["deadline_ms"].as_u64() > Some(3_000_000), "{more}: {report}");
            let report =
                carried_out(&baton, Method::GET, &format!("/drain?backend={}", heavy.url())).await;
            assert_eq!((&report["state"], &report["weight"]), (&"up".into(), &7.into()), "{more}");
            let client = Http2::connect(baton.address).await;
            for _ in 0..16 {
                assert_eq!(client.get("/").await.expect("answered").status, 200);
            }
            assert_eq!(drained.seen(|seen| seen.heads.len()), 0, "{more}: it gets no requests");
            assert!(late.seen(|seen| seen.heads.len()) > 0, "{more}: the new one gets some");
        }
        let back = command(&baton, &["undrain", &drained.url()]).await;
        assert_eq!((back.code, &*back.stderr), (Some(0), ""), "{back:?}");
    });
}

/// A drain can be followed to its end even after the backend was removed from the configuration.
#[test]
fn a_backend_that_is_removed_while_it_drains_is_followed_to_its_end() {
    run(async {
        let (held, gate) = Backend::gated(Exchange::echo).await;
        let other = Backend::healthy().await;
        let file = scratch_file("drain-removed.toml");
        write_file(&file, &[&held], "");
        let baton = Baton::start_with_file(&file, &[]).await;
        let client = Http2::connect(baton.address).await;
        let request = spawn(async move { client.get("/held").await });
        held.wait_until("it is in flight", |seen| seen.open() == 1).await;
        let (url, admin) = (held.url(), baton.admin().await.to_string());
        let waiting = spawn(async move {
            run_baton(&["drain", &url, "--within", "1h", "--wait", "--admin", &admin]).await
        });
        let changed = |state: &'static str| {
            move |line: &Value| message(line) == "backend changed" && line["state"] == state
        };
        baton.wait_for_log("it drains", changed("draining")).await;
        write_file(&file, &[&other], "");
        carried_out(&baton, Method::POST, "/reload").await;
        baton.wait_for_log("it is removed", changed("removed")).await;
        let target = format!("/drain?backend={}", held.url());
        let report = carried_out(&baton, Method::GET, &target).await;
        assert_eq!(report["streams"], 1, "{report}");
        let (status, _) = order(&baton, Method::POST, &target).await;
        assert_eq!(status, 404, "it is not in the configuration");
        gate.send_replace(true);
        assert_eq!(
            within("it finishes", request).await.expect("no panic").expect("answered").status,
            200
        );
        let waited = within("the command ends", waiting).await.expect("no panic");
        assert_eq!(waited.code, Some(0), "{waited:?}");
        assert!(waited.stdout.contains("no longer in the configuration"), "{waited:?}");
    });
}
