//! Access to tasks, connections, time and entropy. The shell has no other access to them:
//! `clippy.toml` bans every other way.
//!
//! So every connection has the socket options that it needs, every task runs on its worker's thread
//! and sees one time during a poll, and code that must not depend on the network or the real clock
//! has one module to replace. The only implementation is tokio's: the simulator runs the pool, not
//! the shell.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the one module that the bans point to"
)]

use std::cell::Cell;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::AbortHandle;

use super::limits::{self, LISTEN_BACKLOG, TCP_KEEPALIVE_INTERVAL, TCP_KEEPALIVE_TIME};
use crate::pool::Instant;

/// A TCP connection, dialled or accepted.
pub type NetworkStream = TcpStream;
/// A socket that accepts connections.
pub type Listener = TcpListener;

/// A task of this worker. Dropping it ends the task.
#[derive(Debug)]
pub struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a task on this thread until it ends.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(InMoments { future });
}

/// Runs a task on this thread until it ends or its handle is dropped.
pub fn spawn_bound(future: impl Future<Output = ()> + 'static) -> Task {
    Task(tokio::task::spawn_local(InMoments { future }).abort_handle())
}

/// The present time of a task, read from the clock at most once per poll.
#[derive(Clone, Copy)]
enum Moment {
    /// No task is polled: every reader reads the clock.
    None,
    /// A task is polled and has not read the clock yet.
    Begun,
    /// A task is polled and has read this time from the clock with this epoch.
    At { epoch: tokio::time::Instant, since_start: Instant },
}

thread_local! {
    static MOMENT: Cell<Moment> = const { Cell::new(Moment::None) };
}

pin_project! {
    /// A task with a constant time during each poll. A poll takes microseconds, and reading the
    /// clock costs as much time as one fact in the pool.
    struct InMoments<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for InMoments<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        MOMENT.set(Moment::Begun);
        let polled = self.project().future.poll(context);
        MOMENT.set(Moment::None);
        polled
    }
}

/// A clock for the pool: the time since the worker started.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: tokio::time::Instant,
}

impl Clock {
    /// Starts a clock at the present time.
    #[must_use]
    pub fn start() -> Self {
        Self { epoch: tokio::time::Instant::now() }
    }

    /// The present time. It is the same during one poll of a task.
    #[must_use]
    pub fn now(&self) -> Instant {
        match MOMENT.get() {
            Moment::At { epoch, since_start } if epoch == self.epoch => since_start,
            // The time was read from another clock, which is rare: convert it.
            Moment::At { epoch, since_start } => {
                self.since_start(epoch + Duration::from_nanos(since_start.0))
            }
            Moment::None => self.look(),
            Moment::Begun => {
                let since_start = self.look();
                MOMENT.set(Moment::At { epoch: self.epoch, since_start });
                since_start
            }
        }
    }

    /// The present time, read from the system even during a poll, to measure a task's own duration.
    #[must_use]
    pub fn look(&self) -> Instant {
        self.since_start(tokio::time::Instant::now())
    }

    fn since_start(&self, now: tokio::time::Instant) -> Instant {
        let elapsed = now.saturating_duration_since(self.epoch).as_nanos();
        Instant(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// Waits until a time; returns at once if it is past.
    pub async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep_until(self.epoch + Duration::from_nanos(at.0)).await;
    }
}

/// Waits for a duration.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Limits the time to wait for a future.
///
/// # Errors
/// If the time is over first.
pub async fn timeout<F: Future>(
    duration: Duration,
    future: F,
) -> Result<F::Output, tokio::time::error::Elapsed> {
    tokio::time::timeout(duration, future).await
}

/// Connects to a host name or address.
///
/// # Errors
/// If the name cannot be resolved or none of its addresses accepts.
pub async fn connect(host: &str, port: u16) -> io::Result<NetworkStream> {
    let stream = TcpStream::connect((host, port)).await?;
    prepare(&stream)?;
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
        if prepare(&stream).is_ok() {
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
        if let Ok(stream) = adopted.and_then(|stream| prepare(&stream).map(|()| stream)) {
            waiting.push((stream, peer));
        }
    }
    waiting
}

/// Sets the socket options of every connection: small writes are sent at once, and a connection
/// whose peer vanished is closed by TCP keepalive. HTTP/1.1 has no PING, so only the system can
/// detect that.
fn prepare(stream: &NetworkStream) -> io::Result<()> {
    // Otherwise small frames wait for the peer's delayed acknowledgement.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    // Otherwise a socket becomes writable only when a third of a buffer of megabytes is free, and a
    // slow reader looks like one that does not read.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_notsent_lowat(limits::TCP_UNSENT_BYTES_MAX)?;
    let keepalive =
        TcpKeepalive::new().with_time(TCP_KEEPALIVE_TIME).with_interval(TCP_KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive)
}

/// Listens on an address, which several workers may share.
///
/// # Errors
/// If the address cannot be bound.
pub fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
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
pub fn adopt(listener: std::net::TcpListener) -> io::Result<Listener> {
    TcpListener::from_std(listener)
}

/// Returns an unpredictable number.
#[must_use]
pub fn entropy() -> u64 {
    RandomState::new().hash_one(0_u64)
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
            let connecting = connect("127.0.0.1", port);
            let (accepted, connected) = tokio::join!(accept(&listener), connecting);
            for stream in [accepted.expect("accepted").0, connected.expect("connected")] {
                let socket = SockRef::from(&stream);
                assert!(socket.keepalive().expect("an option of the socket"));
                assert_eq!(socket.tcp_keepalive_time().expect("an option"), TCP_KEEPALIVE_TIME);
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
                clients.push(connect("127.0.0.1", port).await.expect("it listens"));
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
            assert!(connect("127.0.0.1", port).await.is_err(), "the listener is closed");
        });
    }
}
