//! Idle clients: each connects, makes one request and stays connected. The growth of a proxy's
//! resident memory, divided by the number of clients, is the memory per client.
//!
//! Clients use several addresses, a thousand from each, as in production: a limit on connections
//! per address then needs no change.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::Outcome;
use crate::certificates::NAME;
use crate::peers::{Installed, Peer};
use crate::process;
use crate::scenario::BackendProtocol;
use crate::stage::{Role, Stage};

const CLIENTS_PER_ADDRESS: u32 = 1_000;
/// Clients that connect concurrently.
const AT_A_TIME: u32 = 50;
/// Time limit for a client to connect and receive its response.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time that clients are idle before the memory is read.
const IDLE_FOR: Duration = Duration::from_secs(5);
/// File descriptors that this process and a proxy need in addition to one per client.
const SPARE_DESCRIPTORS: u64 = 600;

pub(crate) struct IdleRow {
    pub(crate) peer: Peer,
    pub(crate) before_kib: u64,
    pub(crate) after_kib: u64,
    pub(crate) clients: u32,
    /// Clients whose connections were open at the end.
    pub(crate) connected: u32,
}

pub(crate) struct IdleTable {
    pub(crate) name: &'static str,
    pub(crate) encrypted: bool,
    pub(crate) clients: u32,
    pub(crate) rows: Vec<IdleRow>,
    pub(crate) notes: Vec<String>,
}

pub(crate) fn measure(stage: &Stage, name: &'static str, encrypted: bool) -> Outcome<IdleTable> {
    let mut notes = Vec::new();
    let wanted = stage.options.idle_clients;
    let clients = permitted(wanted);
    if clients < wanted {
        notes.push(format!(
            "{clients} clients instead of {wanted}: `ulimit -n` must be at least {}",
            u64::from(wanted) + SPARE_DESCRIPTORS
        ));
    }
    let mut rows = Vec::new();
    for installed in &stage.peers {
        eprintln!("{name}: {clients} clients of {}", installed.peer.name());
        let row = one_proxy(stage, installed, encrypted, clients);
        rows.extend(installed.peer.noting(&mut notes, row));
    }
    Ok(IdleTable { name, encrypted, clients, rows, notes })
}

/// Raises the limit of file descriptors as far as permitted. Returns the number of clients that it
/// allows.
fn permitted(wanted: u32) -> u32 {
    let needed = u64::from(wanted) + SPARE_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if limit.current.is_some_and(|current| current < needed) {
        // If this is refused, the old limit is read below.
        let raised = Rlimit { current: Some(needed.min(most)), maximum: limit.maximum };
        let _ = setrlimit(Resource::Nofile, raised);
    }
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    u64::from(wanted).min(current.saturating_sub(SPARE_DESCRIPTORS)) as u32
}

