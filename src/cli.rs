//! The command line: flags in, configurations out.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::pool::{
    self, BackendConfig, HealthConfig, Limits, RetryConfig, Strategy, Timeouts, limits,
};
use crate::proxy::backend_url::{BackendUrl, Scheme};
use crate::proxy::client_limits::ClientLimits;
use crate::proxy::config::{CertificateFiles, ProxyConfig};
use crate::proxy::seams;

/// An HTTP load balancer: HTTP/1.1 and HTTP/2 in, pooled HTTP/2 over TLS out.
#[derive(Debug, Parser)]
#[command(name = "baton", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy
    Run(Box<RunArguments>),
    /// Run the proxy before two embedded TLS HTTP/2 backends, of which one restarts every 10 s
    Demo(DemoArguments),
}

/// Severity from which on the log is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "lower")]
pub enum Level {
    /// What needs someone to act.
    Err,
    /// What may need it.
    Warn,
    /// One line per request and connection.
    Info,
    /// Failed handshakes and clients that left.
    Debug,
    /// Everything, of the libraries too.
    Trace,
}

impl From<Level> for tracing::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Err => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum StrategyName {
    RoundRobin,
    Weighted,
    Random,
    LeastLoaded,
}

impl From<StrategyName> for Strategy {
    fn from(name: StrategyName) -> Self {
        match name {
            StrategyName::RoundRobin => Self::RoundRobin,
            StrategyName::Weighted => Self::Weighted,
            StrategyName::Random => Self::Random,
            StrategyName::LeastLoaded => Self::LeastLoaded,
        }
    }
}

/// Flags of `baton demo`.
#[derive(Debug, Args)]
pub struct DemoArguments {
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Time between restarts of a backend, in turn
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub restart_every: Duration,
    /// Severity from which on to log to standard error
    #[arg(short, long, value_name = "LEVEL", default_value = "info")]
    pub log_level: Level,
}

/// Flags of `baton run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Address to listen on; repeat for more
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: Vec<SocketAddr>,
    /// Backend: `https://HOST:PORT`, `h2c://` or `http://`, optionally with `;weight=N` (1 to 1000);
    /// repeat for more
    #[arg(short, long = "backend", value_name = "URL", required = true)]
    backends: Vec<BackendUrl>,
    /// Do not verify the certificates of backends
    #[arg(short = 'k', long)]
    insecure: bool,
    /// Trust the certificate authorities in this PEM file instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Threads, each with its own pool [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// How the next backend is chosen
    #[arg(short, long, value_name = "NAME", default_value = "round_robin")]
    strategy: StrategyName,
    /// Certificate chain for TLS towards clients, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key for TLS towards clients, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Severity from which on to log to standard error
    #[arg(short, long, value_name = "LEVEL", default_value = "info")]
    pub log_level: Level,
    /// Seed of random choices [default: drawn]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    limits: LimitArguments,
    #[command(flatten)]
    timeouts: TimeoutArguments,
    #[command(flatten)]
    retry: RetryArguments,
}

/// Capacities, per worker.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits (per worker)")]
struct LimitArguments {
    /// Connections per backend that are not draining, 1 to 32
    #[arg(long, value_name = "N", default_value_t = Limits::DEFAULT.connections_per_backend,
          value_parser = count(32))]
    max_connections: usize,
    /// Streams per connection, whatever the backend allows, 1 to 256
    #[arg(long, value_name = "N", default_value = "100",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    max_streams: u16,
    /// Requests waiting or in flight
    #[arg(long, value_name = "N", default_value_t = Limits::DEFAULT.requests,
          value_parser = count(limits::REQUESTS_MAX))]
    max_requests: usize,
    /// Requests waiting for a connection, at most --max-requests
    #[arg(long, value_name = "N", default_value_t = Limits::DEFAULT.waiting,
          value_parser = count(limits::REQUESTS_MAX))]
    max_waiting: usize,
    /// Requests after which a connection drains [default: off]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_requests_per_connection: Option<u32>,
}

