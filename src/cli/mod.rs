//! The command line: subcommands, flags, and the configuration that they describe.

pub mod admin_client;
pub mod operate;
pub mod run;
pub mod status;
pub mod table;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::setting::Setting;
use crate::config::settings::PROCESS;
use crate::config::value::{Field, Kind};
use crate::proxy::config::{LogLevel, ProxyConfig};

pub use run::RunArguments;

/// An HTTP load balancer: HTTP/1.1 and HTTP/2 in, pooled HTTP/2 over TLS out.
#[derive(Debug, Parser)]
#[command(name = "baton", version, max_term_width = 100)]
pub struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// A subcommand of `baton`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy with a configuration file or with flags
    Run(Box<RunArguments>),
    /// Check a configuration file and the files it names; list every error with its position
    Check(CheckArguments),
    /// Print the whole configuration, defaults included, as a commented configuration file
    Config(ConfigArguments),
    /// Take a backend of a running Baton out of service; show what still holds it
    Drain(operate::DrainArguments),
    /// Return a drained backend to service
    Undrain(operate::BackendArguments),
    /// Set the weight of a backend
    Weight(operate::WeightArguments),
    /// Show the backends of a running Baton: states, connections, streams
    Status(operate::AdminArguments),
    /// Run the proxy with two embedded HTTP/2 backends that restart in turn
    Demo(DemoArguments),
}

/// Arguments of `baton check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Configuration file
    pub file: PathBuf,
}

/// Arguments of `baton config`.
#[derive(Debug, Args)]
pub struct ConfigArguments {
    /// Configuration file [default: print the defaults]
    pub file: Option<PathBuf>,
}

/// Flags of `baton demo`.
#[derive(Debug, Args)]
pub struct DemoArguments {
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Time between restarts; the backends restart in turn
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub restart_every: Duration,
    /// Lowest severity to log to standard error
    #[arg(short, long, value_name = "NAME", default_value = "info", value_parser = log_level)]
    pub log_level: LogLevel,
}

/// Runs a client command on this thread until it ends.
///
/// # Errors
/// The error of the command, or that of creating the runtime.
pub fn block_on<T>(command: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("runtime: {error}"))?;
    tokio::task::LocalSet::new().block_on(&runtime, command)
}

fn duration(text: &str) -> Result<Duration, String> {
    Kind::Duration { zero: false }.read_text(text).map(Field::from_value)
}

fn any_duration(text: &str) -> Result<Duration, String> {
    Kind::Duration { zero: true }.read_text(text).map(Field::from_value)
}

fn log_level(text: &str) -> Result<LogLevel, String> {
    let is_level = |setting: &&Setting<ProxyConfig>| setting.path() == "process.log_level";
    let setting = PROCESS.iter().find(is_level).expect("the table has process.log_level");
    setting.kind.read_text(text).map(Field::from_value)
}
