//! Measures the cost of a request for Baton, for a minimal relay and for other proxies: one
//! command, one report in Markdown. See `README.md` for the methods.
//!
//! Modules: `options` is the command line; `scenario` defines the measurements; `peers` are the
//! proxies; `origin` and `floor` are servers that this program also runs as; `relay`, `idle` and
//! `scaling` are the three kinds of measurement; `report` is the output. `crates` and `train` run
//! Baton alone, with `pairing`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a measurement reads the clock, and uses a real network"
)]

mod callgrind;
mod certificates;
mod cgroup;
mod children;
mod crates;
mod floor;
mod idle;
mod load;
mod machine;
mod markdown;
mod options;
mod origin;
mod pairing;
mod peers;
mod ports;
mod process;
mod relay;
mod report;
mod scaling;
mod scenario;
mod scratch;
mod stage;
mod statistics;
mod system_calls;
mod train;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::certificates::Certificates;
use crate::load::Load;
use crate::machine::Cores;
use crate::options::{Arguments, CratesOptions, Options, Part, TrainOptions};
use crate::report::Section;
use crate::scenario::Scenario;
use crate::scratch::Scratch;
use crate::stage::{Origin, Stage};

/// People read the errors, so text is enough.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.part {
        Some(Part::Origin(options)) => serve(origin::run(&options)),
        Some(Part::Floor(options)) => serve(floor::run(&options)),
        Some(Part::Crates(options)) => count_by_crate(&options),
        Some(Part::Train(options)) => train(&options),
        None if arguments.options.list => {
            scenario::ALL.iter().for_each(|scenario| println!("{}", scenario.name()));
            Ok(())
        }
        None => compare(arguments.options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a server on one thread, like a worker of Baton.
fn serve(server: impl Future<Output = Outcome<()>>) -> Outcome<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(server)
}

fn compare(options: Options) -> Outcome<()> {
    let scenarios = scenario::select(&options.only)?;
    if cfg!(debug_assertions) {
        eprintln!("warning: built without --release, so the floor's figures are meaningless");
    }
    let scratch = Scratch::make()?;
    end_on_signal()?;
    let cores = Cores::of_this_machine();
    let load = Load::find(scratch.path(), cores.load)?;
    let baton = find_baton(options.baton.as_deref())?;
    let peers = peers::installed(&options.peers, &baton)?;
    let certificates = Certificates::write(scratch.path())?;
    let origin = Origin::start(scratch.path(), cores.load)?;
    let directory = scratch.path().to_owned();
    let stage = Stage { options, cores, peers, load, origin, certificates, directory };
    let header = report::header(&stage);
    println!("{header}");
    let mut sections = Vec::new();
    for scenario in &scenarios {
        let section = match scenario {
            Scenario::Relay(scenario) => Section::Relay(relay::measure(&stage, scenario)?),
            Scenario::Idle { name, encrypted } => {
                Section::Idle(idle::measure(&stage, name, *encrypted)?)
            }
            Scenario::Scaling { name } => Section::Scaling(scaling::measure(&stage, name)?),
        };
        println!("{}", section.markdown());
        sections.push(section);
        // Saved after each scenario, in case a later one fails.
        save(&stage.options, &header, &sections)?;
    }
    println!("### Where Baton loses\n\n{}", report::losses(&stage, &sections));
    Ok(())
}

fn count_by_crate(options: &CratesOptions) -> Outcome<()> {
    let baton = find_baton(options.baton.as_deref())?;
    let scratch = Scratch::make()?;
    end_on_signal()?;
    crates::run(options, &baton, scratch.path())
}

fn train(options: &TrainOptions) -> Outcome<()> {
    let scratch = Scratch::make()?;
    end_on_signal()?;
    train::run(options, scratch.path())
}

fn find_baton(option: Option<&Path>) -> Outcome<PathBuf> {
    match option {
        Some(path) if path.is_file() => Ok(path.to_owned()),
        Some(path) => Err(format!("--baton {}: no such file", path.display()).into()),
        None => build_baton(),
    }
}

fn save(options: &Options, header: &str, sections: &[Section]) -> Outcome<()> {
    let Some(path) = &options.json else { return Ok(()) };
    let scenarios: Vec<Value> = sections.iter().map(Section::json).collect();
    let header: Vec<_> = header.lines().map(|line| line.trim_start_matches("- ")).collect();
    let text = serde_json::to_string_pretty(&json!({ "header": header, "scenarios": scenarios }))?;
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Builds Baton as released, into this program's target directory.
fn build_baton() -> Outcome<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.parent().and_then(Path::parent).ok_or("no target directory")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--package", "baton", "--bin", "baton", "--target-dir"]);
    command.arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    eprintln!("building baton");
    children::output(&mut command)?;
    Ok(target.join("release/baton"))
}

/// Stops everything that was started on SIGINT or SIGTERM.
fn end_on_signal() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _context = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = signals.0.recv() => (),
                _ = signals.1.recv() => (),
            }
        });
        children::kill_all();
        cgroup::remove();
        scratch::remove();
        std::process::exit(130);
    });
    Ok(())
}
