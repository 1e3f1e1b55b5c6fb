//! The simulated machine: its network, its files, and the proxy on it.

use std::path::Path;

use baton::cli::operate::{self, Ending};
use baton::cli::{Cli, Command, status};
use baton::proxy::seams::Signal;
use clap::Parser;
use sim::proxy::stage;

pub(crate) use limited::Limited;
pub(crate) use sim::proxy::stage::{
    Proxy, TcpListener, TcpStream, elapsed, lose_paths, run, spawn,
};

use crate::support::baton::{Log, collect};
use crate::support::command::Ran;
use crate::support::within;

pub(crate) mod certificate;
mod limited;

/// The proxy on the machine. Ends when dropped.
pub(crate) struct Process {
    proxy: Proxy,
}

impl Process {
    /// Starts `baton` with these arguments.
    pub(crate) fn start(arguments: &[String], log: Log) -> Self {
        let arguments = match parse(arguments) {
            Command::Run(arguments) => arguments,
            other => panic!("not the arguments of run: {other:?}"),
        };
        let source = arguments.source();
        let config = arguments.load().unwrap_or_else(|error| panic!("{error:?}"));
        Self { proxy: Proxy::start(config, source, move |line| collect(line, &log)) }
    }

    /// Sends it SIGTERM.
    pub(crate) fn terminate(&self) {
        self.proxy.signal(Signal::Stop);
    }

    /// Sends it SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.proxy.signal(Signal::HangUp);
    }

    /// Waits until it has ended. Returns its exit code.
    pub(crate) async fn exit(&mut self) -> Option<i32> {
        let ended = within("baton exits", self.proxy.ended()).await;
        Some(if ended == Ok(true) { 0 } else { 1 })
    }
}

/// Replaces the text of a file.
pub(crate) fn replace(path: &Path, text: &str) {
    stage::write_file(path.to_str().expect("UTF-8"), text);
}

/// Runs a command to a running Baton, with these arguments, until it ends.
pub(crate) async fn run_baton(arguments: &[&str]) -> Ran {
    let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
    let mut output = Vec::new();
    let ended = within("baton ends", async {
        match parse(&arguments) {
            Command::Drain(arguments) => operate::drain(&arguments, &mut output).await,
            Command::Undrain(arguments) => operate::undrain(&arguments, &mut output).await,
            Command::Weight(arguments) => operate::weight(&arguments, &mut output).await,
            Command::Status(arguments) => status::status(&arguments, &mut output).await,
            other => panic!("no command to a running Baton: {other:?}"),
        }
    });
    let ended = ended.await;
    let stdout = String::from_utf8(output).expect("text");
    let code = Some(if matches!(ended, Ok(Ending::Good)) { 0 } else { 1 });
    let stderr = ended.err().map_or_else(String::new, |error| format!("baton: {error}\n"));
    Ran { code, stdout, stderr }
}

fn parse(arguments: &[String]) -> Command {
    let words = std::iter::once("baton").chain(arguments.iter().map(String::as_str));
    Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).command
}
