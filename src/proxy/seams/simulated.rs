//! The operating system as the simulator plays it. Everything that the shell asks of its system
//! goes to the [`System`] that is installed on this thread.

use std::any::type_name;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use http::Uri;
use pin_project_lite::pin_project;
use rustls::crypto::CryptoProvider;
use rustls::time_provider::TimeProvider;
use tokio::task::LocalSet;

use super::answers::{FileStamp, Point, Signal};
use crate::pool::{Handled, Input, Instant, Output, Pool, Setting};

mod stream;

pub use stream::{ByteStream, NetworkStream};

/// A future that stays on its thread.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// The answers of a simulated operating system, and what it is shown of the shell.
pub trait System {
    /// Resolves a host name or address.
    fn resolve(&self, host: &str, port: u16) -> LocalFuture<io::Result<Vec<SocketAddr>>>;

    /// Connects to an address.
    fn connect(&self, address: SocketAddr) -> LocalFuture<io::Result<NetworkStream>>;

    /// Listens on an address, which several workers may share. Port 0 lets the system choose.
    ///
    /// # Errors
    /// If the address cannot be bound.
    fn listen(&self, address: SocketAddr) -> io::Result<ListeningSocket>;

    /// Checks that nothing listens on an address.
    ///
    /// # Errors
    /// If the address cannot be bound exclusively.
    fn check_unused(&self, address: SocketAddr) -> io::Result<()>;

    /// Returns an unpredictable number, which the run determines.
    fn entropy(&self) -> u64;

    /// The cryptography of TLS.
    fn crypto_provider(&self) -> Arc<CryptoProvider>;

    /// The clock that certificates are checked by.
    fn certificate_clock(&self) -> Arc<dyn TimeProvider>;

    /// The time of day.
    fn wall_clock(&self) -> SystemTime;

    /// Reads a file.
    ///
    /// # Errors
    /// If there is no such file.
    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Identifies the present version of a file.
    ///
    /// # Errors
    /// If there is no such file.
    fn file_stamp(&self, path: &Path) -> io::Result<FileStamp>;

    /// Waits for the next signal.
    fn signal(&self) -> LocalFuture<Signal>;

    /// Takes lines of a log, with their line breaks. `file` is `None` for standard error.
    fn write_lines(&self, file: Option<&Path>, lines: &[u8]);

    /// A task starts, whose future has a type of this name. Returns its number.
    fn task_starts(&self, name: &'static str) -> u64;

    /// Returns true if a poll of a task is to be delayed: the task wakes itself and is polled again
    /// after the others that are ready.
    fn delays_poll(&self, task: u64, poll: u64) -> bool;

    /// A task has ended or was dropped.
    fn task_ends(&self, task: u64);

    /// Returns true if something rare is to happen at this place of the shell.
    fn buggify(&self, point: Point) -> bool;

    /// A pool starts. Returns its number.
    fn pool_starts(&self, worker: usize, cluster: &str, core: &mut Pool) -> u64;

    /// The next fact is about a request with this target.
    fn name_next(&self, target: &Uri);

    /// Gives a pool a fact and fetches all orders that follow.
    fn step(
        &self,
        pool: u64,
        core: &mut Pool,
        now: Instant,
        input: Input,
        orders: &mut Vec<Output>,
    ) -> Handled;

    /// Changes the settings of a pool and fetches all orders that follow.
    fn reconfigure(
        &self,
        pool: u64,
        core: &mut Pool,
        now: Instant,
        settings: &[Setting],
        orders: &mut Vec<Output>,
    ) -> Handled;

    /// An order of a pool is about to be carried out.
    fn order_taken(&self, pool: u64, order: Output);

    /// A pool has ended.
    fn pool_ends(&self, pool: u64, core: &Pool);
}

thread_local! {
    static SYSTEM: RefCell<Option<Rc<dyn System>>> = const { RefCell::new(None) };
}

/// Keeps a system installed on this thread.
#[derive(Debug)]
pub struct Installed(());

/// Installs a system on this thread until the returned value is dropped.
///
/// # Panics
/// If there is one already.
#[must_use]
pub fn install(system: Rc<dyn System>) -> Installed {
    let before = SYSTEM.replace(Some(system));
    assert!(before.is_none(), "one system at a time");
    Installed(())
}

impl Drop for Installed {
    fn drop(&mut self) {
        SYSTEM.take();
    }
}

/// The system of this thread.
///
/// # Panics
/// If there is none.
pub(crate) fn system() -> Rc<dyn System> {
    SYSTEM.with_borrow(|system| system.clone().expect("a simulated run has installed a system"))
}

/// A socket of the simulated network that accepts connections. Dropping it closes it and resets the
/// connections that wait.
pub trait Accept {
    /// The address that it is bound to.
    fn local_address(&self) -> SocketAddr;

