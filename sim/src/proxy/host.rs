//! The machine that the proxy runs on: what its system answers, and what it shows of the proxy to
//! the judges.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton::pool::{ConnectionToken, Handled, Input, Instant, Output, Pool, Setting};
use baton::proxy::seams::simulated::{Accept, ListeningSocket, LocalFuture, NetworkStream, System};
use baton::proxy::seams::{FileStamp, Point, Signal};
use http::Uri;
use rustls::crypto::CryptoProvider;
use rustls::time_provider::TimeProvider;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::hub::Hub;
use super::ledger::request_of;
use super::network::{Key, Listening, Network, Stream};
use super::orders::Orders;
use super::peers::tls;
use super::pools::Pools;
use super::races::{Dialling, Race, Races};
use super::reported::{Conversation, Listener};
use super::short::Short;
use crate::draw::{Domain, Draws};
use crate::memory::uncharged;
use crate::outside::EPOCH_S;

/// The error of a system whose process has no file descriptor left.
const EMFILE: i32 = 24;
/// A run with more polls of tasks than this is considered endless.
const POLLS_MAX: u64 = 5_000_000;

type Reader = dyn Fn(&str);

/// A file of the machine.
struct File {
    contents: Vec<u8>,
    version: i64,
}

/// The machine.
pub(crate) struct Machine {
    hub: Rc<Hub>,
    network: Rc<Network>,
    address: IpAddr,
    files: RefCell<BTreeMap<PathBuf, File>>,
    signals: UnboundedSender<Signal>,
    /// The signals so far, each with its time.
    sent: RefCell<Vec<(u64, Signal)>>,
    pending_signals: Rc<RefCell<UnboundedReceiver<Signal>>>,
    /// Lines of the logs, with the time when they were written.
    lines: RefCell<Vec<(u64, String)>>,
    /// Called with each line that is written.
    readers: RefCell<Vec<Rc<Reader>>>,
    /// Tasks that have not ended.
    tasks: RefCell<BTreeMap<u64, &'static str>>,
    tasks_started: Cell<u64>,
    polls: Cell<u64>,
    entropy_drawn: Cell<u64>,
    pools: Rc<Pools>,
    orders: Rc<RefCell<Orders>>,
    reported: Listener,
    /// The request that the next fact is about.
    named: Cell<Option<u32>>,
    /// The task that was polled last.
    polled: Cell<u64>,
    sockets: Sockets,
    races: Rc<RefCell<Races>>,
    /// How often each place was asked whether something rare is to happen there.
    rare: RefCell<BTreeMap<u64, u64>>,
}

impl Machine {
    pub(crate) fn new(
        hub: &Rc<Hub>,
        network: &Rc<Network>,
        address: IpAddr,
        pools: &Rc<Pools>,
    ) -> Rc<Self> {
        let (signals, pending_signals) = unbounded_channel();
        Rc::new(Self {
            hub: Rc::clone(hub),
            network: Rc::clone(network),
            address,
            files: RefCell::default(),
            signals,
            sent: RefCell::default(),
            pending_signals: Rc::new(RefCell::new(pending_signals)),
            lines: RefCell::default(),
            readers: RefCell::default(),
            tasks: RefCell::default(),
            tasks_started: Cell::new(0),
            polls: Cell::new(0),
            entropy_drawn: Cell::new(0),
            pools: Rc::clone(pools),
            orders: Rc::default(),
            reported: Listener::default(),
            named: Cell::new(None),
            polled: Cell::new(0),
            sockets: Sockets {
                draws: hub.draws,
                percent: hub.plan.wire.rare_percent,
                opened: Rc::default(),
                used_up: Rc::default(),
            },
            races: Rc::default(),
            rare: RefCell::default(),
        })
    }

    /// Writes a file, whose version changes.
    pub(crate) fn write_file(&self, path: &str, contents: Vec<u8>) {
        let mut files = self.files.borrow_mut();
        let version = files.get(Path::new(path)).map_or(0, |file| file.version + 1);
        files.insert(path.into(), File { contents, version });
    }

    /// Sends a signal to the proxy.
    pub(crate) fn send_signal(&self, signal: Signal) {
        self.sent.borrow_mut().push((self.hub.now(), signal));
        // The receiver lives as long as the machine.
        let _ = self.signals.send(signal);
    }

    /// From now on there is no file descriptor for another connection, or there is one again.
    pub(crate) fn use_up_descriptors(&self, used_up: bool) {
        self.sockets.used_up.set(used_up);
    }

    /// The dials of names.
    pub(crate) fn races(&self) -> Vec<Race> {
        self.races.borrow().all()
    }

    /// The facts that were reported to pools, and their orders.
    pub(crate) fn reported(&self) -> Conversation {
        self.reported.take()
    }

