//! Tests reloads: triggers, reports, refusals, and the traffic in the meantime.

use crate::support::certificate::scratch_file;
use crate::support::reload::{ConfigFile, LISTENER, PROCESS, cluster, refused, reloaded};
use crate::support::{Backend, Baton, Behaviour, Exchange, Http2};

/// A backend that answers with its name.
async fn named(name: &'static str) -> Backend {
    Backend::start(Behaviour::default(), move |exchange: Exchange| exchange.answer(200, name)).await
}

async fn body(client: &Http2, path: &str) -> String {
    let answer = client.get(path).await.expect("it is answered");
    String::from_utf8(answer.body.to_vec()).expect("text")
}

fn text(parts: &[&str]) -> String {
    parts.concat()
}

/// A refused reload reports all reasons in the log and in the answer, and changes nothing.
#[tokio::test(flavor = "local")]
async fn a_refused_reload_changes_nothing() {
    let (backend, other) = (named("it").await, named("other").await);
    let web = cluster("web", "", &[(backend.url(), 1)]);
    let changed = cluster("web", "", &[(other.url(), 1)]);
    let config = ConfigFile::new("refused.toml", &text(&[PROCESS, LISTENER, &web]));
    let baton = Baton::start_with_file(&config.path, &[]).await;
    let name = config.path.display().to_string();
    let client = Http2::connect(baton.address).await;

    let wrong = "[[route]]\ncluster = \"absent\"\npath = \"/\"\n";
    config.write(&text(&[PROCESS, LISTENER, &changed, wrong]));
    let reasons = refused(&baton, 400).await;
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons.iter().all(|reason| reason.starts_with(&format!("{name}:"))), "{reasons:?}");

    let absent =
        "[[listener]]\naddress = \"127.0.0.1:0\"\ncertificate = 'absent.pem'\nkey = 'k.pem'\n";
    config.write(&text(&[PROCESS, LISTENER, absent, &changed]));
    let reasons = refused(&baton, 400).await;
    let place = format!("{name}:9:1: ");
    assert!(reasons[0].starts_with(&place) && reasons[0].contains("absent.pem"), "{reasons:?}");

    let fixed = PROCESS.replace("workers = 1", "workers = 2\nlog_level = \"debug\"");
    config.write(&text(&[&fixed, LISTENER, &changed]));
    let reasons = refused(&baton, 409).await;
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].starts_with("process.workers cannot change from 1 to 2"), "{reasons:?}");
    assert!(reasons.iter().all(|reason| reason.ends_with("or restart")), "{reasons:?}");

    // One new listener could be opened, the other one and the log could not: afterwards neither
    // listener is open.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("it is bound");
    let foreign = tokio::net::TcpListener::bind(taken).await;
    let listeners = format!("{LISTENER}{LISTENER}[[listener]]\naddress = \"{taken}\"\n");
    let log = "[access_log]\nfile = '/nonexistent/access.log'\n";
    config.write(&text(&[PROCESS, log, &listeners, &changed]));
    let reasons = refused(&baton, 500).await;
    assert_eq!(reasons.len(), 2, "{reasons:?} {foreign:?}");
    assert!(reasons[0].starts_with("access log /nonexistent/access.log: "), "{reasons:?}");
    assert!(reasons[1].starts_with(&format!("cannot listen on {taken}: ")), "{reasons:?}");

    let refused = baton.wait_for_lines("reload refused, nothing changed", 4).await;
    assert_eq!(refused.len(), 4);
    let logged = refused[3]["reasons"].as_str().expect("text");
    assert!(reasons.iter().all(|reason| logged.contains(reason)), "{logged}");
    assert_eq!(baton.lines("listening").len(), 1);
    assert_eq!(baton.metrics().await.sum("baton_last_reload_successful", &[]) as u64, 0);
    assert_eq!(body(&client, "/").await, "it");
    assert_eq!(backend.seen(|seen| seen.connections), 1);
    assert_eq!(other.seen(|seen| seen.connections), 0);
}

#[tokio::test(flavor = "local")]
async fn a_reload_can_move_the_access_log() {
    let backend = named("it").await;
    let web = cluster("web", "", &[(backend.url(), 1)]);
    let files = ["first.log", "second.log"].map(scratch_file);
    let file = |log: &std::path::Path, format: &str| {
        let log = format!("[access_log]\nfile = '{}'\nformat = \"{format}\"\n", log.display());
        text(&[PROCESS, &log, LISTENER, &web])
    };
    let config = ConfigFile::new("log.toml", &file(&files[0], "json"));
    let mut baton = Baton::start_with_file(&config.path, &[]).await;
    let client = Http2::connect(baton.address).await;
    for path in ["/1", "/2"] {
        assert_eq!(body(&client, path).await, "it");
    }
    config.write(&file(&files[1], "text"));
    assert_eq!(reloaded(&baton).await.len(), 2);
    assert_eq!(body(&client, "/3").await, "it");
    baton.terminate();
    assert_eq!(baton.exit().await, Some(0));
    let [first, second] = files.map(|file| std::fs::read_to_string(file).expect("written"));
    assert_eq!(first.lines().count(), 2, "{first}");
    assert!(first.lines().all(|line| line.starts_with('{')), "{first}");
    assert_eq!(second.lines().count(), 1, "{second}");
    assert!(second.contains("/3") && !second.starts_with('{'), "{second}");
}