    /// Polls for the next connection and the address of its client.
    fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(NetworkStream, SocketAddr)>>;

    /// Closes it and returns the connections that wait to be accepted.
    fn close(&self) -> Vec<(NetworkStream, SocketAddr)>;
}

/// A listening socket that no worker has adopted yet.
pub struct ListeningSocket(Box<dyn Accept>);

impl ListeningSocket {
    /// A socket that accepts from the simulated network.
    #[must_use]
    pub fn new(accept: impl Accept + 'static) -> Self {
        Self(Box::new(accept))
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// None; as for a socket of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0.local_address())
    }
}

impl fmt::Debug for ListeningSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ListeningSocket({})", self.0.local_address())
    }
}

/// A socket that accepts connections.
pub type Listener = ListeningSocket;

/// Makes a listener usable on this thread's runtime.
///
/// # Errors
/// None; as for a socket of the system.
pub fn adopt(listener: ListeningSocket) -> io::Result<Listener> {
    Ok(listener)
}

/// Waits for the next connection.
///
/// # Errors
/// If the system refuses one, for instance because file descriptors are exhausted.
pub async fn accept(listener: &Listener) -> io::Result<(NetworkStream, SocketAddr)> {
    std::future::poll_fn(|context| listener.0.poll_accept(context)).await
}

/// Closes a listener and returns the connections that the system has accepted but Baton has not.
#[must_use]
pub fn close_listener(listener: Listener) -> Vec<(NetworkStream, SocketAddr)> {
    listener.0.close()
}

/// Makes the close of a connection a reset, which drops what the system has not sent, or an orderly
/// one again.
pub fn reset_on_close(stream: &NetworkStream, resets: bool) {
    stream.reset_on_close(resets);
}

/// Returns how many segments in a row the peer's host has left without an acknowledgement; `None`
/// if the system cannot tell.
#[must_use]
pub fn unanswered(stream: &NetworkStream) -> Option<u32> {
    stream.unanswered()
}

/// Resolves a host name; an address is its own.
///
/// # Errors
/// If the name cannot be resolved.
pub async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let resolved = system().resolve(host, port);
    resolved.await
}

/// Connects to an address.
///
/// # Errors
/// If nothing accepts there.
pub async fn connect(address: SocketAddr) -> io::Result<NetworkStream> {
    let connected = system().connect(address);
    connected.await
}

/// Listens on an address, which several workers may share.
///
/// # Errors
/// If the address cannot be bound.
pub fn listen(address: SocketAddr) -> io::Result<ListeningSocket> {
    system().listen(address)
}

/// Checks that nothing else listens on an address.
///
/// # Errors
/// If the address cannot be bound exclusively.
pub fn check_unused(address: SocketAddr) -> io::Result<()> {
    system().check_unused(address)
}

/// Returns an unpredictable number.
#[must_use]
pub fn entropy() -> u64 {
    system().entropy()
}

/// The cryptography of TLS.
#[must_use]
pub fn crypto_provider() -> Arc<CryptoProvider> {
    system().crypto_provider()
}

/// The clock that certificates are checked by.
#[must_use]
pub fn certificate_clock() -> Arc<dyn TimeProvider> {
    system().certificate_clock()
}

