//! The commands.

use std::fs;
use std::io::IsTerminal;
use std::path::Path;
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};

use super::{
    COVERAGE, CoverageArguments, DoctorArguments, ExhaustArguments, HashesArguments, LIVENESS,
    MutantsArguments, NONDETERMINISM, PASS, ReplayArguments, RunArguments, SAFETY, ShrinkArguments,
};
use crate::batch::{Batch, Failure, Summary, run_batch};
use crate::checker::{Invariant, Violation};
use crate::faults::{self, Profile};
use crate::plan::{Plan, read, write};
use crate::report;
use crate::run::judge;
use crate::story::{Filter, timeline};
use crate::{
    doctor as examination, exhaust as search, html, mutants as bank, seed, shrink as smaller,
};

type Outcome = Result<u8, String>;

fn code_of(invariant: Invariant) -> u8 {
    if invariant.is_liveness() { LIVENESS } else { SAFETY }
}

/// Shows a bar on a terminal, an occasional line elsewhere, and nothing with `--json`.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    every: u64,
}

impl Progress {
    fn new(total: u64, quiet: bool) -> Self {
        if quiet {
            return Self { bar: None, every: u64::MAX };
        }
        if !std::io::stderr().is_terminal() {
            let every = if total == u64::MAX { 100_000 } else { (total / 10).max(1) };
            return Self { bar: None, every };
        }
        if total == u64::MAX {
            let bar = ProgressBar::no_length();
            let template = "{spinner} {pos} seeds, {per_sec}";
            let style = ProgressStyle::with_template(template).expect("the template is fixed");
            return Self { bar: Some(bar.with_style(style)), every: u64::MAX };
        }
        let template = "{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left";
        let style = ProgressStyle::with_template(template).expect("the template is fixed");
        Self { bar: Some(ProgressBar::new(total).with_style(style)), every: u64::MAX }
    }