    /// The signals that were sent to the proxy, each with its time.
    pub(crate) fn signals(&self) -> Vec<(u64, Signal)> {
        self.sent.borrow().clone()
    }

    /// The lines of the log and the access log so far, each with its time.
    pub(crate) fn lines(&self) -> Vec<(u64, String)> {
        self.lines.borrow().clone()
    }

    /// From now on each line of the logs is passed to `reader`.
    pub(crate) fn follow_log(&self, reader: impl Fn(&str) + 'static) {
        self.readers.borrow_mut().push(Rc::new(reader));
    }

    /// The proxy's tasks that have not ended, by the names of their futures.
    pub(crate) fn tasks_left(&self) -> Vec<&'static str> {
        self.tasks.borrow().values().copied().collect()
    }

    /// The pool, by its number, and the connection that the task at work dials, if it dials one.
    pub(crate) fn dials(&self) -> Option<(u64, ConnectionToken)> {
        self.orders.borrow().dial_of(self.polled.get())
    }

    /// True if the run has had so many polls that it is considered endless.
    pub(crate) fn is_endless(&self) -> bool {
        self.polls.get() > POLLS_MAX
    }
}

/// The sockets of the proxy, some of which read and write less than they could.
#[derive(Clone)]
struct Sockets {
    draws: Draws,
    percent: u8,
    opened: Rc<Cell<u64>>,
    /// Clients' connections find no file descriptor any more.
    used_up: Rc<Cell<bool>>,
}

impl Sockets {
    fn are_used_up(&self) -> bool {
        self.used_up.get()
    }

    fn open(&self, stream: Stream) -> NetworkStream {
        let number = self.opened.get();
        self.opened.set(number + 1);
        let (resets, unanswered) = (stream.resets(), stream.unanswered());
        if self.percent == 0 {
            return NetworkStream::of_proxy(stream, resets, unanswered);
        }
        let stream = Short::new(stream, self.draws, self.percent, number);
        NetworkStream::of_proxy(stream, resets, unanswered)
    }
}

struct Accepting(Rc<Listening>, Sockets);

impl Accept for Accepting {
    fn local_address(&self) -> SocketAddr {
        self.0.local_addr()
    }

    fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(NetworkStream, SocketAddr)>> {
        if self.1.are_used_up() && self.0.has_waiting() {
            return Poll::Ready(Err(io::Error::from_raw_os_error(EMFILE)));
        }
        let accepted = self.0.poll_accept(context);
        accepted.map_ok(|(stream, peer)| (self.1.open(stream), peer))
    }

    fn close(&self) -> Vec<(NetworkStream, SocketAddr)> {
        let waiting = self.0.close();
        waiting.into_iter().map(|(stream, peer)| (self.1.open(stream), peer)).collect()
    }
}

impl System for Machine {
    fn resolve(&self, host: &str, port: u16) -> LocalFuture<io::Result<Vec<SocketAddr>>> {
        let (network, hub) = (Rc::clone(&self.network), Rc::clone(&self.hub));
        let (races, task, name) = (Rc::clone(&self.races), self.polled.get(), host.to_owned());
        uncharged(|| {
            Box::pin(async move {
                let addresses = network.resolve(&name, port).await?;
                if name.parse::<IpAddr>().is_err() {
                    uncharged(|| {
                        let (resolved, addresses) = (hub.now(), addresses.clone());
                        let race = Race { name, resolved, addresses, dials: Vec::new() };
                        races.borrow_mut().resolved(task, race);
                    });
                }
                Ok(addresses)
            })
        })
    }

    fn connect(&self, address: SocketAddr) -> LocalFuture<io::Result<NetworkStream>> {
        let (network, from) = (Rc::clone(&self.network), self.address);
        let (orders, task) = (Rc::clone(&self.orders), self.polled.get());
        let sockets = self.sockets.clone();
        uncharged(|| {
            let dialling = Dialling::begin(&self.hub, &self.races, task, address);
            Box::pin(async move {
                let connected = network.connect(from, address).await;
                dialling.end(connected.is_ok());
                let stream = connected?;
                if let Key::Backend(backend, number) = stream.key() {
                    uncharged(|| orders.borrow_mut().connected(task, backend, number));
                }
                Ok(sockets.open(stream))
            })
        })
    }

    fn listen(&self, address: SocketAddr) -> io::Result<ListeningSocket> {
        uncharged(|| {
            let listening = self.network.listen(address)?;
            Ok(ListeningSocket::new(Accepting(Rc::new(listening), self.sockets.clone())))
        })
    }

    fn check_unused(&self, address: SocketAddr) -> io::Result<()> {
        self.network.check_unused(address)
    }

