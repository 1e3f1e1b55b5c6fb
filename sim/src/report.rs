//! The report of a failure: the invariant, the position and how to replay it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::checker::{Invariant, Violation};
use crate::coverage::Coverage;
use crate::plan::{Plan, write};
use crate::run::{Run, run};
use crate::story::{self, Line};
use crate::trace::Trace;

/// Runs a plan and returns the result and the whole story.
#[must_use]
pub fn replay(plan: &Plan) -> (Run, Vec<Line>) {
    let mut trace = Trace::whole();
    let run = run(plan, &mut Coverage::default(), &mut trace);
    (run, story::tell(plan, &trace))
}

/// The first lines of a report: the failure and its position.
#[must_use]
pub fn headline(violation: &Violation, seed: u64, run: &Run) -> String {
    format!(
        "FAIL {}  seed {seed}  commit {}  step {}  t={:.3} ms\n  {}",
        violation.invariant,
        commit(),
        run.facts,
        run.time_ns as f64 / 1e6,
        violation.what
    )
}

/// Writes a plan to a directory; `cargo test` runs the plans in `tests/regressions`.
///
/// # Errors
/// If the directory cannot be created or the file cannot be written.
pub fn keep(plan: &Plan, invariant: Invariant, seed: u64, directory: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let path = directory.join(format!("{invariant}-{seed:016x}.ron"));
    fs::write(&path, write(plan))?;
    Ok(path)
}

/// The checked-out commit, or `unknown`.
#[must_use]
pub fn commit() -> String {
    let answer = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    match answer {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}
