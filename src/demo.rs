//! `baton demo`: the proxy before two embedded TLS HTTP/2 backends, of which one restarts gracefully
//! every so often. No request notices.

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
use http::Response;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::pool::{self, BackendConfig};
use crate::proxy::backend_url::{BackendUrl, Scheme};
use crate::proxy::client_limits::ClientLimits;
use crate::proxy::config::ProxyConfig;
use crate::proxy::seams::{self, Listener, Stream};
use crate::proxy::{run, tls};

/// How the backends are called.
const NAMES: [&str; 2] = ["A", "B"];

/// Runs backends and proxy until the proxy is told to stop.
///
/// # Errors
/// If something cannot be started, in one line.
pub fn run(listen: SocketAddr, restart_every: Duration) -> Result<(), String> {
    let identity = Identity::new().map_err(|error| format!("demo certificate: {error}"))?;
    let mut backends = Vec::new();
    for (number, name) in NAMES.iter().enumerate() {
        let turn = Turn { number: number as u32, of: NAMES.len() as u32, every: restart_every };
        backends.push(start_backend(name, &identity, turn)?);
    }
    let address = format!("http://{listen}/");
    println!("Two backends with HTTP/2 over TLS, and Baton before them. Try:");
    println!("    curl -s {address}");
    println!("    for i in $(seq 20); do curl -s {address}; done");
    println!("A backend restarts every {restart_every:?}; no request fails. Ctrl-C ends it.");
    let pool = pool::Config {
        backends: vec![BackendConfig::default(); backends.len()],
        ..pool::Config::default()
    };
    run::run(ProxyConfig {
        listen: vec![listen],
        backends,
        downstream_tls: None,
        client_limits: ClientLimits::DEFAULT,
        authorities: Some(identity.file.0.clone()),
        insecure: false,
        workers: 1,
        seed: seams::entropy(),
        pool,
    })
    .map_err(|error| error.to_string())
}

/// A certificate for loopback that was made just now, and the file that lets Baton trust it.
struct Identity {
    server: Arc<ServerConfig>,
    file: TemporaryFile,
}

struct TemporaryFile(PathBuf);

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // What is left of it in a temporary folder does no harm.
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

/// When a backend restarts: one after the other, evenly spread.
#[derive(Clone, Copy)]
struct Turn {
    number: u32,
    of: u32,
    every: Duration,
}

/// Starts a backend in a thread of its own, for as long as the process lives.
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
            let backend = Rc::new(Backend { name, acceptor, connections: Cell::new(0) });
            LocalSet::new().block_on(&runtime, backend.serve(listener, address, turn));
        })
        .map_err(failed)?;
    let (host, port) = (address.ip().to_string(), address.port());
    Ok(BackendUrl { scheme: Scheme::Https, host, port, weight: 1 })
}

struct Backend {
    name: &'static str,
    acceptor: TlsAcceptor,
    /// Connections so far, over all restarts.
    connections: Cell<u32>,
}

impl Backend {
    async fn serve(self: Rc<Self>, first: std::net::TcpListener, address: SocketAddr, turn: Turn) {
        let mut listener = seams::adopt(first).expect("the listener was made for a runtime");
        let mut life = turn.every / turn.of * (turn.number + 1);
        loop {
            let (restart, restarting) = watch::channel(false);
            // The time being up is what ends the loop that accepts.
            let _ = seams::timeout(life, Rc::clone(&self).accept(&listener, &restarting)).await;
            restart.send_replace(true);
            tracing::info!(target: "baton", backend = self.name, "demo backend restarts");
            drop(listener);
            let again = seams::listen(address).and_then(seams::adopt);
            listener = again.expect("the port was ours a moment ago");
            life = turn.every * turn.of;
        }
    }

    async fn accept(self: Rc<Self>, listener: &Listener, restarting: &watch::Receiver<bool>) {
        loop {
            if let Ok((stream, _)) = seams::accept(listener).await {
                let number = self.connections.get() + 1;
                self.connections.set(number);
                let connection = Rc::clone(&self).connection(stream, number, restarting.clone());
                seams::spawn("demo connection", connection);
            }
        }
    }

    async fn connection(
        self: Rc<Self>,
        stream: Stream,
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
                    // RFC 9113, 6.8: GOAWAY in two steps; what is under way is finished.
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

    /// Answers one request. False if the connection is over.
    async fn answer(
        &self,
        connection: &mut Connection<TlsStream<Stream>, Bytes>,
        number: u32,
    ) -> bool {
        let Some(Ok((_request, mut respond))) = connection.accept().await else {
            return false;
        };
        let stream = u32::from(respond.stream_id());
        let text =
            format!("hello from backend {}: connection {number}, stream {stream}\n", self.name);
        // It fails only if the stream or the connection is gone, and then there is nobody to tell.
        if let Ok(mut body) = respond.send_response(Response::new(()), false) {
            let _ = body.send_data(Bytes::from(text), true);
        }
        true
    }
}
