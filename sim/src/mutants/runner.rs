//! The mutant runner: copies the sources under `target`, patches, builds and runs them.
//!
//! There are several workers, each with its own copy and its own build. Builds are incremental:
//! after the first, one costs what the patch changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use super::bank::Bank;
use super::copy::synchronise;
use super::patch::Patch;

/// The files needed to build the simulator.
const COPIED: [&str; 6] = ["Cargo.toml", "Cargo.lock", "src", "sim", "fuzz", "benches"];
/// Changes of the release profile, for builds that are short and run for seconds.
const QUICK: [&str; 6] = [
    r#"profile.release.lto="off""#,
    "profile.release.build-override.opt-level=0",
    "profile.release.debug=false",
    "profile.release.incremental=true",
    "profile.release.codegen-units=256",
    "profile.release.opt-level=2",
];
/// Seeds that must pass without a patch.
const GREEN_SEEDS: u64 = 1_000;
/// The longest run of a mutant. A bug can stop time.
const RUN_MAX: Duration = Duration::from_secs(600);

/// The result of a mutant.
#[derive(Clone, Debug)]
pub enum Fate {
    /// A seed found it.
    Dead {
        /// Seeds run until it was found.
        seeds: u64,
        /// The invariant that broke.
        invariant: String,
        /// Elements of the shrunk plan.
        elements: u64,
    },
    /// No seed found it.
    Alive,
    /// It does not apply or compile, does not end, or (the canary) does not replay.
    Broken(String),
}

/// A copy of the sources and the builds of it.
pub(super) struct Worker {
    root: PathBuf,
    bank: Bank,
    place: PathBuf,
    /// Processors that it may use.
    pub(super) processors: usize,
}

impl Worker {
    pub(super) fn new(
        root: &Path,
        bank: Bank,
        number: usize,
        processors: usize,
    ) -> Result<Self, String> {
        let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
        let place = root.join(format!("target/mutants/{}-{number}", bank.name()));
        fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
        Ok(Self { root, bank, place, processors })
    }

    /// Copies the builds of another worker, which is idle. The dependencies are the same.
    pub(super) fn adopt_build(&self, other: &Self) -> Result<(), String> {
        if self.build_directory().exists() {
            return Ok(());
        }
        // The times of files matter to Cargo.
        let directories = [other.build_directory(), self.build_directory()];
        succeed("cp -a", Command::new("cp").arg("-a").args(directories).output()).map(drop)
    }

    /// Builds the sources without a patch; some seeds must pass.
    pub(super) fn prepare(&self) -> Result<(), String> {
        self.copy()?;
        self.build()?;
        fs::copy(self.program(), self.unchanged())
            .map_err(|error| format!("{}: {error}", self.unchanged().display()))?;
        match self.find(GREEN_SEEDS)? {
            Fate::Alive => Ok(()),
            Fate::Dead { invariant, .. } => Err(format!("without a patch, {invariant} breaks")),
            Fate::Broken(text) => Err(format!("without a patch: {text}")),
        }
    }

    fn sources(&self) -> PathBuf {
        self.place.join("copy")
    }

    fn build_directory(&self) -> PathBuf {
        self.place.join("build")
    }

    fn program(&self) -> PathBuf {
        self.build_directory().join("release/sim")
    }

    /// The program without a patch.
    fn unchanged(&self) -> PathBuf {
        self.place.join("unchanged")
    }

    /// Applies the patch to the sources, builds and runs.
    pub(super) fn try_patch(
        &self,
        patch: &Patch,
        seeds: u64,
        replays: bool,
    ) -> Result<Fate, String> {
        self.copy()?;
        self.apply(patch)?;
        self.build()?;
        let same = fs::read(self.program()).ok() == fs::read(self.unchanged()).ok();
        if same {
            return Err("the build is the same as without the patch".to_owned());
        }
        let fate = self.find(seeds)?;
        if let (true, Fate::Dead { invariant, elements, .. }) = (replays, &fate) {
            self.replay(invariant, *elements)?;
        }
        Ok(fate)
    }

