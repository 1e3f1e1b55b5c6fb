//! The mutant runner: plants bugs in copies of the sources under `target`, builds and runs them.
//!
//! One build has the bugs of the whole bank, and a process chooses one; without a choice it is the
//! simulator as it is. A patch that changes more than bodies of functions has a build of its own.
//!
//! A failure counts only if it is the bug's: the shrunk plan must pass without it.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use super::bank::{Bank, Effort};
use super::combine::{CHOICE, apply, plant};
use super::copy::{fingerprint, succeed, synchronise};
use super::patch::Patch;

/// The files needed to build the simulator.
const COPIED: [&str; 8] =
    ["Cargo.toml", "Cargo.lock", "src", "sim", "fuzz", "benches", "tcp-delivery", "third_party"];
/// Changes of the release profile, for builds that are short and run for seconds.
const QUICK: [&str; 6] = [
    r#"profile.release.lto="off""#,
    "profile.release.build-override.opt-level=0",
    "profile.release.debug=false",
    "profile.release.incremental=true",
    "profile.release.codegen-units=256",
    "profile.release.opt-level=2",
];
/// The longest run of a mutant. A bug can stop time.
const RUN_MAX: Duration = Duration::from_secs(600);
/// Elements at most to which the plan of the canary must shrink.
const ELEMENTS_MAX: u64 = 12;

/// The result of a mutant.
#[derive(Clone, Debug)]
pub enum Fate {
    /// A seed found it.
    Dead {
        /// Seeds run until it was found.
        seeds: u64,
        /// The invariant that broke.
        invariant: String,
        /// The message of its judge.
        what: String,
        /// Elements of the shrunk plan.
        elements: u64,
    },
    /// No seed found it.
    Alive,
    /// It does not apply or compile, does not end, or (the canary) does not replay.
    Broken(String),
}

/// The seeds that a mutant must be found within.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seeds {
    pub(super) from: u64,
    pub(super) count: u64,
}

/// The program of a mutant.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: PathBuf,
    /// The number of its bug; 0 for none.
    planted: u32,
}

/// The copies of the sources, and the builds of them.
pub(super) struct Builds {
    root: PathBuf,
    bank: Bank,
    effort: Effort,
    place: PathBuf,
    /// The number of each patch in the build of all, by its place in the bank.
    numbers: Vec<Option<u32>>,
    /// Held while a patch is built that has a build of its own.
    single: Mutex<()>,
}

impl Builds {
    /// Builds the bugs of all patches. Does nothing if the sources are those of the last build.
    pub(super) fn new(
        root: &Path,
        bank: Bank,
        effort: Effort,
        patches: &[Patch],
    ) -> Result<Self, String> {
        let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
        let place = root.join(format!("target/mutants/{}", bank.name()));
        let (numbers, single) = (Vec::new(), Mutex::new(()));
        let mut builds = Self { root, bank, effort, place, numbers, single };
        // Apart from what is built, so that files keep their times if nothing changes.
        let planted = builds.place.join("planted");
        builds.copy(&planted)?;
        builds.numbers = plant(&planted, patches)?;
        let mark = fingerprint(&planted).map_err(|error| error.to_string())?;
        let mark = format!("{mark} {effort:?}");
        let built = builds.place.join("built");
        if builds.all().exists() && fs::read_to_string(&built).is_ok_and(|is| is == mark) {
            return Ok(builds);
        }
        builds.build(&planted, &builds.all())?;
        fs::write(built, mark).map_err(|error| error.to_string())?;
        Ok(builds)
    }

    /// The program with all bugs.
    fn all(&self) -> PathBuf {
        self.place.join("sim-all")
    }

    /// The program without a bug.
    pub(super) fn unchanged(&self) -> Program {
        Program { path: self.all(), planted: 0 }
    }

