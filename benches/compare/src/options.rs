//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::peers::Peer;

/// Measures the cost of a request for Baton, a minimal relay and other installed proxies, side by
/// side on this machine, and prints Markdown tables.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) part: Option<Part>,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// Servers that a measurement starts from this program, and runs of Baton alone.
#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    /// The server behind every proxy (started by a measurement)
    Origin(OriginOptions),
    /// The smallest possible relay of hyper and h2 (started by a measurement)
    Floor(FloorOptions),
    /// Count the instructions of one request by crate, with valgrind and h2load
    Crates(CratesOptions),
    /// Send Baton the load under which a profile is recorded; see benches/profile-guided
    Train(TrainOptions),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Rounds: in each, every proxy gets one burst; figures are medians over them
    #[arg(long, value_name = "N", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,

    /// Length of a burst in seconds; h2load gets as many requests as a fast proxy answers in it
    #[arg(long, value_name = "SECONDS", default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) duration: u32,

    /// Only scenarios whose names start with this; repeat for more, `--list` prints the names
    #[arg(long, value_name = "SCENARIO")]
    pub(crate) only: Vec<String>,

    /// Only this proxy; repeat for more
    #[arg(long = "peer", value_name = "NAME")]
    pub(crate) peers: Vec<Peer>,

    /// Clients in the idle scenarios
    #[arg(long, value_name = "N", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..=30_000))]
    pub(crate) idle_clients: u32,

    /// A `baton` to measure instead of one built from this workspace
    #[arg(long, value_name = "FILE")]
    pub(crate) baton: Option<PathBuf>,

    /// Write every figure of every round to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Print the names of the scenarios and stop
    #[arg(long)]
    pub(crate) list: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct OriginOptions {
    /// Address for TLS
    #[arg(long)]
    pub(crate) tls: SocketAddr,
    /// Address for cleartext
    #[arg(long)]
    pub(crate) cleartext: SocketAddr,
    /// Address that reports how many connections the other two have accepted
    #[arg(long)]
    pub(crate) control: SocketAddr,
    /// Directory with the certificates of the run
    #[arg(long)]
    pub(crate) certificates: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct FloorOptions {
    /// Address to listen on
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    /// Address of the origin
    #[arg(long)]
    pub(crate) to: SocketAddr,
    /// TLS HTTP/2 from clients instead of HTTP/1.1
    #[arg(long)]
    pub(crate) tls_listen: bool,
    /// TLS to the origin
    #[arg(long)]
    pub(crate) tls_to: bool,
    /// Directory with the certificates of the run
    #[arg(long)]
    pub(crate) certificates: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CratesOptions {
    /// Requests that are counted
    #[arg(long, value_name = "N", default_value_t = 6_400,
        value_parser = clap::value_parser!(u32).range(64..=1_000_000))]
    pub(crate) requests: u32,

    /// Only this pair of protocols; repeat for more
    #[arg(long, value_name = "PAIR")]
    pub(crate) only: Vec<String>,

    /// A `baton` with debug information, instead of one built from this workspace
    #[arg(long, value_name = "FILE")]
    pub(crate) baton: Option<PathBuf>,

    /// Leave the files of callgrind in this directory, for `callgrind_annotate --inclusive=yes`
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) keep: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TrainOptions {
    /// The instrumented `baton`
    #[arg(long, value_name = "FILE")]
    pub(crate) baton: PathBuf,

    /// Seconds for each of 36 kinds of load
    #[arg(long, value_name = "SECONDS", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=60))]
    pub(crate) seconds: u32,
}
