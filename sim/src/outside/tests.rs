//! Each resource, inside and outside of a run.

#![expect(clippy::disallowed_methods, reason = "tests of what the bans protect")]

use std::fs::File;
use std::time::Instant;

use tokio::runtime::{Builder, LocalOptions};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn uptime() -> Instant {
    Instant::now()
}

/// Runs code as a run on a thread of its own, which has not asked for keys of hash maps before.
fn on_fresh_thread<T: Send>(
    seed: u64,
    tripwire: Tripwire,
    code: impl FnOnce() -> T + Send,
) -> (T, Report) {
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            let inside = Inside::enter(seed, tripwire);
            let answer = code();
            (answer, inside.leave())
        });
        run.join().expect("the run does not panic")
    })
}

/// Runs a future on a paused runtime, whose clock the run follows.
fn simulate<T>(future: impl Future<Output = T>) -> T {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().start_paused(true);
    follow_clock(&mut builder);
    let runtime = builder.build_local(LocalOptions::default()).expect("it needs no resources");
    runtime.block_on(future)
}

#[test]
fn the_clock_is_simulated_inside_and_real_outside() {
    let real = real_time();
    assert!(real > SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800));
    let inside = Inside::enter(0, Tripwire::Count);
    let (date, start) = (real_time(), uptime());
    assert_eq!(date, SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH_S));
    assert_eq!(uptime(), start);
    set_now(2_500_000_000);
    assert_eq!(uptime() - start, Duration::from_millis(2_500));
    assert_eq!(real_time(), date + Duration::from_millis(2_500));
    let passing = || (real_time(), thread::sleep(Duration::from_millis(2)), real_time());
    let (before, (), after) = permit(passing);
    assert!(before >= real && after > before, "the real clock is seen with a permit");
    assert_eq!(inside.leave().calls.clock, 5);
    assert!(uptime() < start || uptime() > start + SECOND, "the real clock is back");
    assert!(real_time() >= real);
}

#[test]
fn the_clock_follows_a_paused_runtime() {
    let begun = real_time();
    let inside = Inside::enter(0, Tripwire::Watch);
    let times = simulate(async {
        let mut times = Vec::new();
        let (started, tokio_started) = permit_clock(|| (uptime(), tokio_now()));
        assert_eq!(tokio_started.into_std(), started);
        for seconds in [1, 0, 3_600] {
            tokio::time::sleep(SECOND * seconds).await;
            let now = tokio_now();
            assert_eq!(permit_clock(uptime), now.into_std());
            times.push(now - tokio_started);
        }
        // A task beside it sees the same time.
        let task = tokio::task::spawn_local(async {
            tokio::time::sleep(SECOND).await;
            permit_clock(real_time)
        });
        let date = task.await.expect("the task does not panic");
        assert_eq!(date, SystemTime::UNIX_EPOCH + SECOND * (EPOCH_S as u32 + 3_602));
        times
    });
    let report = inside.leave();
    assert_eq!(times, [SECOND, SECOND, SECOND * 3_601]);
    assert!(report.reached.is_empty(), "{}", report.reached[0]);
    assert!(begun.elapsed().is_ok_and(|took| took < SECOND * 60));
}

#[test]
fn the_keys_of_hash_maps_are_those_of_the_seed() {
    let keys = |seed| {
        on_fresh_thread(seed, Tripwire::Watch, || {
            [RandomState::new().hash_one(7), RandomState::new().hash_one(7)]
        })
    };
    let ((first, report), (second, _), (other, _)) = (keys(1), keys(1), keys(2));
    assert_eq!(first, second);
    assert_ne!(first, other);
    assert_ne!(first[0], first[1], "each map has its own");
    assert_eq!(report.calls, Calls { clock: 0, entropy: 0, hash_keys: 1 });
    assert_eq!(report.reached, []);
    let real = || thread::spawn(|| RandomState::new().hash_one(7)).join();
    assert_ne!(real().expect("no panic"), real().expect("no panic"), "outside they are real");
}

/// Key shares of TLS, which `ring` draws with a raw system call.
#[test]
fn the_entropy_of_cryptography_is_that_of_the_seed() {
    let provider = rustls::crypto::ring::default_provider();
    let draw = |seed| {
        on_fresh_thread(seed, Tripwire::Watch, || {
            let mut random = [0; 37];
            provider.secure_random.fill(&mut random).expect("there is entropy");
            let share = provider.kx_groups[0].start().expect("there is entropy");
            (random.to_vec(), share.pub_key().to_vec())
        })
    };
    let ((first, report), (second, _), (other, _)) = (draw(1), draw(1), draw(2));
    assert_eq!(first, second);
    assert!(first.0 != other.0 && first.1 != other.1);
    assert!(report.calls.entropy >= 2, "{:?}", report.calls);
    assert_eq!(report.reached, []);
    // What a thread has asked for before does not change it.
    let inside = Inside::enter(9, Tripwire::Count);
    let _ = RandomState::new().hash_one(7);
    inside.leave();
    let inside = Inside::enter(1, Tripwire::Count);
    let mut random = [0; 37];
    provider.secure_random.fill(&mut random).expect("there is entropy");
    inside.leave();
    assert_eq!(random.to_vec(), first.0);
}

