//! Tests that the pool never allocates after it is built and every place in its table of backends
//! was used once: gives it every kind of input, with an allocator that panics if it is called while
//! sealed.

#![allow(unsafe_code, reason = "an allocator cannot be written without it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baton::pool::settings::{Number, Timeout};
use baton::pool::{
    BackendConfig, BackendToken, Config, ConnectFailure, ConnectionToken, Handled, HealthChecking,
    Input, Instant, Limits, Output, Pool, Protocol, RequestId, Setting, ShutdownCause, Strategy,
    StreamFailure, StreamToken,
};

struct Sealing;

static SEALED: AtomicBool = AtomicBool::new(false);

fn check() {
    if SEALED.swap(false, Ordering::SeqCst) {
        panic!("the pool allocated after it was built");
    }
}

// SAFETY: every call is passed to the system allocator unchanged.
unsafe impl GlobalAlloc for Sealing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check();
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        check();
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Sealing = Sealing;

/// The tokens that the test keeps from the orders, in preallocated tables.
struct World {
    pool: Pool,
    now: u64,
    number: Cell<u64>,
    dials: Vec<ConnectionToken>,
    connections: Vec<ConnectionToken>,
    streams: Vec<StreamToken>,
    requests: Vec<RequestId>,
    backends: Vec<BackendToken>,
    health_checks: Vec<(BackendToken, u32)>,
    /// Number of dials, further attempts and health checks ordered.
    ordered: [u32; 3],
}

impl World {
    fn tell(&mut self, input: Input) {
        match self.pool.handle(Instant(self.now), input) {
            Handled::Accepted(request) => keep(&mut self.requests, request),
            Handled::Added(backend) => keep(&mut self.backends, backend),
            _ => {}
        }
        while let Some(output) = self.pool.poll_output() {
            match output {
                Output::Connect { connection } => {
                    self.ordered[0] += 1;
                    keep(&mut self.dials, connection);
                }
                Output::OpenStream { stream, attempt, .. } => {
                    self.ordered[1] += u32::from(attempt > 1);
                    keep(&mut self.streams, stream);
                }
                Output::CheckHealth { backend, number } => {
                    self.ordered[2] += 1;
                    keep(&mut self.health_checks, (backend, number));
                }
                _ => {}
            }
        }
    }

    /// A pseudo-random number.
    fn draw(&self) -> usize {
        let number = self.number.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.number.set(number);
        (number >> 33) as usize
    }

    fn step(&mut self) {
        let stream = pick(&self.streams, self.draw());
        let connection = pick(&self.connections, self.draw());
        let request = pick(&self.requests, self.draw());
        let code = (self.draw() % 15) as u32;
        let input = match self.draw() % 25 {
            0..5 => {
                Input::RequestArrived { idempotent: code > 7, has_body: code.is_multiple_of(2) }
            }
            5 => Input::RequestCancelled { request },
            6 => Input::ReplayBufferExceeded { request, stream: pick(&self.streams, self.draw()) },
            7 | 8 => {
                let connection = pick(&self.dials, self.draw());
                keep(&mut self.connections, connection);
                Input::Connected { connection, protocol: Protocol::Http2, max_streams: Some(code) }
            }
            9 => {
                let connection = pick(&self.dials, self.draw());
                Input::ConnectFailed { connection, reason: ConnectFailure::Tcp }
            }
            10 => Input::MaxStreamsChanged { connection, max_streams: code },
            11 => Input::GoAwayReceived { connection, last_stream_id: code, code },
            12 if code > 7 => {
                let timeout = Duration::from_millis(u64::from(code));
                Input::KeepAliveAnnounced { connection, timeout }
            }
            12 => Input::FrameReceived { connection, carries_message: false },
            13 => Input::Pong { connection },
            14 => Input::ConnectionClosed { connection, sent_through: code },
            15 => Input::StreamOpened { stream, stream_id: 1 + 2 * code },
            16 => Input::RequestSent { stream },
            17 => Input::ResponseStarted { stream, status: 200 },
            18 => Input::ResponseEnded { stream },
            19 => Input::StreamFailed { stream, failure: StreamFailure::Reset { code } },
            20 => Input::ResetSent { stream },
            21 if code > 7 => Input::UploadBlocked { stream },
            21 => Input::BodyProgressed { stream, bytes: 100 * code },
            22 => self.operator_input(code),
            _ => {
                self.now += 50_000_000;
                Input::Timeout
            }
        };
        self.tell(input);
        if code == 0 {
            assert_eq!(self.pool.recount(), Ok(()));
        }
    }

