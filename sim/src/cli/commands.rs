//! The commands.

use std::fs;
use std::io::IsTerminal;
use std::path::Path;
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};

use super::{
    COVERAGE, CoverageArguments, DoctorArguments, ExhaustArguments, HashesArguments, LIVENESS,
    MutantsArguments, NONDETERMINISM, PASS, ReplayArguments, RunArguments, SAFETY, ShrinkArguments,
    Source,
};
use crate::batch::{Batch, Failure, Steered, Summary, run_batch};
use crate::checker::Invariant;
use crate::coverage::Entry;
use crate::faults::{self, Profile};
use crate::nearest::{Search, nearest};
use crate::plan::{Plan, WorldName, read, write};
use crate::report;
use crate::run::{Run, judge};
use crate::steer::run_steered;
use crate::story::{Filter, Line, timeline};
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
        let (bar, template) = if total == u64::MAX {
            (ProgressBar::no_length(), "{spinner} {pos} seeds, {per_sec}")
        } else {
            (ProgressBar::new(total), "{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left")
        };
        let style = ProgressStyle::with_template(template).expect("the template is fixed");
        Self { bar: Some(bar.with_style(style)), every: u64::MAX }
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

/// A function that runs a batch and reports its progress.
type Runner = fn(&Batch, &(dyn Fn(u64, u64) + Sync)) -> Summary;