fn one_proxy(
    stage: &Stage,
    installed: &Installed,
    encrypted: bool,
    clients: u32,
) -> Outcome<IdleRow> {
    let core = stage.cores.proxy;
    let role = Role { encrypted, backend: BackendProtocol::Tls, workers: 1, clients, core };
    let (running, address) = stage.start(installed, &stage.origin, role)?;
    let tls = if encrypted { Some(stage.certificates.client()?) } else { None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let row = runtime.block_on(async {
        // One-time allocations at the first client are no cost per client.
        drop(Visitors::to(address, tls.clone()).come(0, AT_A_TIME).await?);
        let before_kib = process::memory_kib(running.id());
        let visitors = Visitors::to(address, tls);
        let held = visitors.come(0, clients).await?;
        // Some proxies release memory only after a time without work.
        tokio::time::sleep(IDLE_FOR).await;
        let after_kib = process::memory_kib(running.id());
        let connected = held.len() as u32 - visitors.lost.load(Ordering::Relaxed);
        Ok(IdleRow { peer: installed.peer, before_kib, after_kib, clients, connected })
    });
    runtime.shutdown_background();
    row
}

/// The data that clients need.
#[derive(Clone)]
struct Visitors {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    /// Number of connections that have ended.
    lost: Arc<AtomicU32>,
}

/// Keeps a connection open.
enum Held {
    Http1 { _sender: http1::SendRequest<Empty<Bytes>> },
    Http2 { _sender: http2::SendRequest<Empty<Bytes>> },
}

impl Visitors {
    fn to(address: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Self {
        Self { address, tls, lost: Arc::new(AtomicU32::new(0)) }
    }

    async fn come(&self, from: u32, to: u32) -> Outcome<Vec<Held>> {
        let mut held = Vec::new();
        for first in (from..to).step_by(AT_A_TIME as usize) {
            let mut arriving = JoinSet::new();
            for number in first..to.min(first + AT_A_TIME) {
                let visitors = self.clone();
                arriving.spawn(async move { timeout(PATIENCE, visitors.visit(number)).await });
            }
            while let Some(arrived) = arriving.join_next().await {
                let came = arrived?.map_err(|_| {
                    format!("after {} clients, one got no response in {PATIENCE:?}", held.len())
                })?;
                held.push(came.map_err(|error| {
                    format!("after {} clients, one failed: {error}", held.len())
                })?);
            }
        }
        Ok(held)
    }

    async fn visit(&self, number: u32) -> Outcome<Held> {
        let source =
            Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + 1 + number / CLIENTS_PER_ADDRESS);
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((source, 0)))?;
        let stream = socket.connect(self.address).await?;
        match &self.tls {
            None => self.http1(stream).await,
            Some(tls) => self.http2(stream, TlsConnector::from(Arc::clone(tls))).await,
        }
    }

    async fn http1(&self, stream: TcpStream) -> Outcome<Held> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        self.watch(connection);
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = Uri::from_static("/100");
        let host = http::HeaderValue::from_str(&self.address.to_string())?;
        request.headers_mut().insert(http::header::HOST, host);
        finish(sender.send_request(request).await?).await?;
        Ok(Held::Http1 { _sender: sender })
    }

    async fn http2(&self, stream: TcpStream, tls: TlsConnector) -> Outcome<Held> {
        let stream = tls.connect(ServerName::try_from(NAME)?, stream).await?;
        let builder = http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        self.watch(connection);
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = format!("https://{}/100", self.address).parse()?;
        finish(sender.send_request(request).await?).await?;
        Ok(Held::Http2 { _sender: sender })
    }

    /// Drives a connection and counts its end.
    fn watch(&self, connection: impl Future<Output = hyper::Result<()>> + Send + 'static) {
        let lost = Arc::clone(&self.lost);
        tokio::spawn(async move {
            let _ = connection.await;
            lost.fetch_add(1, Ordering::Relaxed);
        });
    }
}

async fn finish(response: http::Response<hyper::body::Incoming>) -> Outcome<()> {
    let status = response.status();
    response.into_body().collect().await?;
    match status.is_success() {
        true => Ok(()),
        false => Err(format!("status {status}").into()),
    }
}

impl IdleRow {
    pub(crate) fn kib_per_client(&self) -> f64 {
        (self.after_kib as f64 - self.before_kib as f64) / f64::from(self.clients)
    }
}

impl IdleTable {
    pub(crate) fn title(&self) -> String {
        let kind = if self.encrypted { "TLS HTTP/2" } else { "HTTP/1.1" };
        format!("{} idle clients over {kind}, one request each", self.clients)
    }

    pub(crate) fn json(&self) -> Value {
        let row = |row: &IdleRow| {
            json!({
                "proxy": row.peer.name(),
                "before_kib": row.before_kib,
                "after_kib": row.after_kib,
                "clients": row.clients,
                "connected": row.connected,
            })
        };
        json!({
            "scenario": self.name,
            "notes": self.notes,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}
