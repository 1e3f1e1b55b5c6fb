//! Tests fifty reloads under load: no request fails.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::Method;
use rustls::pki_types::ServerName;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::certificate::{certificate_files, connector_trusting};
use crate::support::client::{connect, head};
use crate::support::reload::{self, ConfigFile, LISTENER, cluster, replace};
use crate::support::{
    Answer, Backend, Baton, Behaviour, Exchange, Http1, Http2, unique_id, within,
};

const RELOADS: usize = 50;
/// Requests that must be answered between two reloads.
const BETWEEN: usize = 40;

/// The data that clients share.
#[derive(Clone)]
struct Load {
    plain: SocketAddr,
    tls: SocketAddr,
    trusted: Arc<[PathBuf; 2]>,
    stop: Arc<AtomicBool>,
    answered: watch::Sender<usize>,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// The request with this number: a GET, or a POST with a body of up to 100 kB, to one of two
    /// clusters.
    fn request(number: usize) -> (http::Request<()>, Bytes) {
        let id = unique_id();
        let path = if number.is_multiple_of(3) { "/extra" } else { "/" };
        if number.is_multiple_of(2) {
            return (head(Method::GET, path, &id), Bytes::new());
        }
        let length = 1 + number * 7919 % 100_000;
        let body = id.bytes().cycle().take(length).collect::<Vec<_>>();
        (head(Method::POST, path, &id), body.into())
    }

    fn check(&self, sent: &Bytes, answer: &Answer) {
        assert_eq!(answer.status, 200, "{:?}", answer.headers);
        assert!(answer.body == sent, "the body is echoed unchanged");
        self.answered.send_modify(|answered| *answered += 1);
    }

    async fn secured(
        &self,
        protocol: &str,
    ) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
        let trusted = [&*self.trusted[0], &*self.trusted[1]];
        let name = ServerName::try_from("front.test").expect("a name");
        let tcp = connect(self.tls).await;
        let handshake = connector_trusting(&trusted, &[protocol]).connect(name, tcp);
        within("the handshake", handshake).await.expect("one of the two certificates")
    }

    /// Sends one request after the other over one connection.
    async fn over_http2(self, tls: bool) {
        let client = if tls {
            Http2::over(self.secured("h2").await).await
        } else {
            Http2::connect(self.plain).await
        };
        for number in 0.. {
            let (head, body) = Self::request(number);
            let answer = client.send(head, body.clone()).await.expect("no request fails");
            self.check(&body, &answer);
            if !self.goes_on() {
                return;
            }
        }
    }

    async fn over_http1(self) {
        let mut client = Http1::connect(self.plain).await;
        for number in 0.. {
            let (head, body) = Self::request(number);
            let answer = client.send(head, body.clone()).await.expect("no request fails");
            self.check(&body, &answer);
            if !self.goes_on() {
                return;
            }
        }
    }

    /// Sends each request over its own TLS connection.
    async fn over_new_connections(self) {
        for number in 0.. {
            let (head, body) = Self::request(number);
            let mut client = Http1::over(self.secured("http/1.1").await).await;
            let answer = client.send(head, body.clone()).await.expect("no request fails");
            self.check(&body, &answer);
            if !self.goes_on() {
                return;
            }
        }
    }

    fn start(&self) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for _ in 0..3 {
            clients.spawn(self.clone().over_http2(false));
            clients.spawn(self.clone().over_http1());
        }
        clients.spawn(self.clone().over_http2(true));
        clients.spawn(self.clone().over_new_connections());
        clients
    }
}

/// The configuration of the reload with this number.
fn file(number: usize, urls: &[String], certificate: &str) -> String {
    // The first backend is always present, with the same weight.
    let weight =
        |place: usize| if place == 0 { 3 } else { u16::try_from(1 + number % 4).expect("few") };
    let there = |place: &usize| *place == 0 || !(number + place).is_multiple_of(3);
    let backends: Vec<_> =
        (0..urls.len()).filter(there).map(|place| (&urls[place], weight(place))).collect();
    let requests = 1024 + 64 * (number / 10);
    let more = format!(
        "strategy = \"{}\"\nlimits = {{ requests = {requests}, waiting = 256 }}\n\
         timeouts.connect = \"{}s\"\n",
        if number.is_multiple_of(4) { "weighted" } else { "least_loaded" },
        5 + number % 3
    );
    let mut text = format!(
        "[process]\nworkers = 2\n[admin]\naddress = \"127.0.0.1:0\"\n{LISTENER}{LISTENER}{certificate}"
    );
    text += &cluster("web", &more, &backends);
    text += "[[route]]\ncluster = \"web\"\n";
    // A cluster and its route are added and removed.
    if number % 4 >= 2 {
        text += &cluster("extra", "", &backends[..1]);
        text += "[[route]]\npath_prefix = \"/extra\"\ncluster = \"extra\"\n";
    }
    text
}