    fn at(&self, before: u64, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if self.every != u64::MAX && before / self.every != done / self.every {
            eprintln!("{done} seeds");
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Runs a batch with a progress bar.
fn run_seeds(batch: &Batch, quiet: bool) -> Summary {
    let progress = Progress::new(batch.seeds, quiet);
    let summary = run_batch(batch, |before, done| progress.at(before, done));
    progress.finish();
    summary
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

pub(super) fn run(arguments: &RunArguments) -> Outcome {
    let default = if arguments.time.is_some() { u64::MAX } else { 1_000 };
    let profile = arguments.which.profile;
    let batch = Batch {
        from: arguments.which.from,
        seeds: arguments.seeds.unwrap_or(default),
        jobs: arguments.jobs.map_or_else(processors, usize::from),
        time: arguments.time,
        profile,
    };
    let summary = run_seeds(&batch, arguments.json);
    let figures = Figures::of(&summary);
    let Some(failure) = &summary.failure else {
        if arguments.json {
            println!("{}", figures.json(&summary, None));
        } else {
            println!("PASS  {}", figures.text(&summary));
        }
        return Ok(PASS);
    };
    let plan = faults::plan(failure.seed, profile);
    let invariant = failure.violation.invariant;
    let shrunk = smaller::shrink(&plan, invariant);
    let path = report::keep(&shrunk.plan, invariant, failure.seed, &arguments.keep)
        .map_err(|error| format!("{}: {error}", arguments.keep.display()))?;
    if arguments.json {
        println!("{}", figures.json(&summary, Some((failure, &shrunk, &path))));
    } else {
        println!("{}\n{}", failed(failure, &plan, &shrunk, &path, profile), figures.text(&summary));
    }
    Ok(code_of(invariant))
}

/// The report of a failure.
fn failed(
    failure: &Failure,
    plan: &Plan,
    shrunk: &smaller::Shrunk,
    path: &Path,
    profile: Profile,
) -> String {
    let headline = report::headline(&failure.violation, failure.seed, &judge(plan));
    let (before, after, runs) = (shrunk.before, shrunk.after, shrunk.runs);
    let smaller = format!("shrunk {before} → {after} elements in {runs} runs");
    let command = format!(
        "sim replay {}   or, at this commit:   sim replay {} --profile {}",
        path.display(),
        failure.seed,
        profile.name()
    );
    report::report(&shrunk.plan, &headline, &smaller, &command, &Filter::default())
}

/// The speed of a batch.
struct Figures {
    seconds: f64,
}

impl Figures {
    fn of(summary: &Summary) -> Self {
        Self { seconds: summary.took.as_secs_f64().max(1e-9) }
    }

    fn text(&self, summary: &Summary) -> String {
        format!(
            "{} seeds, {} facts in {:.1} s: {:.0} seeds/s, {:.0} facts/s, {:.0} × real time",
            summary.seeds,
            summary.facts,
            self.seconds,
            summary.seeds as f64 / self.seconds,
            summary.facts as f64 / self.seconds,
            summary.time_ns as f64 / 1e9 / self.seconds
        )
    }

    fn json(
        &self,
        summary: &Summary,
        failure: Option<(&Failure, &smaller::Shrunk, &Path)>,
    ) -> serde_json::Value {
        let failure = failure.map(|(failure, shrunk, path)| {
            serde_json::json!({
                "seed": failure.seed,
                "place": failure.place,
                "invariant": failure.violation.invariant.name(),
                "what": failure.violation.what,
                "elements_before": shrunk.before,
                "elements": shrunk.after,
                "plan": path,
            })
        });
        serde_json::json!({
            "pass": failure.is_none(),
            "seeds": summary.seeds,
            "facts": summary.facts,
            "seconds": self.seconds,
            "virtual_seconds": summary.time_ns as f64 / 1e9,
            "failure": failure,
        })
    }
}

/// A plan from a seed or a file, with its seed.
fn plan_of(what: &str, profile: Profile) -> Result<(Plan, u64), String> {
    if Path::new(what).exists() {
        let text = fs::read_to_string(what).map_err(|error| format!("{what}: {error}"))?;
        let plan = read(&text).map_err(|error| format!("{what}: {error}"))?;
        let seed = plan.seed;
        return Ok((plan, seed));
    }
    match seed::parse(what) {
        Ok(seed) => Ok((faults::plan(seed, profile), seed)),
        Err(error) => Err(format!("{error}, or the name of an existing file")),
    }
}

pub(super) fn replay(arguments: &ReplayArguments) -> Outcome {
    let (plan, seed) = plan_of(&arguments.what, arguments.profile)?;
    let replay = report::replay(&plan);
    let violation = replay.run.violation.as_ref();
    let verdict = match violation {
        Some(violation) => report::headline(violation, seed, &replay.run),
        None => format!(
            "PASS  {} facts, t={:.3} ms, trace {:016x}",
            replay.run.facts,
            replay.run.time_ns as f64 / 1e6,
            replay.run.hash
        ),
    };
    let filter = Filter { until: arguments.until, only: arguments.only.clone() };
    let lines = filter.apply(&replay.lines);
    if let Some(path) = &arguments.html {
        let page = html::page(&arguments.what, &verdict, &write(&plan), &lines);
        fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if arguments.json {
        let story = serde_json::json!({ "verdict": verdict, "lines": lines });
        println!("{story}");
    } else {
        println!("{}\n\n{}\n{verdict}", plan.origin, timeline(&lines));
        if let Some(path) = &arguments.html {
            println!("page: {}", path.display());
        }
    }
    Ok(violation.map_or(PASS, |violation| code_of(violation.invariant)))
}

pub(super) fn shrink(arguments: &ShrinkArguments) -> Outcome {
    let (plan, _) = plan_of(&arguments.what, arguments.profile)?;
    let Some(Violation { invariant, .. }) = judge(&plan).violation else {
        return Err(format!("{}: the plan passes; there is nothing to shrink", arguments.what));
    };
    let shrunk = smaller::shrink(&plan, invariant);
    eprintln!("{invariant}: {} → {} elements in {} runs", shrunk.before, shrunk.after, shrunk.runs);
    print!("{}", write(&shrunk.plan));
    Ok(code_of(invariant))
}

pub(super) fn exhaust(arguments: &ExhaustArguments) -> Outcome {
    let scope = search::Scope {
        backends: usize::from(arguments.backends),
        connections: usize::from(arguments.connections),
        streams: usize::from(arguments.streams),
        requests: usize::from(arguments.requests),
        faults: arguments.faults.0,
        operator: arguments.operator,
        states_max: arguments.states,
    };
    let quiet = arguments.json || !std::io::stderr().is_terminal();
    let found = search::explore(&scope, |states, frontier| {
        if !quiet {
            eprint!("\r{states} states, {frontier} unexplored ");
        }
    });
    if !quiet {
        eprintln!();
    }
    if arguments.json {
        println!("{}", found.json());
    } else {
        println!("{}", found.text());
    }
    Ok(match &found.violation {
        Some(violation) => code_of(violation.violation.invariant),
        None if found.closed => PASS,
        None => COVERAGE,
    })
}

pub(super) fn mutants(arguments: &MutantsArguments) -> Outcome {
    let wish = bank::Wish {
        only: arguments.only.clone(),
        canary: arguments.canary,
        seeds: arguments.seeds,
        root: arguments.root.clone(),
    };
    let results = bank::run(&wish, |text| {
        if !arguments.json {
            eprintln!("{text}");
        }
    })?;
    if arguments.json {
        println!("{}", bank::json(&results));
    } else {
        print!("{}", bank::table(&results));
    }
    Ok(if results.iter().all(bank::Mutant::is_dead) { PASS } else { COVERAGE })
}

pub(super) fn coverage(arguments: &CoverageArguments) -> Outcome {
    let batch = Batch {
        from: arguments.which.from,
        seeds: arguments.seeds,
        jobs: processors(),
        time: None,
        profile: arguments.which.profile,
    };
    let summary = run_seeds(&batch, arguments.json);
    if let Some(failure) = &summary.failure {
        let Failure { seed, violation, .. } = failure;
        return Err(format!("seed {seed} fails ({}): see `sim run`", violation.invariant));
    }
    let entries = summary.coverage.entries();
    let required: Vec<_> = entries.iter().filter(|entry| entry.required).collect();
    let missing: Vec<_> = required.iter().filter(|entry| entry.count == 0).collect();
    if arguments.json {
        let list: Vec<_> = entries
            .iter()
            .map(|entry| {
                serde_json::json!({
                    "table": entry.table, "name": entry.name,
                    "count": entry.count, "required": entry.required,
                })
            })
            .collect();
        println!("{}", serde_json::json!({ "seeds": summary.seeds, "entries": list }));
    } else {
        for entry in &entries {
            if arguments.all {
                println!("{:>12}  {}: {}", entry.count, entry.table, entry.name);
            } else if entry.required && entry.count == 0 {
                println!("{:>12}  {}: {}", "never", entry.table, entry.name);
            }
        }
        let (met, all) = (required.len() - missing.len(), required.len());
        println!("{met} of {all} were met in {} seeds", summary.seeds);
    }
    Ok(if missing.is_empty() { PASS } else { COVERAGE })
}

pub(super) fn doctor(arguments: &DoctorArguments) -> Outcome {
    let progress = Progress::new(arguments.seeds, arguments.json);
    let which = &arguments.which;
    let differences = examination::examine(which.from, arguments.seeds, which.profile, |done| {
        progress.at(done - 1, done);
    })
    .map_err(|error| error.to_string())?;
    progress.finish();
    if arguments.json {
        let list: Vec<_> = differences.iter().map(|difference| difference.seed).collect();
        println!("{}", serde_json::json!({ "seeds": arguments.seeds, "differ": list }));
    } else {
        for difference in &differences {
            println!("seed {} differs:", difference.seed);
            println!("  {}\n  {}", difference.first, difference.second);
        }
        println!(
            "{} seeds, each twice in this process and once in another: {} differ",
            arguments.seeds,
            differences.len()
        );
    }
    Ok(if differences.is_empty() { PASS } else { NONDETERMINISM })
}

pub(super) fn hashes(arguments: &HashesArguments) -> Outcome {
    let which = &arguments.which;
    print!("{}", examination::lines(which.from, arguments.seeds, which.profile));
    Ok(PASS)
}
