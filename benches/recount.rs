//! Measures the audit of a pool: the recount of tables of maximum size. Each recount blocks its
//! worker once a second.
//!
//!     cargo bench --bench recount --no-default-features

#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::hint::black_box;
use std::time::{Duration, Instant as Clock};

use baton::pool::{
    BackendConfig, Config, Handled, Input, Instant, Limits, Output, Pool, Protocol, StreamToken,
};

const TIMES: usize = 200;

fn main() {
    let defaults = Limits::default();
    measure("defaults, empty", defaults, defaults.backends, 0);
    measure("defaults, 1 000 requests on 4 backends", defaults, 4, 1_000);
    measure("defaults, every request in use", defaults, defaults.backends, defaults.requests);
    let full = Limits {
        backends: 64,
        connections_per_backend: 32,
        streams_per_connection: 100,
        requests: 16_384,
        ..Limits::default()
    };
    measure("64 x 32 x 100, 16 384 requests", full, 64, 16_384);
}

/// Builds a pool with this many requests in flight, spread over all allowed connections, and
/// measures it.
fn measure(name: &str, limits: Limits, backends: usize, requests: usize) {
    let config =
        Config { backends: vec![BackendConfig::default(); backends], limits, ..Config::default() };
    let mut pool = Pool::new(config, 1).expect("within bounds");
    let spread = requests.div_ceil(backends * limits.connections_per_backend).max(1) as u32;
    let mut sent = 0;
    for _ in 0..requests {
        let mut inputs = vec![Input::RequestArrived { idempotent: true, has_body: false }];
        while let Some(input) = inputs.pop() {
            let handled = pool.handle(Instant(1), input);
            assert!(matches!(handled, Handled::Accepted(_) | Handled::Done), "{handled:?}");
            while let Some(output) = pool.poll_output() {
                inputs.extend(follow(output, spread));
                sent += usize::from(matches!(output, Output::OpenStream { .. }));
            }
        }
    }
    assert_eq!(sent, requests, "each request has a stream");
    let mut times: Vec<_> = (0..TIMES).map(|_| time(&pool)).collect();
    times.sort_unstable();
    let connections = pool.stats().slots.available + pool.stats().slots.in_use;
    let (median, most) = (times[TIMES / 2], times[TIMES * 9 / 10]);
    println!("{name}: {connections} connections, median {median:?}, nine of ten {most:?}");
}

fn time(pool: &Pool) -> Duration {
    let begun = Clock::now();
    black_box(pool).recount().expect("the counts match");
    begun.elapsed()
}

/// The reaction of backends that accept `max_streams` per connection and do not answer.
fn follow(output: Output, max_streams: u32) -> Option<Input> {
    match output {
        Output::Connect { connection } => Some(Input::Connected {
            connection,
            protocol: Protocol::Http2,
            max_streams: Some(max_streams),
        }),
        Output::OpenStream { stream, .. } => Some(opened(stream)),
        _ => None,
    }
}

fn opened(stream: StreamToken) -> Input {
    Input::StreamOpened { stream, stream_id: 2 * stream.ordinal + 1 }
}
