//! `baton demo`: the proxy with two embedded TLS HTTP/2 backends that restart gracefully in turn.
//! No request fails.

use std::cell::Cell;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection};
use http::{Method, Response};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::proxy::backend_url::{BackendUrl, Scheme};
use crate::proxy::config::{
    BackendSettings, ClusterConfig, ListenerConfig, ProxyConfig, UpstreamTlsSettings,
};
use crate::proxy::route::Route;
use crate::proxy::seams::{self, Listener, ListeningSocket, NetworkStream};
use crate::proxy::{run, tls};

/// The names of the backends.
const NAMES: [&str; 2] = ["A", "B"];

/// Runs the backends and the proxy until the proxy stops.
///
/// # Errors
/// One line, if anything cannot be started.
pub fn run(listen: SocketAddr, restart_every: Duration) -> Result<(), String> {
    let identity = Identity::new().map_err(|error| format!("demo certificate: {error}"))?;
    let mut backends = Vec::new();
    for (number, name) in NAMES.iter().enumerate() {
        let turn = Turn { number: number as u32, of: NAMES.len() as u32, every: restart_every };
        backends.push(start_backend(name, &identity, turn)?);
    }
    let address = format!("http://{listen}/");
    println!("Baton runs with two HTTP/2 backends over TLS. Try:");
    println!("    curl -s {address}");
    println!("    for i in $(seq 20); do curl -s {address}; done");
    println!("A backend restarts every {restart_every:?}; no request fails. Stop with Ctrl-C.");
    let tls = UpstreamTlsSettings {
        authorities: Some(identity.file.0.clone()),
        ..UpstreamTlsSettings::default()
    };
    let backend = |url| BackendSettings { url, weight: 1, tls: tls.clone() };
    let backends = backends.into_iter().map(backend).collect();
    run::run(ProxyConfig {
        workers: Some(1),
        listeners: vec![ListenerConfig { address: listen, ..ListenerConfig::default() }],
        clusters: vec![ClusterConfig { backends, ..ClusterConfig::new("demo") }],
        routes: vec![Route::everything("demo")],
        ..ProxyConfig::default()
    })
    .map_err(|error| error.to_string())
}

/// A self-signed certificate for loopback, and the file through which Baton trusts it.
struct Identity {
    server: Arc<ServerConfig>,
    file: TemporaryFile,
}

struct TemporaryFile(PathBuf);

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // A file left in the temporary directory does no harm.
        let _ = fs::remove_file(&self.0);
    }
}

impl Identity {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let name = format!("baton-demo-{:016x}.pem", seams::entropy());
        let file = TemporaryFile(std::env::temp_dir().join(name));
        fs::write(&file.0, made.cert.pem())?;
        let chain = vec![CertificateDer::from(made.cert.der().to_vec())];
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(ring::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from(key))?;
        server.alpn_protocols = vec![tls::ALPN_H2.to_vec()];
        Ok(Self { server: Arc::new(server), file })
    }
}

/// The schedule of a backend's restarts. The backends take turns, evenly spaced.
#[derive(Clone, Copy)]
struct Turn {
    number: u32,
    of: u32,
    every: Duration,
}

/// Starts a backend in its own thread. It runs until the process ends.
fn start_backend(
    name: &'static str,
    identity: &Identity,
    turn: Turn,
) -> Result<BackendUrl, String> {
    let failed = |error: io::Error| format!("demo backend {name}: {error}");
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let listener = {
        let _context = runtime.enter();
        seams::listen(SocketAddr::from(([127, 0, 0, 1], 0))).map_err(failed)?
    };
    let address = listener.local_addr().map_err(failed)?;
    let acceptor = TlsAcceptor::from(Arc::clone(&identity.server));
    thread::Builder::new()
        .name(format!("demo backend {name}"))
        .spawn(move || {
            let backend = Rc::new(DemoBackend { name, acceptor, connections: Cell::new(0) });
            LocalSet::new().block_on(&runtime, backend.serve(listener, address, turn));
        })
        .map_err(failed)?;
    let (host, port) = (address.ip().to_string(), address.port());
    Ok(BackendUrl { scheme: Scheme::Https, host, port })
}

struct DemoBackend {
    name: &'static str,
    acceptor: TlsAcceptor,
    /// The number of connections since the start of the process, over all restarts.
    connections: Cell<u32>,
}

impl DemoBackend {
    async fn serve(self: Rc<Self>, first: ListeningSocket, address: SocketAddr, turn: Turn) {
        let mut listener = seams::adopt(first).expect("the listener was made for a runtime");
        let mut life = turn.every / turn.of * (turn.number + 1);
        loop {
            let (restart, restarting) = watch::channel(false);
            // The timeout ends the accept loop.
            let _ = seams::timeout(life, Rc::clone(&self).accept(&listener, &restarting)).await;
            restart.send_replace(true);
            tracing::info!(target: "baton", backend = self.name, "demo backend restarts");
            drop(listener);
            let again = seams::listen(address).and_then(seams::adopt);
            listener = again.expect("this thread released the port just now");
            life = turn.every * turn.of;
        }
    }

    async fn accept(self: Rc<Self>, listener: &Listener, restarting: &watch::Receiver<bool>) {
        loop {
            if let Ok((stream, _)) = seams::accept(listener).await {
                let number = self.connections.get() + 1;
                self.connections.set(number);
                let connection = Rc::clone(&self).connection(stream, number, restarting.clone());
                seams::spawn(connection);
            }
        }
    }

    async fn connection(
        self: Rc<Self>,
        stream: NetworkStream,
        number: u32,
        mut restarting: watch::Receiver<bool>,
    ) {
        let Ok(stream) = self.acceptor.accept(stream).await else { return };
        let Ok(mut connection) = Builder::new().handshake::<_, Bytes>(stream).await else { return };
        loop {
            let ending = *restarting.borrow();
            tokio::select! {
                biased;
                _ = restarting.wait_for(|restarting| *restarting), if !ending => {
                    // RFC 9113, 6.8: GOAWAY in two steps; requests in flight finish.
                    connection.graceful_shutdown();
                }
                open = self.answer(&mut connection, number) => {
                    if !open {
                        return;
                    }
                }
            }
        }
    }

    /// Answers one request. Returns false if the connection has ended.
    async fn answer(
        &self,
        connection: &mut Connection<TlsStream<NetworkStream>, Bytes>,
        number: u32,
    ) -> bool {
        let Some(Ok((request, mut respond))) = connection.accept().await else {
            return false;
        };
        let stream = u32::from(respond.stream_id());
        let text =
            format!("hello from backend {}: connection {number}, stream {stream}\n", self.name);
        // This fails only if the stream or the connection has ended.
        let is_head = request.method() == Method::HEAD;
        if let Ok(mut body) = respond.send_response(Response::new(()), is_head)
            && !is_head
        {
            let _ = body.send_data(Bytes::from(text), true);
        }
        true
    }
}