/// Runs a batch with a progress bar.
fn run_seeds(run: Runner, batch: &Batch, quiet: bool) -> Summary {
    let progress = Progress::new(batch.seeds, quiet);
    let summary = run(batch, &|before, done| progress.at(before, done));
    progress.finish();
    summary
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

pub(super) fn run(arguments: &RunArguments) -> Outcome {
    let default = if arguments.time.is_some() { u64::MAX } else { 1_000 };
    let (profile, world) = (arguments.which.profile, arguments.which.world);
    if arguments.steer && world != WorldName::Pool {
        return Err(format!("--steer: expected the world of the pool, not {}", world.name()));
    }
    let batch = Batch {
        from: arguments.which.from,
        seeds: arguments.seeds.unwrap_or(default),
        jobs: arguments.jobs.map_or_else(processors, usize::from),
        time: arguments.time,
        profile,
        world,
        counts_everything: false,
    };
    let runner = if arguments.steer { run_steered } else { run_batch };
    let summary = run_seeds(runner, &batch, arguments.json);
    let Some(failure) = &summary.failure else {
        if let Some(what) = summary.coverage.wrong_choices() {
            return Ok(wrong_together(&summary, &what, arguments.json));
        }
        if arguments.json {
            println!("{}", json(&summary, None));
        } else {
            println!("PASS  {}", figures(&summary));
            if batch.world == WorldName::Both {
                println!("      {} requests agree in both worlds", summary.compared);
            }
            if let Some(steered) = summary.steered {
                let Steered { branches, cells_of_seeds, cells_of_branches } = steered;
                println!(
                    "      {branches} runs were branches: {cells_of_branches} cells of the \
                     catalogue more than the {cells_of_seeds} of the other runs"
                );
            }
        }
        return Ok(PASS);
    };
    let plan = &*failure.plan;
    let invariant = failure.violation.invariant;
    let shrunk = smaller::shrink(plan, &failure.violation);
    let path = report::keep(&shrunk.plan, invariant, failure.seed, &arguments.keep)
        .map_err(|error| format!("{}: {error}", arguments.keep.display()))?;
    let found = Found::new(&shrunk.plan);
    if arguments.json {
        println!("{}", json(&summary, Some((failure, &shrunk, &path, &found))));
    } else {
        let report = failed(failure, &shrunk, &path, &found, profile);
        println!("{report}\n{}", figures(&summary));
    }
    Ok(code_of(invariant))
}

/// Reports what only all seeds together show: there is no plan to replay. Returns the exit code.
fn wrong_together(summary: &Summary, what: &str, is_json: bool) -> u8 {
    let invariant = Invariant::Choice;
    if is_json {
        let mut result = json(summary, None);
        result["pass"] = false.into();
        result["failure"] = serde_json::json!({
            "place": summary.seeds.saturating_sub(1),
            "invariant": invariant.name(),
            "what": what,
        });
        println!("{result}");
    } else {
        println!("FAIL {invariant}  all seeds together  commit {}\n  {what}", report::commit());
        println!("  run the same seeds again to repeat it\n{}", figures(summary));
    }
    code_of(invariant)
}

/// A plan that was replayed, and what stands beside its story if it fails.
struct Found {
    run: Run,
    lines: Vec<Line>,
    nearest: Option<Search>,
}

impl Found {
    fn new(plan: &Plan) -> Self {
        let (run, lines) = report::replay(plan);
        let nearest = run.violation.is_some().then(|| nearest(plan, &lines));
        Self { run, lines, nearest }
    }

    /// The state at the failure and the nearest plan that passes, as text.
    fn text(&self) -> String {
        let state = self.run.state.as_ref().map(|state| format!("\n{}", state.text()));
        let nearest = self.nearest.as_ref().map(|search| format!("\n{}", search.text()));
        state.unwrap_or_default() + &nearest.unwrap_or_default()
    }

    /// The same as JSON: a state, and what was found near.
    fn json(&self) -> [serde_json::Value; 2] {
        let state = serde_json::json!(self.run.state);
        [state, self.nearest.as_ref().map_or(serde_json::Value::Null, Search::json)]
    }
}

/// The report of a failure.
fn failed(
    failure: &Failure,
    shrunk: &smaller::Shrunk,
    path: &Path,
    found: &Found,
    profile: Profile,
) -> String {
    let (seed, plan, path) = (failure.seed, &*failure.plan, path.display());
    let headline = report::headline(&failure.violation, seed, &judge(plan));
    let of_seed = if failure.is_branch() {
        String::new()
    } else {
        let world = plan.world.name();
        format!("   or, at this commit:   sim replay {seed} --profile {profile} --world {world}")
    };
    let (before, after, runs) = (shrunk.before, shrunk.after, shrunk.runs);
    let story = timeline(&Filter::default().apply(&found.lines));
    let end = found.run.violation.as_ref().map_or(String::new(), |violation| {
        format!("  ✗ {}: {}\n", violation.invariant, violation.what)
    });
    format!(
        "{headline}\n  shrunk {before} → {after} elements in {runs} runs\n  \
         replay: sim replay {path}{of_seed}\n\n{}\n{story}{end}{}",
        write(&shrunk.plan),
        found.text()
    )
}

fn seconds(summary: &Summary) -> f64 {
    summary.took.as_secs_f64().max(1e-9)
}

/// The size and speed of a batch.
fn figures(summary: &Summary) -> String {
    let seconds = seconds(summary);
    format!(
        "{} seeds, {} facts in {seconds:.1} s: {:.0} seeds/s, {:.0} facts/s, {:.0} × real time",
        summary.seeds,
        summary.facts,
        summary.seeds as f64 / seconds,
        summary.facts as f64 / seconds,
        summary.time_ns as f64 / 1e9 / seconds
    )
}

/// The result of a batch as JSON.
fn json(
    summary: &Summary,
    failure: Option<(&Failure, &smaller::Shrunk, &Path, &Found)>,
) -> serde_json::Value {
    let failure = failure.map(|(failure, shrunk, path, found)| {
        let [state, nearest] = found.json();
        serde_json::json!({
            "seed": failure.seed,
            "place": failure.place,
            "invariant": failure.violation.invariant.name(),
            "what": failure.violation.what,
            "is_branch": failure.is_branch(),
            "elements_before": shrunk.before,
            "elements": shrunk.after,
            "plan": path,
            "state": state,
            "nearest": nearest,
        })
    });
    serde_json::json!({
        "pass": failure.is_none(),
        "seeds": summary.seeds,
        "facts": summary.facts,
        "seconds": seconds(summary),
        "virtual_seconds": summary.time_ns as f64 / 1e9,
        "compared": summary.compared,
        "steered": summary.steered.map(|steered| serde_json::json!({
            "branches": steered.branches,
            "cells_of_seeds": steered.cells_of_seeds,
            "cells_of_branches": steered.cells_of_branches,
        })),
        "failure": failure,
    })
}

/// The plan that a seed or a file gives.
fn plan_of(source: &Source) -> Result<Plan, String> {
    let what = &source.what;
    if Path::new(what).exists() {
        let text = fs::read_to_string(what).map_err(|error| format!("{what}: {error}"))?;
        return read(&text).map_err(|error| format!("{what}: {error}"));
    }
    match seed::parse(what) {
        Ok(seed) => Ok(faults::plan(seed, source.profile, source.world)),
        Err(error) => Err(format!("{error}, or the name of an existing file")),
    }
}

pub(super) fn replay(arguments: &ReplayArguments) -> Outcome {
    let plan = plan_of(&arguments.source)?;
    let found = Found::new(&plan);
    let run = &found.run;
    let verdict = match &run.violation {
        Some(violation) => report::headline(violation, plan.seed, run),
        None => format!(
            "PASS  {} facts, t={:.3} ms, trace {:016x}",
            run.facts,
            run.time_ns as f64 / 1e6,
            run.hash
        ),
    };
    #[cfg(feature = "proxy")]
    write_records(arguments, &plan)?;
    let filter = Filter { until: arguments.until, only: arguments.only.clone() };
    let lines = filter.apply(&found.lines);
    if let Some(path) = &arguments.html {
        let page = html::page(&arguments.source.what, &verdict, &write(&plan), &lines);
        fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if arguments.json {
        let [state, nearest] = found.json();
        let story = serde_json::json!({
            "verdict": verdict,
            "lines": lines,
            "state": state,
            "nearest": nearest,
        });
        println!("{story}");
    } else {
        let (story, beside) = (timeline(&lines), found.text());
        println!("{}\n\n{story}\n{verdict}", plan.origin);
        print!("{beside}");
        if let Some(path) = &arguments.html {
            println!("page: {}", path.display());
        }
    }
    Ok(run.violation.as_ref().map_or(PASS, |violation| code_of(violation.invariant)))
}

/// Writes the capture and the log that were asked for.
#[cfg(feature = "proxy")]
fn write_records(arguments: &ReplayArguments, plan: &Plan) -> Result<(), String> {
    let (wire, log) = (&arguments.pcap, &arguments.log);
    if wire.is_none() && log.is_none() {
        return Ok(());
    }
    if plan.world == WorldName::Pool {
        let options = "--pcap and --log";
        return Err(format!(
            "{options}: expected a plan of the proxy's world (--world proxy or both)"
        ));
    }
    let recorded = crate::run::record(plan);
    let lines = recorded.log.iter().map(|(at, line)| format!("{:.3} {line}\n", *at as f64 / 1e6));
    for (path, bytes) in [(wire, recorded.wire), (log, lines.collect::<String>().into_bytes())] {
        if let Some(path) = path {
            fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(())
}

pub(super) fn shrink(arguments: &ShrinkArguments) -> Outcome {
    let plan = plan_of(&arguments.source)?;
    let Some(violation) = judge(&plan).violation else {
        return Err(format!(
            "{}: the plan passes; there is nothing to shrink",
            arguments.source.what
        ));
    };
    let shrunk = smaller::shrink(&plan, &violation);
    let (invariant, before, after) = (violation.invariant, shrunk.before, shrunk.after);
    eprintln!("{invariant}: {before} → {after} elements in {} runs", shrunk.runs);
    print!("{}", write(&shrunk.plan));
    Ok(code_of(invariant))
}

pub(super) fn exhaust(arguments: &ExhaustArguments) -> Outcome {
    let quiet = arguments.json || !std::io::stderr().is_terminal();
    let found = search::explore(&arguments.scope, |states, frontier| {
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
    let results = bank::run(&arguments.wish, |text| {
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
        world: arguments.which.world,
        counts_everything: true,
    };
    let summary = run_seeds(run_batch, &batch, arguments.json);
    let entries = summary.coverage.entries(batch.world);
    let required: Vec<_> = entries.iter().filter(|entry| entry.required).collect();
    let missing: Vec<_> = required.iter().filter(|entry| entry.count == 0).collect();
    let wrong = entries.iter().any(|entry| entry.count > 0 && entry.never.is_some());
    if arguments.json {
        println!("{}", serde_json::json!({ "seeds": summary.seeds, "entries": entries }));
    } else {
        for entry in &entries {
            let Entry { table, name, count, .. } = entry;
            if let Some(why) = entry.never.filter(|_| *count > 0) {
                println!("{count:>12}  {table}: {name} (listed as impossible: {why})");
            } else if let Some(why) = entry.never.filter(|_| arguments.all) {
                println!("{:>12}  {table}: {name} ({why})", "cannot be");
            } else if arguments.all {
                println!("{count:>12}  {table}: {name}");
            } else if entry.required && entry.count == 0 {
                println!("{:>12}  {table}: {name}", "never");
            }
        }
        let (met, all) = (required.len() - missing.len(), required.len());
        println!("{met} of {all} were met in {} seeds", summary.seeds);
        let pairs = entries.iter().filter(|entry| entry.table == "pair");
        let met = pairs.clone().filter(|entry| entry.count > 0).count();
        println!("{met} of {} pairs, many of which cannot be", pairs.count());
    }
    if let Some(Failure { seed, violation, .. }) = &summary.failure {
        let (failures, invariant) = (summary.failures, violation.invariant);
        eprintln!("{failures} seeds fail, {seed} among them ({invariant}): see `sim run`");
        return Ok(code_of(invariant));
    }
    Ok(if missing.is_empty() && !wrong { PASS } else { COVERAGE })
}

pub(super) fn doctor(arguments: &DoctorArguments) -> Outcome {
    let progress = Progress::new(arguments.seeds, arguments.json);
    let which = &arguments.which;
    let differences =
        examination::examine(which.from, arguments.seeds, which.profile, which.world, |done| {
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
    print!("{}", examination::lines(which.from, arguments.seeds, which.profile, which.world));
    Ok(PASS)
}
