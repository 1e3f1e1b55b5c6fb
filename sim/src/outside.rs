//! Nothing from outside: a run of the proxy's world is a function of its plan, so the clock and the
//! entropy that its code reaches past the seams are simulated too, and whatever reaches for a
//! thread, a file, a socket, a process or a real sleep is reported.
//!
//! `symbols` defines the functions of the C library that lead there. The linker prefers them to the
//! C library's, in every program that contains this crate. Outside of a run they call the
//! function that they hide. A thread is in a run while it holds an [`Inside`].
//!
//! Libraries may read the clock and draw entropy where [`callers`] allows it. Looking at the caller
//! of each call is slow, so runs that need not do it only count; see [`Tripwire`].

mod callers;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod symbols;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::draw::{Domain, Draws};
use crate::memory::uncharged;

/// True if the functions of the C library are replaced on this system. If not, the clock and the
/// entropy of a run are real, and nothing is reported.
pub(crate) const SUPPORTED: bool = cfg!(all(target_os = "linux", target_env = "gnu"));
/// The date at the start of each run: 2026-01-01, in seconds since 1970.
pub(crate) const EPOCH_S: u64 = 1_767_225_600;
/// The monotonic clock at the start of each run: the machine has been up for days, as machines are.
const UPTIME_S: u64 = 1_000_000;
/// Finds that a run keeps.
const REACHED_MAX: usize = 8;

baton::words! {
    /// A thing that code of a run reaches for.
    pub(crate) enum Resource {
        /// The time.
        Clock = "the clock",
        /// Unpredictable bytes.
        Entropy = "entropy",
        /// A new thread.
        Thread = "a thread",
        /// A file or a directory.
        File = "a file",
        /// A socket.
        Socket = "a socket",
        /// A new process.
        Process = "a process",
        /// Real time, to pass.
        Sleep = "a sleep",
    }
}

/// How closely calls for the clock and for entropy are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tripwire {
    /// They are counted.
    Count,
    /// The caller of each is looked up, and must be allowed.
    Watch,
}

/// Calls that were made in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Calls {
    /// For the time.
    pub(crate) clock: u64,
    /// For entropy, other than for the keys of hash maps.
    pub(crate) entropy: u64,
    /// For the keys of hash maps: at most one of each thread.
    pub(crate) hash_keys: u64,
}

impl Calls {
    const NONE: Self = Self { clock: 0, entropy: 0, hash_keys: 0 };
}

/// A call that is not allowed in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The thing that was called for.
    pub(crate) resource: Resource,
    /// The function that called for it.
    pub(crate) caller: String,
    /// The functions on the stack, the caller first.
    pub(crate) backtrace: String,
}

impl fmt::Display for Reached {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource, caller, backtrace } = self;
        write!(formatter, "{caller} reached for {resource} past the seams\n{backtrace}")
    }
}

/// The calls of a run.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// The calls that were counted.
    pub(crate) calls: Calls,
    /// The first calls that are not allowed.
    pub(crate) reached: Vec<Reached>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// No run is on this thread, or it is permitted to be outside for now.
    Outside,
    /// A run is on this thread.
    Inside,
}

/// The run of a thread. Of cells without destructors, so that a function of the C library can read
/// it at any time of a thread's life.
struct Thread {
    place: Cell<Place>,
    tripwire: Cell<Tripwire>,
    /// Simulated nanoseconds since the start of the run.
    now_ns: Cell<u64>,
    draws: Cell<Draws>,
    calls: Cell<Calls>,
}

thread_local! {
    static THREAD: Thread = const {
        Thread {
            place: Cell::new(Place::Outside),
            tripwire: Cell::new(Tripwire::Count),
            now_ns: Cell::new(0),
            draws: Cell::new(Draws::new(0)),
            calls: Cell::new(Calls::NONE),
        }
    };
    static REACHED: RefCell<Vec<Reached>> = const { RefCell::new(Vec::new()) };
}

/// A run on this thread.
#[derive(Debug)]
pub(crate) struct Inside {
    /// It belongs to its thread.
    not_send: PhantomData<*const ()>,
}

impl Inside {
    /// Begins a run at time 0.
    pub(crate) fn enter(seed: u64, tripwire: Tripwire) -> Self {
        static CHECKED: OnceLock<Result<(), &str>> = OnceLock::new();
        CHECKED.get_or_init(check_symbols).expect("nothing comes from outside");
        Self::enter_unchecked(seed, tripwire)
    }

    fn enter_unchecked(seed: u64, tripwire: Tripwire) -> Self {
        THREAD.with(|thread| {
            assert!(thread.place.get() == Place::Outside, "a thread has one run at a time");
            thread.tripwire.set(tripwire);
            thread.now_ns.set(0);
            thread.draws.set(Draws::new(seed));
            thread.calls.set(Calls::NONE);
            REACHED.take();
            thread.place.set(Place::Inside);
        });
        Self { not_send: PhantomData }
    }

    /// Ends the run.
    pub(crate) fn leave(self) -> Report {
        THREAD.with(|thread| {
            thread.place.set(Place::Outside);
            Report { calls: thread.calls.get(), reached: REACHED.take() }
        })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        THREAD.with(|thread| thread.place.set(Place::Outside));
    }
}

/// Lets the simulated clock follow that of a paused runtime: at once, and whenever its time moves,
/// which happens only while the runtime waits. The runtime reads the clock under a lock of its own,
/// so the clock cannot ask the runtime.
///
/// Called in a run, before the runtime is built.
pub(crate) fn follow_clock(runtime: &mut tokio::runtime::Builder) {
    let at_start = THREAD.with(|thread| thread.now_ns.get());
    let start = monotonic();
    runtime.on_thread_unpark(move || {
        let elapsed = tokio_now().into_std().saturating_duration_since(start);
        set_now(at_start + elapsed.as_nanos() as u64);
    });
}