    /// The program with the bug of a patch, whose place in the bank is given.
    pub(super) fn program(&self, place: usize, patch: &Patch) -> Result<Program, String> {
        if let Some(planted) = self.numbers[place] {
            return Ok(Program { path: self.all(), planted });
        }
        let _single = self.single.lock().expect("no panic");
        let patched = self.place.join("patched");
        self.copy(&patched)?;
        apply(patch, &patched)?;
        let path = self.place.join(format!("sim-{}", patch.name));
        self.build(&patched, &path)?;
        Ok(Program { path, planted: 0 })
    }

    /// Brings a copy up to date with the sources; takes an earlier patch back.
    fn copy(&self, to: &Path) -> Result<(), String> {
        for name in COPIED {
            let from = self.root.join(name);
            if from.exists() {
                synchronise(&from, &to.join(name))
                    .map_err(|error| format!("copying {name}: {error}"))?;
            }
        }
        Ok(())
    }

    /// Builds sources. They are always built at the same place, because Cargo takes workspaces with
    /// the same packages for the same.
    fn build(&self, from: &Path, to: &Path) -> Result<(), String> {
        let sources = self.place.join("sources");
        synchronise(from, &sources).map_err(|error| format!("copying: {error}"))?;
        let directory = self.place.join("build");
        let mut command = Command::new("cargo");
        command.args(["build", "--quiet", "--release", "--package", "sim"]);
        for setting in QUICK {
            command.args(["--config", setting]);
        }
        command.args(self.bank.build_arguments(self.effort));
        command.arg("--target-dir").arg(&directory).current_dir(&sources);
        succeed("cargo build", command.output())?;
        fs::copy(directory.join("release/sim"), to)
            .map(drop)
            .map_err(|error| format!("{}: {error}", to.display()))
    }
}

/// Runs programs, one after the other.
pub(super) struct Worker {
    bank: Bank,
    unchanged: Program,
    /// The directory of the plan of a failure.
    kept: PathBuf,
    processors: usize,
}

impl Worker {
    pub(super) fn new(builds: &Builds, number: usize, processors: usize) -> Self {
        let kept = builds.place.join(format!("kept-{number}"));
        Self { bank: builds.bank, unchanged: builds.unchanged(), kept, processors }
    }

    /// Some seeds must pass without a bug.
    pub(super) fn try_unchanged(&self, from: u64) -> Result<(), String> {
        match self.run(&self.unchanged, Seeds { from, count: self.bank.green_seeds() })? {
            Fate::Alive => Ok(()),
            Fate::Dead { invariant, what, .. } => {
                Err(format!("without a patch, {invariant} breaks: {what}"))
            }
            Fate::Broken(text) => Err(format!("without a patch: {text}")),
        }
    }

    /// Runs seeds until one fails because of the bug.
    pub(super) fn find(&self, program: &Program, seeds: Seeds) -> Result<Fate, String> {
        let mut passed = 0;
        while passed < seeds.count {
            let rest = Seeds { from: seeds.from.wrapping_add(passed), count: seeds.count - passed };
            match self.run(program, rest)? {
                Fate::Dead { seeds, invariant, what, elements } => {
                    passed += seeds;
                    if self.passes_unchanged(rest)? {
                        return Ok(Fate::Dead { seeds: passed, invariant, what, elements });
                    }
                }
                other => return Ok(other),
            }
        }
        Ok(Fate::Alive)
    }

    /// Returns true if the last failure does not happen without the bug. A failure without a plan
    /// is one of all seeds together.
    fn passes_unchanged(&self, seeds: Seeds) -> Result<bool, String> {
        if self.kept.exists() {
            return Ok(self.replay(&self.unchanged)?.is_none());
        }
        match self.run(&self.unchanged, seeds)? {
            Fate::Alive => Ok(true),
            Fate::Dead { .. } => Ok(false),
            Fate::Broken(text) => Err(format!("without a patch: {text}")),
        }
    }

