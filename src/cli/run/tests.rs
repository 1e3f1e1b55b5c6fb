//! Tests that parse flags into configurations.

use std::time::Duration;

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};
use crate::pool::Strategy;
use crate::proxy::config::{AccessLogFormat, LogLevel};

fn parse(flags: &[&str]) -> Result<RunArguments, String> {
    let words = ["baton", "run"].iter().chain(flags);
    match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
        Command::Run(arguments) => Ok(*arguments),
        Command::Check(_)
        | Command::Config(_)
        | Command::Drain(_)
        | Command::Undrain(_)
        | Command::Weight(_)
        | Command::Status(_)
        | Command::Demo(_) => unreachable!("the subcommand is run"),
    }
}

fn run(flags: &[&str]) -> Result<ProxyConfig, String> {
    parse(flags)?.load().map_err(|error| match error {
        RunError::File(errors) => errors[0].to_string(),
        RunError::Flags(errors) => errors[0].clone(),
    })
}

#[test]
fn defaults_are_those_of_an_empty_file() {
    let config = run(&["--backend", "https://backend.example"]).expect("one backend is enough");
    assert_eq!(config, config::example());
    assert_eq!(config.clusters[0].pool_config(0).check(), Ok(()));
    assert!(config.worker_count() >= 1);
}

#[test]
fn flags_set_their_values() {
    let flags = "-b https://a;weight=2 -b http://b:81 -k --workers 3 -s least_loaded \
        --listen [::1]:0 --listen 127.0.0.1:1 --http2=false --max-streams 7 --queue-timeout 250ms \
        --max-age 2h --seed 9 --replay-buffer 1MiB --access-log json --log-level warn \
        --tls-name backend.test --health-check http --health-check-statuses 200,204 --admin 127.0.0.1:9";
    let flags: Vec<_> = flags.split_whitespace().collect();
    let config = run(&flags).expect("valid");
    assert_eq!(config.listeners.len(), 2);
    assert!(config.listeners.iter().all(|listener| !listener.http2));
    let cluster = &config.clusters[0];
    let pool = cluster.pool_config(0);
    assert_eq!(pool.backends[0].weight, 2);
    assert!(pool.backends[1].exclusive && !pool.backends[0].exclusive);
    assert_eq!(pool.limits.streams_per_connection, 7);
    assert_eq!(pool.timeouts.queue, Duration::from_millis(250));
    assert_eq!(pool.timeouts.max_age, Duration::from_secs(7200));
    assert_eq!(pool.retry.replay_buffer_bytes, 1 << 20);
    assert_eq!(pool.strategy, Strategy::LeastLoaded);
    assert_eq!((config.workers, config.seed), (Some(3), Some(9)));
    assert_eq!(config.log_level, LogLevel::Warn);
    assert_eq!(config.access_log.format, AccessLogFormat::Json);
    assert_eq!(config.admin, "127.0.0.1:9".parse().ok());
    for backend in &cluster.backends {
        assert!(backend.tls.insecure);
        assert_eq!(backend.tls.name.as_deref(), Some("backend.test"));
    }
    assert!(
        cluster.health_check.statuses.contains(204) && !cluster.health_check.statuses.contains(201)
    );
}

#[test]
fn errors_of_flags_state_what_was_expected() {
    for (flags, expected) in [
        (&[][..], "--backend"),
        (&["-b", "nonsense"], "expected https://, h2c:// or http://"),
        (&["-b", "https://a", "--idle-timeout", "5"], "expected a time above zero such as"),
        (&["-b", "https://a", "--idle-timeout", "0s"], "expected a time above zero"),
        (&["-b", "https://a", "--tls-cert", "x"], "--tls-key"),
        (&["-b", "https://a", "--client-key", "x"], "--client-cert"),
        (&["-b", "https://a", "--strategy", "best"], "round_robin, weighted, random"),
        (&["-b", "https://a", "--max-streams", "257"], "an integer from 1 to 256"),
        (&["-b", "https://a", "--workers", "0"], "an integer from 1 to 1024"),
        (&["-b", "https://a", "--max-requests", "4"], "--max-waiting: 'limits.waiting' is 1024"),
        (&["-b", "https://a", "-b", "https://a"], "occurs twice"),
        (&["-b", "https://a", "--admin", "127.0.0.1:8080"], "127.0.0.1:8080 is used twice"),
    ] {
        let error = run(flags).expect_err("wrong");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn with_a_file_only_flags_about_the_process_are_allowed() {
    for wrong in [
        &["--backend", "https://a"][..],
        &["--listen", "127.0.0.1:1"],
        &["--insecure"],
        &["--max-streams", "7"],
        &["--http2=false"],
    ] {
        let error = parse(&[&["--config", "any.toml"], wrong].concat()).expect_err("a conflict");
        let both = error.contains(wrong[0].split('=').next().unwrap_or_default());
        assert!(both && error.contains("--config"), "{error}");
    }
    let flags = ["--config", "any.toml", "--workers", "3", "--log-level", "warn", "--seed", "9"];
    let RunArguments::File { path, overrides } = parse(&flags).expect("allowed") else {
        panic!("expected a file")
    };
    assert_eq!(path.to_str(), Some("any.toml"));
    let mut config = ProxyConfig { workers: Some(1), ..config::example() };
    apply_overrides(&mut config, &overrides);
    assert_eq!((config.workers, config.seed), (Some(3), Some(9)));
    assert_eq!(
        (config.log_level, config.access_log.format),
        (LogLevel::Warn, AccessLogFormat::Auto)
    );
}

/// Every entry of the tables has its own flag, and the help states its default.
#[test]
fn help_states_every_default() {
    let error = parse(&["--help"]).expect_err("--help yields no configuration");
    let words: Vec<_> = error.split_whitespace().collect();
    let error = words.join(" ");
    for (flag, default) in [("--workers", "one per core"), ("--queue-timeout", "3s")] {
        let at = error.find(&format!("{flag} <")).expect("the help lists the flag");
        let stated = error[at..]
            .find(&format!("[default: {default}]"))
            .expect("the help states the default");
        assert!(stated < 400, "{flag}");
    }
    <Cli as clap::CommandFactory>::command().debug_assert();
}