/// A certificate that alternates between two that clients trust.
struct Renewed {
    pairs: [(PathBuf, PathBuf); 2],
    served: (PathBuf, PathBuf),
}

impl Renewed {
    fn new() -> Self {
        let pairs = [["front.test", "one.test"], ["front.test", "two.test"]];
        let served = certificate_files(&["front.test", "served.test"]);
        let renewed = Self { pairs: pairs.map(|names| certificate_files(&names)), served };
        renewed.renew(0);
        renewed
    }

    fn renew(&self, number: usize) {
        let (certificate, key) = &self.pairs[number % 2];
        for (from, to) in [(key, &self.served.1), (certificate, &self.served.0)] {
            replace(to, &std::fs::read_to_string(from).expect("just written"));
        }
    }

    fn settings(&self) -> String {
        let (certificate, key) = (self.served.0.display(), self.served.1.display());
        format!("certificate = '{certificate}'\nkey = '{key}'\n")
    }
}

/// Four backends that differ in protocol and stream limit.
async fn backends() -> [Backend; 4] {
    let cleartext = Behaviour { cleartext: true, ..Behaviour::default() };
    let few_streams = Behaviour { max_streams: Some(2), ..Behaviour::default() };
    [
        Backend::echo().await,
        Backend::echo().await,
        Backend::start(cleartext, Exchange::echo).await,
        Backend::start(few_streams, Exchange::echo).await,
    ]
}

/// Checks that every request was logged once and executed once.
async fn check(baton: &Baton, total: usize, backends: &[Backend]) {
    let lines = baton.wait_for_requests(total).await;
    assert_eq!(lines.len(), total, "every request is in the log once");
    let good = |line: &&serde_json::Value| line["status"] == 200 && line["outcome"] == "completed";
    let bad: Vec<_> = lines.iter().filter(|line| !good(line)).collect();
    assert!(bad.is_empty(), "{bad:?}");
    for backend in backends {
        assert_eq!(backend.seen(|seen| seen.executed.values().max().copied()), Some(1));
    }
    let executed = backends.iter().map(|backend| backend.seen(|seen| seen.executed.len()));
    assert_eq!(executed.sum::<usize>(), total);
}

#[tokio::test(flavor = "local")]
async fn fifty_reloads_under_load_fail_no_request() {
    let (backends, renewed) = (backends().await, Renewed::new());
    let (urls, tls) = (backends.each_ref().map(Backend::url), renewed.settings());
    let config = ConfigFile::new("fifty.toml", &file(0, &urls, &tls));
    let baton = Baton::start_with_file(&config.path, &[]).await;
    let listening = baton.wait_for_lines("listening", 2).await;
    let tls_address = listening[1]["address"].as_str().expect("text");
    let load = Load {
        plain: baton.address,
        tls: tls_address.parse().expect("an address"),
        trusted: Arc::new(renewed.pairs.each_ref().map(|(certificate, _)| certificate.clone())),
        stop: Arc::default(),
        answered: watch::Sender::default(),
    };
    let mut clients = load.start();
    let mut answered = load.answered.subscribe();
    for number in 1..=RELOADS {
        let enough = *answered.borrow() + BETWEEN;
        tokio::select! {
            biased;
            ended = clients.join_next() => panic!("a client has ended: {ended:?}"),
            waited = within("requests between two reloads", answered.wait_for(|now| *now >= enough)) => {
                drop(waited.expect("the sender lives"));
            }
        }
        if number.is_multiple_of(5) {
            config.write("[process]\nworkers = 2\nthis is wrong");
            let reasons = reload::refused(&baton, 400).await;
            assert!(reasons[0].contains("fifty.toml:3:"), "{reasons:?}");
        }
        if number.is_multiple_of(7) {
            renewed.renew(number / 7);
        }
        config.write(&file(number, &urls, &tls));
        if number.is_multiple_of(2) {
            baton.hang_up();
            baton.wait_for_lines("reloaded", number).await;
        } else {
            reload::reloaded(&baton).await;
        }
    }
    load.stop.store(true, Ordering::Relaxed);
    let ended = within("the last answers", async {
        while let Some(ended) = clients.join_next().await {
            ended.expect("no request fails");
        }
    });
    ended.await;
    check(&baton, *answered.borrow(), &backends).await;
    // A worker needs a connection for each pool it ever had: that of `web` was replaced at every
    // tenth reload, and `extra` was added at every fourth.
    let most = 2 * (1 + RELOADS / 10 + (RELOADS / 4 + 1));
    let connections = backends[0].seen(|seen| seen.connections);
    assert!(connections <= most, "{connections} connections to the kept backend, at most {most}");
    assert_eq!(baton.wait_for_lines("reloaded", RELOADS).await.len(), RELOADS);
}
