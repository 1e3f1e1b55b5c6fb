//! The mutant runner: copies the sources under `target`, patches, builds and runs them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The files needed to build the simulator.
const COPIED: [&str; 6] = ["Cargo.toml", "Cargo.lock", "src", "sim", "fuzz", "benches"];
/// The build is for one short run: the settings that make a release build slow are off.
const QUICK: [&str; 3] = [
    "profile.release.lto=false",
    "profile.release.codegen-units=16",
    "profile.release.debug=false",
];

/// A patch and its header.
#[derive(Clone, Debug)]
pub struct Patch {
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// The bug it plants.
    pub bug: String,
    /// The real bugs it is modelled on.
    pub source: String,
    /// The invariants expected to break, separated by `, `.
    pub caught_by: String,
}

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
    /// It does not apply or compile, or (the canary) does not replay.
    Broken(String),
}

/// A directory for copies.
pub(super) struct MutantRunner {
    root: PathBuf,
    place: PathBuf,
}

/// Reads all mutant patches.
pub(super) fn patches(root: &Path) -> Result<Vec<Patch>, String> {
    let bank = root.join("sim/mutants");
    let entries = fs::read_dir(&bank).map_err(|error| format!("{}: {error}", bank.display()))?;
    let mut paths: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension() == Some(OsStr::new("patch")))
        .collect();
    paths.sort();
    paths.into_iter().map(read_patch).collect()
}

fn read_patch(path: PathBuf) -> Result<Patch, String> {
    let shown = path.display().to_string();
    let text = fs::read_to_string(&path).map_err(|error| format!("{shown}: {error}"))?;
    let header = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name));
        found
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
            .ok_or_else(|| format!("{shown}: expected a line `{name} …` before the diff"))
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Patch {
        name: stem,
        bug: header("Bug:")?,
        source: header("Source:")?,
        caught_by: header("Caught-by:")?,
        path,
    })
}

impl MutantRunner {
    pub(super) fn open(root: &Path) -> Result<Self, String> {
        let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
        let place = root.join("target/mutants");
        fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
        Ok(Self { root, place })
    }

    /// Copies the sources, applies the patch, builds and runs.
    pub(super) fn try_patch(
        &self,
        patch: &Patch,
        seeds: u64,
        replays: bool,
    ) -> Result<Fate, String> {
        let copy = self.place.join("work");
        if copy.exists() {
            fs::remove_dir_all(&copy).map_err(|error| format!("{}: {error}", copy.display()))?;
        }
        for name in COPIED {
            let from = self.root.join(name);
            if from.exists() {
                copy_tree(&from, &copy.join(name))
                    .map_err(|error| format!("copying {name}: {error}"))?;
            }
        }
        self.apply(patch, &copy)?;
        self.build(&copy)?;
        self.find(seeds, replays)
    }

    fn apply(&self, patch: &Patch, copy: &Path) -> Result<(), String> {
        // Outside of any repository, so that git applies the patch to the copy and not to a
        // repository around it.
        let output = Command::new("git")
            .args(["apply", "--whitespace=nowarn"])
            .arg(fs::canonicalize(&patch.path).map_err(|error| error.to_string())?)
            .env("GIT_CEILING_DIRECTORIES", &self.place)
            .current_dir(copy)
            .output();
        succeed("git apply", output).map(drop)
    }

    fn build(&self, copy: &Path) -> Result<(), String> {
        let mut command = Command::new("cargo");
        command.args(["build", "--quiet", "--release", "--package", "sim"]);
        for setting in QUICK {
            command.args(["--config", setting]);
        }
        command.arg("--target-dir").arg(self.place.join("build")).current_dir(copy);
        succeed("cargo build", command.output()).map(drop)
    }

    fn find(&self, seeds: u64, replays: bool) -> Result<Fate, String> {
        let kept = self.place.join("kept");
        let program = self.place.join("build/release/sim");
        let output = Command::new(&program)
            .args(["run", "--from", "0", "--json", "--seeds", &seeds.to_string(), "--keep"])
            .arg(&kept)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("the mutant's output: {error}"))?;
        let failure = &answer["failure"];
        if failure.is_null() {
            return Ok(Fate::Alive);
        }
        let text = |name: &str| failure[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| failure[name].as_u64().unwrap_or_default();
        let (invariant, elements) = (text("invariant"), number("elements"));
        if replays {
            replay(&program, &text("plan"), &invariant, elements)?;
        }
        Ok(Fate::Dead { seeds: number("place") + 1, invariant, elements })
    }
}

/// Checks that the shrunk plan is small, fails in the same way in the mutant, and passes in the
/// unchanged pool.
fn replay(program: &Path, plan: &str, invariant: &str, elements: u64) -> Result<(), String> {
    if elements > 12 {
        return Err(format!("shrunk to {elements} elements only, expected at most 12"));
    }
    let output = Command::new(program).args(["replay", plan]).output();
    let output = output.map_err(|error| format!("replay: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() || !text.contains(&format!("FAIL {invariant}")) {
        return Err(format!("the shrunk plan does not break {invariant} when replayed"));
    }
    let text = fs::read_to_string(plan).map_err(|error| format!("{plan}: {error}"))?;
    let plan = crate::plan::read(&text)?;
    match crate::run::judge(&plan).violation {
        None => Ok(()),
        Some(violation) => Err(format!("the unchanged pool fails too: {}", violation.invariant)),
    }
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    if from.is_file() {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() != "target" {
            copy_tree(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
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