/// Deadlines and intervals: `500ms`, `5s`, `1m`, `1h`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Times (such as 500ms, 5s, 1m, 1h)")]
struct TimeoutArguments {
    /// To connect: TCP, TLS and SETTINGS together
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    connect_timeout: Duration,
    /// To wait for a connection
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration)]
    queue_timeout: Duration,
    /// From the end of a request to the head of its response
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    response_timeout: Duration,
    /// After which an unused connection is closed
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    idle_timeout: Duration,
    /// Age at which a connection drains, ±10 %
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    max_age: Duration,
    /// For a draining connection, and for the shutdown
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    drain_timeout: Duration,
    /// Silence, with requests outstanding, after which a connection gets a PING
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    silence_timeout: Duration,
    /// Further silence after which it is closed
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    suspect_timeout: Duration,
    /// First wait after a failed dial; doubles each time
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration)]
    backoff_min: Duration,
    /// Longest such wait
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    backoff_max: Duration,
    /// First time for which a failing backend is left out; doubles each time
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    ejection_min: Duration,
    /// Longest such time
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    ejection_max: Duration,
}

/// Retries and passive health.
#[derive(Debug, Args)]
#[command(next_help_heading = "Retries and health")]
struct RetryArguments {
    /// Attempts at one request, the first included
    #[arg(long, value_name = "N", default_value_t = RetryConfig::DEFAULT.attempts,
          value_parser = clap::value_parser!(u8).range(1..))]
    attempts: u8,
    /// Requests on a retry, as a share of all live ones, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = RetryConfig::DEFAULT.budget_percent,
          value_parser = clap::value_parser!(u32).range(..=100))]
    retry_budget: u32,
    /// Requests on a retry that are always allowed
    #[arg(long, value_name = "N", default_value_t = RetryConfig::DEFAULT.budget_floor)]
    retry_floor: u32,
    /// Bytes of a request body kept for a retry
    #[arg(long, value_name = "BYTES", default_value_t = RetryConfig::DEFAULT.replay_buffer_bytes)]
    replay_buffer: usize,
    /// Failures in a row that take a backend out
    #[arg(long, value_name = "N", default_value_t = HealthConfig::DEFAULT.failures,
          value_parser = clap::value_parser!(u32).range(1..))]
    failures: u32,
    /// Successes in a row that bring it back
    #[arg(long, value_name = "N", default_value_t = HealthConfig::DEFAULT.successes,
          value_parser = clap::value_parser!(u32).range(1..))]
    successes: u32,
}

impl RunArguments {
    /// The configuration that the flags describe. Not all of it is in bounds for certain: see
    /// [`pool::Config::check`].
    #[must_use]
    pub fn into_config(self) -> ProxyConfig {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let downstream_tls = match (self.tls_cert, self.tls_key) {
            (Some(certificate), Some(key)) => Some(CertificateFiles { certificate, key }),
            // clap has seen to it that there are both or neither.
            _ => None,
        };
        let backend = |url: &BackendUrl| BackendConfig {
            weight: url.weight,
            exclusive: url.scheme == Scheme::Http,
        };
        let backends: Vec<_> = self.backends.iter().map(backend).collect();
        let pool = pool::Config {
            limits: self.limits.limits(),
            timeouts: self.timeouts.timeouts(),
            retry: self.retry.retry(),
            health: self.retry.health(),
            strategy: self.strategy.into(),
            max_requests_per_connection: self.limits.max_requests_per_connection,
            backends,
            ..pool::Config::default()
        };
        ProxyConfig {
            listen: self.listen,
            backends: self.backends,
            downstream_tls,
            client_limits: ClientLimits::DEFAULT,
            authorities: self.ca,
            insecure: self.insecure,
            workers: self.workers.map_or(cores, usize::from),
            seed: self.seed.unwrap_or_else(seams::entropy),
            pool,
        }
    }
}

impl LimitArguments {
    fn limits(&self) -> Limits {
        Limits {
            backends: Limits::DEFAULT.backends,
            connections_per_backend: self.max_connections,
            streams_per_connection: usize::from(self.max_streams),
            requests: self.max_requests,
            waiting: self.max_waiting,
        }
    }
}