/// h2 reads the clock for each stream that is reset, and to forget it.
#[test]
fn the_clock_of_reset_streams_is_allowed() {
    let exchange = async {
        let (near, far) = tokio::io::duplex(10_000);
        let server = tokio::task::spawn_local(async move {
            let mut connection = h2::server::handshake(far).await.expect("a preface");
            while let Some(request) = connection.accept().await {
                let (_, mut respond) = request.expect("a request");
                respond.send_reset(h2::Reason::REFUSED_STREAM);
            }
        });
        let (mut client, connection) = h2::client::handshake(near).await.expect("a preface");
        let connection = tokio::task::spawn_local(connection);
        for _ in 0..3 {
            let request = http::Request::get("http://a/").body(()).expect("a request");
            let (response, mut body) = client.send_request(request, false).expect("it is open");
            body.send_reset(h2::Reason::CANCEL);
            response.await.expect_err("it is reset");
            // Longer than h2 remembers a stream.
            tokio::time::sleep(SECOND * 40).await;
        }
        drop(client);
        connection.await.expect("no panic").expect("a clean end");
        server.await.expect("no panic");
    };
    let ((), report) = on_fresh_thread(0, Tripwire::Watch, || simulate(exchange));
    assert!(report.calls.clock > 3, "{:?}", report.calls);
    assert!(report.reached.is_empty(), "{}", report.reached[0]);
}

/// Functions as the shell might have them.
mod shell {
    use super::*;

    #[inline(never)]
    pub(super) fn reads_the_clock() -> SystemTime {
        std::hint::black_box(real_time())
    }

    #[inline(never)]
    pub(super) fn draws_entropy() -> bool {
        entropy(Purpose::Other, &mut [0; 4])
    }

    #[inline(never)]
    pub(super) fn starts_a_thread() -> i32 {
        thread::spawn(|| 7).join().expect("no panic")
    }

    #[inline(never)]
    pub(super) fn reads_a_file() -> std::io::Result<File> {
        File::open("Cargo.toml")
    }

    #[inline(never)]
    pub(super) fn opens_a_socket() -> std::io::Result<std::net::TcpListener> {
        std::net::TcpListener::bind("127.0.0.1:0")
    }

    #[inline(never)]
    pub(super) fn waits() {
        thread::sleep(Duration::from_micros(1));
    }
}

#[track_caller]
fn assert_reached(report: &Report, resource: Resource, caller: &str) {
    let [reached] = report.reached.as_slice() else { panic!("one find: {report:?}") };
    assert_eq!(reached.resource, resource);
    assert!(reached.caller.ends_with(caller), "{}", reached.caller);
    let text = reached.to_string();
    let first = format!("sim::outside::tests::shell::{caller} reached for {resource}");
    assert!(text.starts_with(&first), "{text}");
    assert!(text.contains("outside/tests.rs:"), "it names the place: {text}");
    assert!(text.contains("sim::outside::tests::on_fresh_thread"), "it shows the way: {text}");
}

#[test]
fn a_clock_that_the_shell_reads_itself_is_reported() {
    let (date, report) = on_fresh_thread(0, Tripwire::Watch, || {
        let date = shell::reads_the_clock();
        assert!(is_reached());
        date
    });
    // The place where the clock is read is `real_time`, which has no business in the shell.
    assert_eq!(date, SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH_S));
    let [reached] = report.reached.as_slice() else { panic!("one find: {report:?}") };
    assert_eq!(reached.caller, "sim::outside::real_time");
    assert!(reached.backtrace.contains("sim::outside::tests::shell::reads_the_clock"));
    let (_, report) = on_fresh_thread(0, Tripwire::Count, shell::reads_the_clock);
    assert_eq!((report.reached.as_slice(), report.calls.clock), ([].as_slice(), 1));
}

#[test]
fn entropy_that_the_shell_draws_itself_is_reported() {
    let (drawn, report) = on_fresh_thread(0, Tripwire::Watch, shell::draws_entropy);
    assert!(drawn);
    assert_reached(&report, Resource::Entropy, "draws_entropy");
}

#[test]
fn threads_files_sockets_and_sleeps_are_reported_in_both_modes() {
    for tripwire in [Tripwire::Count, Tripwire::Watch] {
        let (answer, report) = on_fresh_thread(0, tripwire, shell::starts_a_thread);
        assert_eq!(answer, 7, "the call is made");
        assert_reached(&report, Resource::Thread, "starts_a_thread");
        let (file, report) = on_fresh_thread(0, tripwire, shell::reads_a_file);
        assert!(file.is_ok());
        assert_reached(&report, Resource::File, "reads_a_file");
        let (_, report) = on_fresh_thread(0, tripwire, shell::opens_a_socket);
        assert_reached(&report, Resource::Socket, "opens_a_socket");
        let ((), report) = on_fresh_thread(0, tripwire, shell::waits);
        assert_reached(&report, Resource::Sleep, "waits");
        let permitted = || permit(|| (shell::starts_a_thread(), shell::reads_a_file().is_ok()));
        let (answer, report) = on_fresh_thread(0, tripwire, permitted);
        assert_eq!((answer, report.reached), ((7, true), vec![]));
    }
}

#[test]
fn a_run_keeps_a_bounded_number_of_finds() {
    let (_, report) = on_fresh_thread(0, Tripwire::Count, || {
        for _ in 0..3 * REACHED_MAX {
            let _ = shell::reads_a_file();
        }
    });
    assert_eq!(report.reached.len(), REACHED_MAX);
}

#[test]
fn a_run_ends_with_its_guard_even_in_a_panic() {
    let caught = std::panic::catch_unwind(|| {
        let _inside = Inside::enter(0, Tripwire::Watch);
        assert!(SUPPORTED == (EPOCH_S == 0), "a bug in a run");
    });
    assert!(caught.is_err());
    assert!(real_time() > SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800));
    Inside::enter(0, Tripwire::Count).leave();
}
