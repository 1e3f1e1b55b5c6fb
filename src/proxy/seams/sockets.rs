//! The operating system under the shell: sockets, files, signals, threads and entropy.

#![expect(clippy::disallowed_types, reason = "this is the one module that the bans point to")]

use std::fs::{self, File};
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use http::Uri;
use rustls::crypto::{CryptoProvider, ring};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{self, LocalOptions};
use tokio::signal::unix::{self, SignalKind};

use super::answers::{FileStamp, Point, Signal};
use crate::pool::Pool;
use crate::proxy::limits::{
    self, BACKEND_KEEPALIVE_INTERVAL, BACKEND_KEEPALIVE_TIME, CLIENT_KEEPALIVE_INTERVAL,
    CLIENT_KEEPALIVE_TIME, LISTEN_BACKLOG,
};

/// A TCP connection, dialled or accepted.
pub type NetworkStream = TcpStream;
/// A socket that accepts connections.
pub type Listener = TcpListener;
/// A listening socket that no worker has adopted yet.
pub type ListeningSocket = std::net::TcpListener;

/// The future of a task, as it is spawned.
pub(super) fn task<F: Future<Output = ()>>(future: F) -> F {
    future
}

/// Resolves a host name; an address is its own.
///
/// # Errors
/// If the name cannot be resolved.
pub async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

/// Connects to an address.
///
/// # Errors
/// If nothing accepts there.
pub async fn connect(address: SocketAddr) -> io::Result<NetworkStream> {
    let stream = TcpStream::connect(address).await?;
    prepare(&stream, BACKEND_KEEPALIVE_TIME, BACKEND_KEEPALIVE_INTERVAL)?;
    Ok(stream)
}

/// Waits for the next connection.
///
/// # Errors
/// If the system refuses one, for instance because file descriptors are exhausted.
pub async fn accept(listener: &Listener) -> io::Result<(NetworkStream, SocketAddr)> {
    loop {
        let (stream, peer) = listener.accept().await?;
        // It fails if the peer is already gone, which is no reason to pause accepting.
        if prepare_client(&stream).is_ok() {
            return Ok((stream, peer));
        }
    }
}

/// Closes a listener and returns the connections that the system has accepted but Baton has not.
/// Closing alone would reset them.
#[must_use]
pub fn close_listener(listener: Listener) -> Vec<(NetworkStream, SocketAddr)> {
    let mut waiting = Vec::new();
    // The listener is non-blocking: without a waiting connection, accept fails.
    let Ok(listener) = listener.into_std() else { return waiting };
    while let Ok((stream, peer)) = listener.accept() {
        let adopted = stream.set_nonblocking(true).and_then(|()| NetworkStream::from_std(stream));
        if let Ok(stream) = adopted.and_then(|stream| prepare_client(&stream).map(|()| stream)) {
            waiting.push((stream, peer));
        }
    }
    waiting
}

/// Makes the close of a connection a reset, which drops what the system has not sent, or an orderly
/// one again. It is a reset also if the process dies.
pub fn reset_on_close(stream: &NetworkStream, resets: bool) {
    // It fails only if the connection is gone, which the peer sees as well.
    let _ = SockRef::from(stream).set_linger(resets.then_some(Duration::ZERO));
}

/// Returns how many segments in a row the peer's host has left without an acknowledgement; `None`
/// if the system cannot tell.
pub fn unanswered(stream: &NetworkStream) -> Option<u32> {
    tcp_delivery::unanswered(stream).ok()
}

fn prepare_client(stream: &NetworkStream) -> io::Result<()> {
    prepare(stream, CLIENT_KEEPALIVE_TIME, CLIENT_KEEPALIVE_INTERVAL)
}

/// Sets the socket options of every connection: small writes are sent at once, and a connection
/// whose peer vanished is closed by TCP keepalive. HTTP/1.1 has no PING, so only the system can
/// detect that. The option TCP_USER_TIMEOUT would do it as well, but it also ends a connection
/// whose peer acknowledges and only has no room for more (RFC 5482, 3.1).
fn prepare(stream: &NetworkStream, time: Duration, interval: Duration) -> io::Result<()> {
    // Otherwise small frames wait for the peer's delayed acknowledgement.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    // Otherwise a socket becomes writable only when a third of a buffer of megabytes is free, and a
    // slow reader looks like one that does not read.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_notsent_lowat(limits::TCP_UNSENT_BYTES_MAX)?;
    let keepalive = TcpKeepalive::new().with_time(time).with_interval(interval);
    socket.set_tcp_keepalive(&keepalive)
}

/// Listens on an address, which several workers may share.
///
/// # Errors
/// If the address cannot be bound.
pub fn listen(address: SocketAddr) -> io::Result<ListeningSocket> {
    let socket = socket(address)?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_BACKLOG)?.into_std()
}

/// Checks that no other process listens on an address: only workers of one process share a port.
///
/// # Errors
/// If the address cannot be bound exclusively.
pub fn check_unused(address: SocketAddr) -> io::Result<()> {
    let socket = socket(address)?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1).map(drop)
}

fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
}

/// Makes a listener usable on this thread's runtime.
///
/// # Errors
/// If the runtime refuses it.
pub fn adopt(listener: ListeningSocket) -> io::Result<Listener> {
    TcpListener::from_std(listener)
}

/// Returns an unpredictable number.
#[must_use]
pub fn entropy() -> u64 {
    RandomState::new().hash_one(0_u64)
}

/// A pool as its driver holds it.
pub type DrivenPool = Pool;

/// Hands a pool to the driver of a worker's cluster.
#[must_use]
pub fn drive(pool: Pool, _worker: usize, _cluster: &str) -> DrivenPool {
    pool
}

/// True if something rare happens here because the simulator wants it: never on a real system.
#[inline(always)]
#[must_use]
pub const fn buggify(_point: Point) -> bool {
    false
}

/// Names the request that the next fact is about. Only the simulator uses it.
pub fn name_next(_target: &Uri) {}

/// The cryptography of TLS.
#[must_use]
pub fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The clock that certificates are checked by.
#[must_use]
pub fn certificate_clock() -> Arc<dyn TimeProvider> {
    Arc::new(DefaultTimeProvider)
}

/// The time of day.
#[must_use]
pub fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// If it cannot be read; [`io::ErrorKind::FileTooLarge`] if it is longer.
pub fn read_file(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Identifies the present version of a file, without reading it. Symbolic links are followed.
///
/// # Errors
/// If its metadata cannot be read.
pub fn file_stamp(path: &Path) -> io::Result<FileStamp> {
    let metadata = fs::metadata(path)?;
    Ok(FileStamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        length: metadata.len(),
        seconds: metadata.mtime(),
        nanoseconds: metadata.mtime_nsec(),
    })
}

/// The signals that the proxy handles.
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    /// Handles the signals from now on.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: unix::signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::HangUp,
        }
    }
}

/// The thread of a worker.
pub struct WorkerThread(JoinHandle<()>);

/// Starts a worker: a thread with its own runtime, which runs a future until it ends. Tasks that
/// are left then are dropped before `after` is.
///
/// # Panics
/// If the operating system provides no thread, or no event queue.
pub fn start_worker<Work: Future<Output = ()>>(
    name: String,
    work: impl FnOnce() -> Work + Send + 'static,
    after: impl Send + 'static,
) -> WorkerThread {
    let run = move || {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .expect("the system has an event queue");
        runtime.block_on(work());
        drop(runtime);
        drop(after);
    };
    let thread = thread::Builder::new().name(name).spawn(run);
    WorkerThread(thread.expect("the system has threads"))
}

impl WorkerThread {
    /// Waits until the thread has ended.
    ///
    /// # Panics
    /// If the worker panicked, which ends the process before.
    pub fn join(self) {
        self.0.join().expect("a worker that panics ends the process");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_has_keepalive_and_no_delay() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a listener");
            let port = listener.local_addr().expect("it is bound").port();
            listener.set_nonblocking(true).expect("a mode of the socket");
            let listener = Listener::from_std(listener).expect("a listener");
            let connecting = connect(SocketAddr::from(([127, 0, 0, 1], port)));
            let (accepted, connected) = tokio::join!(accept(&listener), connecting);
            for (stream, time) in [
                (accepted.expect("accepted").0, CLIENT_KEEPALIVE_TIME),
                (connected.expect("connected"), BACKEND_KEEPALIVE_TIME),
            ] {
                let socket = SockRef::from(&stream);
                assert!(socket.keepalive().expect("an option of the socket"));
                assert_eq!(socket.tcp_keepalive_time().expect("an option"), time);
                assert!(stream.nodelay().expect("an option of the socket"));
            }
        });
    }

    /// Connections that the system accepted before the listener closed are not reset.
    #[test]
    fn connections_that_wait_to_be_accepted_outlive_the_listener() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a listener");
            let port = listener.local_addr().expect("it is bound").port();
            listener.set_nonblocking(true).expect("a mode of the socket");
            let listener = adopt(listener).expect("a listener");
            let mut clients = Vec::new();
            for _ in 0..3 {
                clients.push(
                    connect(SocketAddr::from(([127, 0, 0, 1], port))).await.expect("it listens"),
                );
            }
            let waiting = close_listener(listener);
            assert_eq!(waiting.len(), 3);
            for (client, (server, peer)) in clients.iter().zip(&waiting) {
                assert_eq!(client.local_addr().expect("it is connected"), *peer);
                server.writable().await.expect("it is alive");
                assert_eq!(server.try_write(b"x").expect("it is alive"), 1);
                client.readable().await.expect("it is alive");
                assert_eq!(client.try_read(&mut [0]).expect("it is alive"), 1);
            }
            assert!(
                connect(SocketAddr::from(([127, 0, 0, 1], port))).await.is_err(),
                "the listener is closed"
            );
        });
    }
}
