//! A run as a story: one line per event, in the lane of the party that caused it.

mod words;

use std::fmt::Write as _;

use baton::pool::Input;

use crate::plan::Plan;
use crate::trace::{Entry, Told, Trace, What};
use words::Names;

pub use words::Slot;

/// The party that caused an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// A client, or the operator.
    Client,
    /// The pool.
    Pool,
    /// A connection's end at the shell.
    Connection,
    /// A backend.
    Backend,
}

/// One line.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Line {
    /// Microseconds since the start.
    pub at_us: f64,
    /// The fact's number, if the pool received one.
    pub step: Option<u64>,
    /// The lane of the line.
    pub lane: Lane,
    /// The receiving lane, if any.
    pub to: Option<Lane>,
    /// What happened.
    pub text: String,
    /// The pool's orders.
    pub orders: Vec<String>,
    /// True if the line is an injected fault.
    pub fault: bool,
    /// The names of the requests and backends it concerns.
    pub about: Vec<String>,
    /// Slots in use after the fact, if the pool received one.
    pub slots: Vec<Slot>,
    /// Waiting and live requests after the fact.
    pub requests: Option<(u32, u32)>,
}

/// The story of a run whose whole trace was kept.
#[must_use]
pub fn tell(plan: &Plan, trace: &Trace) -> Vec<Line> {
    let mut names = Names::new(plan, trace);
    // The client of the arrival that the pool receives next.
    let mut asked = None;
    let line = |entry| line(entry, &mut names, plan, &mut asked);
    trace.entries.iter().filter_map(line).collect()
}

fn line(
    entry: &Entry,
    names: &mut Names<'_>,
    plan: &Plan,
    asked: &mut Option<u32>,
) -> Option<Line> {
    let blank = Line {
        at_us: entry.at as f64 / 1_000.0,
        step: None,
        lane: Lane::Pool,
        to: None,
        text: String::new(),
        orders: Vec::new(),
        fault: false,
        about: Vec::new(),
        slots: Vec::new(),
        requests: None,
    };
    Some(match &entry.what {
        What::Asked(request) => {
            *asked = Some(*request);
            return None;
        }
        What::Told(told) => told_line(told, names, asked.take(), blank),
        What::Sent(link, frame) => Line {
            lane: Lane::Connection,
            to: Some(Lane::Backend),
            text: names.up(*link, *frame),
            about: names.about_up(*link, *frame),
            ..blank
        },
        What::Read(link, frame) => Line {
            lane: Lane::Backend,
            text: format!("reads {}", names.up(*link, *frame)),
            about: names.about_up(*link, *frame),
            ..blank
        },
        What::Answered(link, frame) => Line {
            lane: Lane::Backend,
            to: Some(Lane::Connection),
            text: names.down(*link, *frame),
            about: names.about_down(*link, *frame),
            ..blank
        },
        What::Received(link, frame) => Line {
            lane: Lane::Connection,
            text: format!("receives {}", names.down(*link, *frame)),
            about: names.about_down(*link, *frame),
            ..blank
        },
        What::Lost(link) => Line {
            lane: Lane::Connection,
            text: format!("{} is lost", names.link(*link)),
            about: vec![names.backend(*link)],
            ..blank
        },
        What::Struck(directive) => {
            let directive = &plan.directives[*directive as usize];
            Line {
                lane: Lane::Backend,
                text: format!("{}: {:?}", directive.family, directive.act),
                fault: true,
                ..blank
            }
        }
        What::Healed => Line {
            lane: Lane::Backend,
            text: format!("faults stop; backends from now on: {:?}", plan.heal.backends),
            fault: true,
            ..blank
        },
    })
}

fn told_line(told: &Told, names: &mut Names<'_>, asked: Option<u32>, blank: Line) -> Line {
    let accepted = match told.handled {
        baton::pool::Handled::Accepted(id) => Some(id),
        _ => None,
    };
    if let (Some(request), Some(id)) = (asked, accepted) {
        names.accept(id, request);
    }
    let mut about = names.about_input(told.input, accepted);
    for order in &told.orders {
        about.extend(names.about_order(*order));
    }
    about.sort();
    about.dedup();
    let from_client = matches!(
        told.input,
        Input::RequestArrived { .. }
            | Input::RequestCancelled { .. }
            | Input::ReplayBufferExceeded { .. }
            | Input::ShutdownRequested { .. }
    );
    let lane = match told.input {
        Input::Timeout => Lane::Pool,
        _ if from_client => Lane::Client,
        _ => Lane::Connection,
    };
    Line {
        step: Some(told.step),
        lane,
        to: (lane != Lane::Pool).then_some(Lane::Pool),
        text: names.input(told.input, asked, accepted, told.handled),
        orders: told.orders.iter().map(|order| names.order(*order)).collect(),
        about,
        slots: told.slots.iter().map(|view| names.slot(*view)).collect(),
        requests: Some((told.waiting, told.live)),
        ..blank
    }
}

/// Selects the lines to show.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The last step to show.
    pub until: Option<u64>,
    /// Shows only lines about these (`r1`, `b0`); all lines if empty.
    pub only: Vec<String>,
}

impl Filter {
    /// The selected lines.
    #[must_use]
    pub fn apply<'a>(&self, lines: &'a [Line]) -> Vec<&'a Line> {
        let until = self.until.unwrap_or(u64::MAX);
        let end = lines.iter().position(|line| line.step.is_some_and(|step| step > until));
        let shown = &lines[..end.unwrap_or(lines.len())];
        let wanted = |line: &&Line| {
            self.only.is_empty()
                || line.fault
                || line.about.iter().any(|name| self.only.contains(name))
        };
        shown.iter().filter(wanted).collect()
    }
}

const COLUMNS: [(&str, usize); 4] =
    [("client", 30), ("pool", 46), ("connection", 34), ("backend", 40)];

/// The lanes side by side, as text.
#[must_use]
pub fn timeline(lines: &[&Line]) -> String {
    let mut text = String::from("  step      t(ms)  ");
    for (name, width) in COLUMNS {
        write!(text, "{name:<width$} ").expect("writing to a string");
    }
    text.push('\n');
    for line in lines {
        write_line(&mut text, line);
    }
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn write_line(text: &mut String, line: &Line) {
    let step = line.step.map_or(String::new(), |step| step.to_string());
    let mut cells = [const { Vec::new() }; 4];
    let own = line.lane as usize;
    let arrow = match line.to {
        Some(to) if (to as usize) > own => " ─▶",
        Some(_) => "",
        None => "",
    };
    let back = match line.to {
        Some(to) if (to as usize) < own => "◀─ ",
        _ => "",
    };
    let mark = if line.fault { "⚡ " } else { "" };
    cells[own].push(format!("{mark}{back}{}{arrow}", line.text));
    for order in &line.orders {
        cells[Lane::Pool as usize].push(format!("▸ {order}"));
    }
    let rows = cells.iter().map(Vec::len).max().unwrap_or(0);
    for row in 0..rows {
        if row == 0 {
            write!(text, "{step:>6} {:>10.3}  ", line.at_us / 1_000.0)
        } else {
            write!(text, "{:>19}", "")
        }
        .expect("writing to a string");
        for (column, (_, width)) in COLUMNS.iter().enumerate() {
            let cell = cells[column].get(row).map_or("", String::as_str);
            let room = width.saturating_sub(cell.chars().count());
            write!(text, "{cell}{:room$} ", "").expect("writing to a string");
        }
        text.push('\n');
    }
}