    fn operator_input(&mut self, code: u32) -> Input {
        let backend = pick(&self.backends, self.draw());
        let weight = code as u16;
        match self.draw() % 14 {
            0 => Input::BackendAdded { weight, exclusive: code == 1 },
            1 => Input::BackendRemoved { backend },
            2 => Input::DrainRequested { backend, within: Some(Duration::from_secs(code.into())) },
            3 | 4 => Input::DrainCancelled { backend },
            5 => Input::WeightChanged { backend, weight },
            6 => setting(Setting::Timeout(Timeout::Queue, Duration::from_secs(code.into()))),
            7 => setting(Setting::Number(Number::Failures, code)),
            8 => setting(Setting::Strategy(Strategy::Weighted)),
            9 => setting(Setting::HealthChecking(if code < 4 {
                HealthChecking::Off
            } else {
                HealthChecking::Ordered
            })),
            _ => match self.health_checks.pop() {
                Some((backend, number)) => {
                    Input::HealthCheckFinished { backend, number, passed: code > 1 }
                }
                None => Input::Timeout,
            },
        }
    }
}

fn setting(setting: Setting) -> Input {
    Input::SettingChanged { setting }
}

fn pick<T: Copy>(list: &[T], draw: usize) -> T {
    list[draw % list.len()]
}

/// Appends an item without growing; drops the oldest one if the list is full.
fn keep<T: Copy>(list: &mut Vec<T>, item: T) {
    if list.len() == list.capacity() {
        list.remove(0);
    }
    list.push(item);
}

#[test]
fn the_pool_does_not_allocate_after_it_is_built() {
    for strategy in
        [Strategy::RoundRobin, Strategy::Weighted, Strategy::Random, Strategy::LeastLoaded]
    {
        let limits = Limits { backends: 5, requests: 200, waiting: 40, ..Limits::DEFAULT };
        let backends = vec![BackendConfig::default(); 3];
        let config = Config { backends, limits, strategy, ..Config::default() };
        let pool = Pool::new(config, 1).expect("valid");
        let mut world = World {
            pool,
            now: 0,
            number: Cell::new(1),
            dials: Vec::with_capacity(20),
            connections: Vec::with_capacity(20),
            streams: Vec::with_capacity(50),
            requests: Vec::with_capacity(50),
            backends: Vec::with_capacity(20),
            health_checks: Vec::with_capacity(20),
            ordered: [0; 3],
        };
        // With its first backend, a place gets its table of connections.
        for exclusive in [false, true] {
            world.tell(Input::BackendAdded { weight: 1, exclusive });
        }
        world.tell(Input::RequestArrived { idempotent: true, has_body: false });
        let connection = world.dials[0];
        world.connections.push(connection);
        let protocol = Protocol::Http2;
        world.tell(Input::Connected { connection, protocol, max_streams: None });
        SEALED.store(true, Ordering::SeqCst);
        for _ in 0..25_000 {
            world.step();
        }
        world.tell(Input::ShutdownRequested { cause: ShutdownCause::ProcessEnds });
        world.now += 60_000_000_000;
        while world.pool.poll_timeout().is_some_and(|(at, _)| at <= Instant(world.now)) {
            world.tell(Input::Timeout);
        }
        assert!(SEALED.swap(false, Ordering::SeqCst), "the allocator stayed sealed");
        assert!(world.pool.is_empty());
        assert!(world.ordered.iter().all(|count| *count > 50), "{:?}", world.ordered);
        assert!(world.pool.stats().counters.pings > 0);
    }
}