impl TimeoutArguments {
    fn timeouts(&self) -> Timeouts {
        Timeouts {
            connect: self.connect_timeout,
            queue: self.queue_timeout,
            response_head: self.response_timeout,
            idle: self.idle_timeout,
            max_age: self.max_age,
            drain: self.drain_timeout,
            silence: self.silence_timeout,
            suspect: self.suspect_timeout,
            backoff_min: self.backoff_min,
            backoff_max: self.backoff_max,
            ejection_min: self.ejection_min,
            ejection_max: self.ejection_max,
            ..Timeouts::DEFAULT
        }
    }
}

impl RetryArguments {
    fn retry(&self) -> RetryConfig {
        RetryConfig {
            attempts: self.attempts,
            budget_percent: self.retry_budget,
            budget_floor: self.retry_floor,
            replay_buffer_bytes: self.replay_buffer,
        }
    }

    fn health(&self) -> HealthConfig {
        HealthConfig { failures: self.failures, successes: self.successes, ..HealthConfig::DEFAULT }
    }
}

/// Reads a number from 1 to `max`.
fn count(max: usize) -> impl clap::builder::TypedValueParser<Value = usize> {
    clap::builder::RangedU64ValueParser::<usize>::new().range(1..=max as u64)
}

/// Reads a duration such as `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number and ms, s, m or h, such as 500ms".to_owned();
    let unit_at = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let total = number.checked_mul(milliseconds).ok_or_else(wrong)?;
    if total == 0 {
        Err("expected more than zero".to_owned())
    } else {
        Ok(Duration::from_millis(total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(flags: &[&str]) -> Result<ProxyConfig, String> {
        let words = ["baton", "run"].iter().chain(flags);
        match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Command::Run(arguments) => Ok(arguments.into_config()),
            Command::Demo(_) => unreachable!("the words say run"),
        }
    }

    #[test]
    fn defaults_are_those_of_the_pool() {
        let config = run(&["--backend", "https://a"]).expect("enough");
        let expected =
            pool::Config { backends: config.pool.backends.clone(), ..pool::Config::default() };
        assert_eq!(config.pool, expected);
        assert_eq!(config.pool.check(), Ok(()));
        assert_eq!(config.listen, ["127.0.0.1:8080".parse().expect("an address")]);
        assert!(config.workers >= 1 && !config.insecure);
    }

    #[test]
    fn flags_are_taken_in() {
        let config = run(&[
            "-b",
            "https://a;weight=2",
            "-b",
            "http://b:81",
            "-k",
            "--workers",
            "3",
            "-s",
            "least_loaded",
            "--listen",
            "[::1]:0",
            "--listen",
            "127.0.0.1:1",
            "--max-streams",
            "7",
            "--queue-timeout",
            "250ms",
            "--max-age",
            "2h",
            "--seed",
            "9",
        ])
        .expect("valid");
        assert_eq!(config.listen.len(), 2);
        assert_eq!(config.pool.backends[0].weight, 2);
        assert!(config.pool.backends[1].exclusive && !config.pool.backends[0].exclusive);
        assert_eq!(config.pool.limits.streams_per_connection, 7);
        assert_eq!(config.pool.timeouts.queue, Duration::from_millis(250));
        assert_eq!(config.pool.timeouts.max_age, Duration::from_secs(7200));
        assert_eq!((config.workers, config.seed), (3, 9));
        assert_eq!(config.pool.strategy, Strategy::LeastLoaded);
    }

    #[test]
    fn wrong_flags_say_what_was_expected() {
        for (flags, expected) in [
            (&[][..], "--backend"),
            (&["-b", "nonsense"], "expected https://, h2c:// or http://"),
            (&["-b", "https://a", "--idle-timeout", "5"], "expected a number and ms, s, m or h"),
            (&["-b", "https://a", "--idle-timeout", "0s"], "expected more than zero"),
            (&["-b", "https://a", "--tls-cert", "x"], "--tls-key"),
            (&["-b", "https://a", "--strategy", "best"], "round_robin, weighted, random"),
            (&["-b", "https://a", "--max-streams", "257"], "256"),
            (&["-b", "https://a", "--workers", "0"], "1"),
        ] {
            let error = run(flags).expect_err("wrong");
            assert!(error.contains(expected), "{error}");
        }
    }
}