#[expect(clippy::disallowed_methods, reason = "the clock of the simulated runtime")]
fn tokio_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "simulated by this module")]
fn monotonic() -> std::time::Instant {
    permit_clock(std::time::Instant::now)
}

/// Sets the simulated time, in nanoseconds since the start of the run.
pub(crate) fn set_now(now_ns: u64) {
    THREAD.with(|thread| thread.now_ns.set(now_ns));
}

/// True once something in this run has reached for what it must not.
#[cfg(test)]
pub(crate) fn is_reached() -> bool {
    REACHED.with_borrow(|reached| !reached.is_empty())
}

/// Runs code of the simulator that may reach outside: it sees the real clock, entropy and files.
#[cfg(test)]
pub(crate) fn permit<T>(code: impl FnOnce() -> T) -> T {
    struct Return(Place);
    impl Drop for Return {
        fn drop(&mut self) {
            THREAD.with(|thread| thread.place.set(self.0));
        }
    }
    let _return = Return(THREAD.with(|thread| thread.place.replace(Place::Outside)));
    code()
}

/// Runs code of the simulator that reads the simulated clock.
fn permit_clock<T>(code: impl FnOnce() -> T) -> T {
    let tripwire = THREAD.with(|thread| thread.tripwire.replace(Tripwire::Count));
    let answer = code();
    THREAD.with(|thread| thread.tripwire.set(tripwire));
    answer
}

/// Checks that the functions of this crate are in the place of those of the C library. Nothing else
/// would show that a linker has dropped them.
pub(crate) fn check_symbols() -> Result<(), &'static str> {
    if !SUPPORTED {
        return Ok(());
    }
    // A thread of its own, because a thread asks for the keys of hash maps only once.
    let look = || {
        let inside = Inside::enter_unchecked(1, Tripwire::Count);
        let key = RandomState::new().hash_one(0);
        let now = real_time();
        (key, now, inside.leave().calls)
    };
    let look = || thread::spawn(look).join().expect("it does not panic");
    let (first, second) = (look(), look());
    let (_, date, calls) = first;
    if date != SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH_S) || calls.clock == 0 {
        return Err("the clock of a run is not simulated in this program");
    }
    if first != second || calls.hash_keys != 1 {
        return Err("the entropy of a run is not simulated in this program");
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "to check that it is simulated")]
fn real_time() -> SystemTime {
    SystemTime::now()
}

/// A clock, as far as runs distinguish them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClockKind {
    /// The date.
    Date,
    /// Time since the machine was started.
    Uptime,
}

/// The simulated time of a clock; `None` outside of a run.
fn clock(kind: ClockKind) -> Option<Duration> {
    let now_ns = THREAD.with(|thread| {
        if thread.place.get() == Place::Outside {
            return None;
        }
        let mut calls = thread.calls.get();
        calls.clock += 1;
        thread.calls.set(calls);
        if thread.tripwire.get() == Tripwire::Watch {
            reach(thread, Resource::Clock);
        }
        Some(thread.now_ns.get())
    })?;
    let base = match kind {
        ClockKind::Date => EPOCH_S,
        ClockKind::Uptime => UPTIME_S,
    };
    Some(Duration::from_secs(base) + Duration::from_nanos(now_ns))
}

/// The purpose of entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The keys of hash maps: any code may have them.
    HashKeys = 0,
    /// Anything else.
    Other = 1,
}

/// Fills `bytes` with simulated entropy; returns false outside of a run.
///
/// A thread asks for the keys of hash maps only once, in whatever run is its first. So these draws
/// are apart from the others, which are the same in every run of a plan.
fn entropy(purpose: Purpose, bytes: &mut [u8]) -> bool {
    THREAD.with(|thread| {
        if thread.place.get() == Place::Outside {
            return false;
        }
        // To find out if the system has entropy, libraries ask once in a process for no bytes.
        if bytes.is_empty() {
            return true;
        }
        let mut calls = thread.calls.get();
        let count = match purpose {
            Purpose::HashKeys => &mut calls.hash_keys,
            Purpose::Other => &mut calls.entropy,
        };
        let entity = *count << 1 | purpose as u64;
        *count += 1;
        thread.calls.set(calls);
        if purpose == Purpose::Other && thread.tripwire.get() == Tripwire::Watch {
            reach(thread, Resource::Entropy);
        }
        let mut stream = thread.draws.get().stream(Domain::Outside, entity);
        for piece in bytes.chunks_mut(8) {
            let drawn = stream.between(0, u64::MAX).to_le_bytes();
            piece.copy_from_slice(&drawn[..piece.len()]);
        }
        true
    })
}

/// Reports a call for a resource that no code of a run may have.
fn forbidden(resource: Resource) {
    THREAD.with(|thread| {
        if thread.place.get() == Place::Inside {
            reach(thread, resource);
        }
    });
}

/// Keeps a call if its caller is not allowed to make it.
#[cold]
#[inline(never)]
fn reach(thread: &Thread, resource: Resource) {
    // While a panic is reported the lock that guards backtraces may be held by this very thread.
    if thread::panicking() {
        return;
    }
    // Looking at a backtrace reads files.
    thread.place.set(Place::Outside);
    if let Some(found) = uncharged(|| callers::examine(resource)) {
        REACHED.with_borrow_mut(|reached| {
            if reached.len() < REACHED_MAX {
                reached.push(found);
            }
        });
    }
    thread.place.set(Place::Inside);
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests;