/// The time of day.
#[must_use]
pub fn wall_clock() -> SystemTime {
    system().wall_clock()
}

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// If it cannot be read; [`io::ErrorKind::FileTooLarge`] if it is longer.
pub fn read_file(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let bytes = system().read_file(path)?;
    if bytes.len() > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// A pool as its driver holds it: every fact goes through the system, which can judge it.
pub struct DrivenPool {
    number: u64,
    pool: Pool,
    /// Orders that were fetched and not yet carried out.
    orders: VecDeque<Output>,
    fetched: Vec<Output>,
}

/// Hands a pool to the driver of a worker's cluster.
#[must_use]
pub fn drive(mut pool: Pool, worker: usize, cluster: &str) -> DrivenPool {
    let number = system().pool_starts(worker, cluster, &mut pool);
    DrivenPool { number, pool, orders: VecDeque::new(), fetched: Vec::new() }
}

/// Names the request that the next fact is about.
pub fn name_next(target: &Uri) {
    system().name_next(target);
}

impl DrivenPool {
    /// As [`Pool::handle`].
    ///
    /// # Panics
    /// If orders are left.
    pub fn handle(&mut self, now: Instant, input: Input) -> Handled {
        assert!(self.orders.is_empty(), "the orders of a fact are fetched before the next fact");
        let Self { number, pool, fetched, .. } = self;
        let handled = system().step(*number, pool, now, input, fetched);
        self.orders.extend(fetched.drain(..));
        handled
    }

    /// As [`Pool::reconfigure`].
    ///
    /// # Panics
    /// If orders are left.
    pub fn reconfigure(&mut self, now: Instant, settings: &[Setting]) -> Handled {
        assert!(self.orders.is_empty(), "the orders of a fact are fetched before the next fact");
        let Self { number, pool, fetched, .. } = self;
        let handled = system().reconfigure(*number, pool, now, settings, fetched);
        self.orders.extend(fetched.drain(..));
        handled
    }

    /// As [`Pool::poll_output`].
    pub fn poll_output(&mut self) -> Option<Output> {
        let order = self.orders.pop_front()?;
        system().order_taken(self.number, order);
        Some(order)
    }
}

/// True if something rare happens here because the simulator wants it.
#[must_use]
pub fn buggify(point: Point) -> bool {
    system().buggify(point)
}

impl Deref for DrivenPool {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.pool
    }
}

impl Drop for DrivenPool {
    fn drop(&mut self) {
        // After a run there is no system.
        if let Some(system) = SYSTEM.with_borrow(Clone::clone) {
            system.pool_ends(self.number, &self.pool);
        }
    }
}

/// Identifies the present version of a file, without reading it.
///
/// # Errors
/// If its metadata cannot be read.
pub fn file_stamp(path: &Path) -> io::Result<FileStamp> {
    system().file_stamp(path)
}

/// The signals that the proxy handles.
pub struct Signals(());

impl Signals {
    /// Handles the signals from now on.
    ///
    /// # Errors
    /// None; as for the system.
    pub fn listen() -> io::Result<Self> {
        Ok(Self(()))
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Signal {
        let signal = system().signal();
        signal.await
    }
}

/// A worker, which is a task here.
pub struct WorkerThread(());

/// Starts a worker, which runs a future until it ends. Tasks that are left then are dropped before
/// `after` is.
pub fn start_worker<Work: Future<Output = ()> + 'static, After: 'static>(
    _name: String,
    work: impl FnOnce() -> Work + 'static,
    after: After,
) -> WorkerThread {
    tokio::task::spawn_local(async move {
        let tasks = LocalSet::new();
        tasks.run_until(work()).await;
        drop(tasks);
        drop(after);
    });
    WorkerThread(())
}

impl WorkerThread {
    /// Does nothing: what waits for the worker's end waits for `after` to be dropped.
    pub fn join(self) {}
}

pin_project! {
    /// A task, some of whose polls are delayed.
    pub(super) struct SimulatedTask<F> {
        #[pin]
        future: F,
        alive: Alive,
        polls: u64,
    }
}

/// Reports the end of a task.
struct Alive(u64);

impl Drop for Alive {
    fn drop(&mut self) {
        // After a run there is no system.
        if let Some(system) = SYSTEM.with_borrow(Clone::clone) {
            system.task_ends(self.0);
        }
    }
}

/// The future of a task, as it is spawned.
pub(super) fn task<F: Future<Output = ()>>(future: F) -> SimulatedTask<F> {
    SimulatedTask { future, alive: Alive(system().task_starts(type_name::<F>())), polls: 0 }
}

impl<F: Future<Output = ()>> Future for SimulatedTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let task = self.project();
        *task.polls += 1;
        if system().delays_poll(task.alive.0, *task.polls) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        task.future.poll(context)
    }
}