    /// Brings the copy up to date with the sources; takes an earlier patch back.
    fn copy(&self) -> Result<(), String> {
        for name in COPIED {
            let from = self.root.join(name);
            if from.exists() {
                synchronise(&from, &self.sources().join(name))
                    .map_err(|error| format!("copying {name}: {error}"))?;
            }
        }
        Ok(())
    }

    fn apply(&self, patch: &Patch) -> Result<(), String> {
        // Outside of any repository, so that git applies the patch to the copy and not to a
        // repository around it.
        let output = Command::new("git")
            .args(["apply", "--whitespace=nowarn"])
            .arg(fs::canonicalize(&patch.path).map_err(|error| error.to_string())?)
            .env("GIT_CEILING_DIRECTORIES", &self.place)
            .current_dir(self.sources())
            .output();
        succeed("git apply", output).map(drop)
    }

    fn build(&self) -> Result<(), String> {
        let mut command = Command::new("cargo");
        command.args(["build", "--quiet", "--release", "--package", "sim"]);
        command.args(["--jobs", &self.processors.to_string()]);
        command.args(self.bank.build_arguments());
        for setting in QUICK {
            command.args(["--config", setting]);
        }
        command.arg("--target-dir").arg(self.build_directory()).current_dir(self.sources());
        succeed("cargo build", command.output()).map(drop)
    }

    fn find(&self, seeds: u64) -> Result<Fate, String> {
        let _ = fs::remove_dir_all(self.kept());
        let child = Command::new(self.program())
            .args(["run", "--from", "0", "--json", "--seeds", &seeds.to_string()])
            .args(["--jobs", &self.processors.to_string()])
            .args(self.bank.run_arguments())
            .arg("--keep")
            .arg(self.kept())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let child = child.map_err(|error| format!("{}: {error}", self.program().display()))?;
        let Some(output) = within(child, RUN_MAX).map_err(|error| error.to_string())? else {
            return Ok(Fate::Broken(format!("no end within {} s", RUN_MAX.as_secs())));
        };
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("the mutant's output: {error}"))?;
        let failure = &answer["failure"];
        if failure.is_null() {
            return Ok(Fate::Alive);
        }
        let number = |name: &str| failure[name].as_u64().unwrap_or_default();
        Ok(Fate::Dead {
            seeds: number("place") + 1,
            invariant: failure["invariant"].as_str().unwrap_or_default().to_owned(),
            elements: number("elements"),
        })
    }

    /// The directory of the plan of a failure.
    fn kept(&self) -> PathBuf {
        self.place.join("kept")
    }

    /// Checks that the shrunk plan is small, fails in the same way in the mutant, and passes
    /// without the patch.
    fn replay(&self, invariant: &str, elements: u64) -> Result<(), String> {
        if elements > 12 {
            return Err(format!("shrunk to {elements} elements only, expected at most 12"));
        }
        let plans = fs::read_dir(self.kept()).map_err(|error| error.to_string())?;
        let plan = plans.flatten().next().ok_or("the mutant kept no plan")?.path();
        let replay = |program: PathBuf| {
            let output = Command::new(program)
                .arg("replay")
                .args(self.bank.run_arguments())
                .arg(&plan)
                .output()
                .map_err(|error| format!("replay: {error}"))?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            Ok::<_, String>((output.status.success(), text))
        };
        let (passes, text) = replay(self.program())?;
        if passes || !text.contains(&format!("FAIL {invariant}")) {
            return Err(format!("the shrunk plan does not break {invariant} when replayed"));
        }
        let (passes, text) = replay(self.unchanged())?;
        if !passes {
            let last = text.lines().last().unwrap_or_default();
            return Err(format!("the plan fails without the patch too: {last}"));
        }
        Ok(())
    }
}

/// Waits for the end of a process whose output is short; `None` if it had to be stopped.
fn within(mut child: Child, limit: Duration) -> std::io::Result<Option<Output>> {
    let step = Duration::from_millis(5);
    for _ in 0..limit.as_millis() / step.as_millis() {
        if child.try_wait()?.is_some() {
            return child.wait_with_output().map(Some);
        }
        std::thread::sleep(step);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn succeed(name: &str, output: std::io::Result<Output>) -> Result<Output, String> {
    let output = output.map_err(|error| format!("{name} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).take(6).collect();
    Err(format!("{name}: {}", last.join(" / ")))
}
