//! The nearest plan that passes: of all plans that differ from a failing one in one thing, the one
//! whose story is the same for longest. Where the stories part, a reader sees what happens instead.

use crate::plan::{Directive, Plan};
use crate::report::replay;
use crate::story::{Filter, Line, timeline};

/// Maximum plans to try, and maximum lines in all their stories if each is as long as that of the
/// failing plan.
const RUNS_MAX: usize = 300;
const STORIES_MAX: usize = 60_000;
/// Maximum lines to show of the story that passes.
const LINES_MAX: usize = 10;
/// A small change of a time is a tenth of it, and at least this.
const SMALL_US: u64 = 100;
/// About one delay of the network.
const DELAY_US: u64 = 1_000;

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Search {
    /// Plans tried.
    pub runs: usize,
    /// The nearest plan that passes, if one does.
    pub nearest: Option<Nearest>,
}

/// A plan that passes, beside one that fails.
#[derive(Clone, Debug)]
pub struct Nearest {
    /// The difference between the plans, in words.
    pub change: String,
    /// The plan.
    pub plan: Plan,
    /// The first step that is different or new.
    pub from_step: Option<u64>,
    /// The story from there on, at most ten lines of it.
    pub lines: Vec<Line>,
    /// The number of lines that follow.
    pub further: usize,
    /// The number of lines that both stories begin with.
    same: usize,
}

/// A plan that differs from another.
struct Neighbour {
    /// The difference, in words.
    change: String,
    plan: Plan,
    /// The request that is left out or arrives at another time.
    request: Option<u32>,
}

/// Searches for the nearest plan that passes; `story` is that of the failing one.
#[must_use]
pub fn nearest(plan: &Plan, story: &[Line]) -> Search {
    nearest_by(plan, story, |candidate| {
        let (run, lines) = replay(candidate);
        run.violation.is_none().then_some(lines)
    })
}

/// As [`nearest`], with a function that returns the story of a plan if it passes.
fn nearest_by(plan: &Plan, story: &[Line], passes: impl Fn(&Plan) -> Option<Vec<Line>>) -> Search {
    let mut search = Search { runs: 0, nearest: None };
    let usable = |other: &Neighbour| other.plan != *plan && other.plan.check().is_ok();
    let most = RUNS_MAX.min(STORIES_MAX / story.len().max(1));
    for other in neighbours(plan).into_iter().filter(usable).take(most) {
        search.runs += 1;
        let Some(lines) = passes(&other.plan) else { continue };
        let (same, start) = common(story, &lines, other.request);
        if search.nearest.as_ref().is_none_or(|best| best.same < same) {
            let rest = &lines[start..];
            search.nearest = Some(Nearest {
                change: other.change,
                plan: other.plan,
                from_step: rest.iter().find_map(|line| line.step),
                lines: rest.iter().take(LINES_MAX).cloned().collect(),
                further: rest.len().saturating_sub(LINES_MAX),
                same,
            });
        }
    }
    search
}

/// The number of lines that both stories begin with, and the place in the second one after those.
/// Lines of directives do not count, nor does the arrival of `request` by itself: they are the
/// difference of the plans, not its consequence.
fn common(first: &[Line], second: &[Line], request: Option<u32>) -> (usize, usize) {
    let arrives = request.map(|id| format!("r{id} arrives"));
    let arrives = |line: &Line| {
        let own = arrives.as_ref().is_some_and(|arrives| line.text.contains(arrives));
        own && line.orders.is_empty()
    };
    let counts = |(_, line): &(usize, &Line)| !line.fault && !arrives(line);
    let first = first.iter().enumerate().filter(counts);
    let second = second.iter().enumerate().filter(counts);
    let (mut same, mut start) = (0, 0);
    for ((_, one), (place, other)) in first.zip(second) {
        let equal = one.at_us == other.at_us && one.lane == other.lane && one.text == other.text;
        if !equal || one.orders != other.orders {
            break;
        }
        (same, start) = (same + 1, place + 1);
    }
    (same, start)
}

/// All plans with one difference: first those without a thing, then those with another time.
fn neighbours(plan: &Plan) -> Vec<Neighbour> {
    let mut all = Vec::new();
    without_one(plan, &mut all);
    with_another_time(plan, &mut all);
    all
}