    fn entropy(&self) -> u64 {
        let drawn = self.entropy_drawn.get();
        self.entropy_drawn.set(drawn + 1);
        self.hub.draws.between(Domain::Entropy, drawn, 0, 0, u64::MAX - 1)
    }

    fn crypto_provider(&self) -> Arc<CryptoProvider> {
        uncharged(tls::provider)
    }

    fn certificate_clock(&self) -> Arc<dyn TimeProvider> {
        tls::clock()
    }

    fn wall_clock(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(EPOCH_S) + Duration::from_nanos(self.hub.now())
    }

    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let files = self.files.borrow();
        let file = files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(file.contents.clone())
    }

    fn file_stamp(&self, path: &Path) -> io::Result<FileStamp> {
        let files = self.files.borrow();
        let file = files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(FileStamp {
            device: 1,
            inode: 1,
            length: file.contents.len() as u64,
            seconds: file.version,
            nanoseconds: 0,
        })
    }

    fn signal(&self) -> LocalFuture<Signal> {
        let signals = Rc::clone(&self.pending_signals);
        Box::pin(poll_fn(move |context| {
            let signal = signals.borrow_mut().poll_recv(context);
            signal.map(|signal| signal.expect("the machine holds the sender"))
        }))
    }

    fn write_lines(&self, _file: Option<&Path>, lines: &[u8]) {
        uncharged(|| {
            let text = str::from_utf8(lines).expect("log lines are UTF-8");
            let now = self.hub.now();
            let lines = text.lines().map(|line| (now, line.to_owned()));
            self.lines.borrow_mut().extend(lines);
            let readers = self.readers.borrow().clone();
            for line in text.lines() {
                readers.iter().for_each(|reader| reader(line));
            }
        });
    }

    fn task_starts(&self, name: &'static str) -> u64 {
        let number = self.tasks_started.get();
        self.tasks_started.set(number + 1);
        uncharged(|| {
            self.tasks.borrow_mut().insert(number, name);
            self.orders.borrow_mut().task_starts(number);
        });
        number
    }

    fn delays_poll(&self, task: u64, poll: u64) -> bool {
        self.polls.set(self.polls.get() + 1);
        self.polled.set(task);
        assert!(!self.is_endless(), "no end after {POLLS_MAX} polls: something repeats forever");
        let percent = u64::from(self.hub.plan.wire.delayed_polls_percent);
        percent > 0 && self.hub.draws.between(Domain::Polls, task, poll, 0, 99) < percent
    }

    fn task_ends(&self, task: u64) {
        self.tasks.borrow_mut().remove(&task);
        self.orders.borrow_mut().task_ends(task);
        self.races.borrow_mut().task_ends(task);
    }

    fn buggify(&self, point: Point) -> bool {
        let percent = u64::from(self.hub.plan.wire.rare_percent);
        if percent == 0 {
            return false;
        }
        let mut rare = self.rare.borrow_mut();
        let asked = rare.entry(point as u64).or_default();
        *asked += 1;
        self.hub.draws.between(Domain::Rare, point as u64, *asked, 0, 99) < percent
    }

    fn name_next(&self, target: &Uri) {
        let request = request_of(target.path());
        self.named.set(request);
        uncharged(|| self.pools.name_next(self.hub.now(), request));
    }

    fn pool_starts(&self, worker: usize, cluster: &str, core: &mut Pool) -> u64 {
        uncharged(|| self.pools.start(worker, cluster, core))
    }

    fn step(
        &self,
        pool: u64,
        core: &mut Pool,
        now: Instant,
        input: Input,
        orders: &mut Vec<Output>,
    ) -> Handled {
        uncharged(|| {
            let handled = self.pools.step(self.hub.now(), pool, core, now, input, orders);
            if let (Handled::Accepted(request), Some(id)) = (handled, self.named.take()) {
                self.orders.borrow_mut().named(pool, request, id);
            }
            let names = self.orders.borrow();
            self.reported.note(self.hub.now(), (pool, core), input, (handled, orders), &names);
            handled
        })
    }

    fn reconfigure(
        &self,
        pool: u64,
        core: &mut Pool,
        now: Instant,
        settings: &[Setting],
        orders: &mut Vec<Output>,
    ) -> Handled {
        uncharged(|| self.pools.reconfigure(self.hub.now(), pool, core, now, settings, orders))
    }

    fn order_taken(&self, pool: u64, order: Output) {
        uncharged(|| {
            let ordered = self.orders.borrow_mut().taken(pool, order);
            if let Some((stream, request)) = ordered {
                self.hub.stream_ordered(stream, request);
            }
        });
    }

    fn pool_ends(&self, pool: u64, core: &Pool) {
        uncharged(|| self.pools.end(pool, core));
    }
}