    /// Runs seeds until one fails.
    fn run(&self, program: &Program, seeds: Seeds) -> Result<Fate, String> {
        let _ = fs::remove_dir_all(&self.kept);
        let Seeds { from, count } = seeds;
        let child = Command::new(&program.path)
            .args(["run", "--from", &from.to_string(), "--json", "--seeds", &count.to_string()])
            .args(["--jobs", &self.processors.to_string()])
            .args(self.bank.run_arguments())
            .arg("--keep")
            .arg(&self.kept)
            .env(CHOICE, program.planted.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let child = child.map_err(|error| format!("{}: {error}", program.path.display()))?;
        let Some(output) = within(child, RUN_MAX).map_err(|error| error.to_string())? else {
            return Ok(Fate::Broken(format!("no end within {} s", RUN_MAX.as_secs())));
        };
        let answer: serde_json::Value = serde_json::from_slice(&output)
            .map_err(|error| format!("the mutant's output: {error}"))?;
        let failure = &answer["failure"];
        if failure.is_null() {
            return Ok(Fate::Alive);
        }
        let number = |name: &str| failure[name].as_u64().unwrap_or_default();
        let text = |name: &str| failure[name].as_str().unwrap_or_default().to_owned();
        Ok(Fate::Dead {
            seeds: number("place") + 1,
            invariant: text("invariant"),
            what: text("what"),
            elements: number("elements"),
        })
    }

    /// Checks that the shrunk plan of the last failure is small and fails in the same way again.
    pub(super) fn check_replay(
        &self,
        program: &Program,
        invariant: &str,
        elements: u64,
    ) -> Result<(), String> {
        if elements > ELEMENTS_MAX {
            return Err(format!(
                "shrunk to {elements} elements only, expected at most {ELEMENTS_MAX}"
            ));
        }
        match self.replay(program)? {
            Some(text) if text.contains(&format!("FAIL {invariant}")) => Ok(()),
            _ => Err(format!("the shrunk plan does not break {invariant} when replayed")),
        }
    }

    /// Replays the shrunk plan of the last failure. Returns the output if it fails.
    fn replay(&self, program: &Program) -> Result<Option<String>, String> {
        let plans = fs::read_dir(&self.kept).map_err(|error| error.to_string())?;
        let plan = plans.flatten().next().ok_or("the mutant kept no plan")?.path();
        let output = Command::new(&program.path)
            .arg("replay")
            .args(self.bank.run_arguments())
            .arg(&plan)
            .env(CHOICE, program.planted.to_string())
            .output()
            .map_err(|error| format!("replay: {error}"))?;
        let fails = !output.status.success();
        Ok(fails.then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
    }
}

/// Waits for the end of a process's output and returns it; `None` if the process had to be stopped.
/// A pipe holds 64 KiB, so the output is read while the process runs.
fn within(mut child: Child, limit: Duration) -> std::io::Result<Option<Vec<u8>>> {
    let mut stdout = child.stdout.take().expect("the output is piped");
    let (sender, outputs) = mpsc::channel();
    thread::spawn(move || {
        let mut output = Vec::new();
        let read = stdout.read_to_end(&mut output).map(|_| output);
        // The receiver is gone if the process had to be stopped.
        let _ = sender.send(read);
    });
    let read = outputs.recv_timeout(limit);
    if read.is_err() {
        child.kill()?;
    }
    child.wait()?;
    read.ok().transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_longer_than_a_pipe_holds_is_read_whole() {
        let program =
            Command::new("head").args(["-c", "300000", "/dev/zero"]).stdout(Stdio::piped()).spawn();
        let output = within(program.expect("head is installed"), Duration::from_secs(60));
        assert_eq!(output.expect("the pipe can be read").map(|output| output.len()), Some(300_000));
    }

    #[test]
    fn a_process_that_does_not_end_is_stopped() {
        let program = Command::new("sleep").arg("600").stdout(Stdio::piped()).spawn();
        let output = within(program.expect("sleep is installed"), Duration::from_millis(20));
        assert_eq!(output.expect("it can be stopped"), None);
    }
}