fn without_one(plan: &Plan, all: &mut Vec<Neighbour>) {
    let mut add = |change, request, remove: &dyn Fn(&mut Plan)| {
        let mut other = plan.clone();
        remove(&mut other);
        all.push(Neighbour { change, plan: other, request });
    };
    for (index, directive) in plan.directives.iter().enumerate() {
        let change = format!("without {}", whose_directive(index, directive));
        add(change, None, &|plan| _ = plan.directives.remove(index));
    }
    for (index, request) in plan.requests.iter().enumerate() {
        let change = format!("without request r{}", request.id);
        add(change, Some(request.id), &|plan| _ = plan.requests.remove(index));
    }
    for index in 0..plan.deviations.len() {
        let change = format!("without the {} deviation", nth(index));
        add(change, None, &|plan| _ = plan.deviations.remove(index));
    }
    if plan.backends.len() > 1 {
        let change = format!("without the last backend (b{})", plan.backends.len() - 1);
        add(change, None, &|plan| {
            plan.backends.pop();
            plan.heal.backends.pop();
        });
    }
}

fn with_another_time(plan: &Plan, all: &mut Vec<Neighbour>) {
    let mut add = |what: &str, before: u64, request, set: &dyn Fn(&mut Plan, u64)| {
        for after in other_times(before) {
            let [before_ms, after_ms] = [before, after].map(|time_us| time_us as f64 / 1_000.0);
            let change = format!("{what} {after_ms} ms instead of {before_ms} ms");
            let mut other = plan.clone();
            set(&mut other, after);
            all.push(Neighbour { change, plan: other, request });
        }
    };
    for (index, directive) in plan.directives.iter().enumerate() {
        let what = format!("{} after", whose_directive(index, directive));
        add(&what, directive.after_us, None, &|plan, time_us| {
            plan.directives[index].after_us = time_us;
        });
    }
    for (index, request) in plan.requests.iter().enumerate() {
        let what = format!("request r{} at", request.id);
        add(&what, request.at_us, Some(request.id), &|plan, time_us| {
            plan.requests[index].at_us = time_us;
        });
    }
    for (index, deviation) in plan.deviations.iter().enumerate() {
        let what = format!("the {} deviation by", nth(index));
        add(&what, deviation.by_us, None, &|plan, time_us| {
            plan.deviations[index].by_us = time_us;
        });
    }
}

/// Times to try: a little longer, a little shorter, half, and later by about one delay of the
/// network.
fn other_times(time_us: u64) -> [u64; 4] {
    let small = (time_us / 10).max(SMALL_US);
    [
        time_us.saturating_add(small),
        time_us.saturating_sub(small),
        time_us / 2,
        time_us.saturating_add(DELAY_US),
    ]
}

fn whose_directive(index: usize, directive: &Directive) -> String {
    format!("the {} directive ({}: {:?})", nth(index), directive.family, directive.act)
}

/// The place of an element in words, counted from 1.
fn nth(index: usize) -> String {
    let number = index + 1;
    let ending = match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        (_, _) => "th",
    };
    format!("{number}{ending}")
}

impl Search {
    /// The result as text.
    #[must_use]
    pub fn text(&self) -> String {
        let Some(nearest) = &self.nearest else {
            return format!("  No plan near it passes ({} tried).\n", self.runs);
        };
        let from = nearest.from_step.map_or(String::new(), |step| format!(" from step {step}"));
        let lines = Filter::default().apply(&nearest.lines);
        let rest = match nearest.further {
            0 => String::new(),
            further => format!("  … and {further} lines more\n"),
        };
        format!(
            "  The nearest plan that passes ({} tried): {}.\n  Its run differs{from}:\n{}{rest}",
            self.runs,
            nearest.change,
            timeline(&lines)
        )
    }

    /// The result as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let nearest = self.nearest.as_ref();
        serde_json::json!({
            "tried": self.runs,
            "change": nearest.map(|it| &it.change),
            "from_step": nearest.and_then(|it| it.from_step),
            "lines": nearest.map(|it| &it.lines),
            "further_lines": nearest.map(|it| it.further),
        })
    }
}

#[cfg(test)]
mod tests;
