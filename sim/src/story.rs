//! A run as a story: one line per event, in the lane of the party that caused it.

mod line;
#[cfg(feature = "proxy")]
mod on_wire;
mod state;
mod words;

use std::fmt::Write as _;

use baton::pool::Input;

use crate::plan::Plan;
use crate::trace::{Entry, Trace, TracedFact, What};
use words::Names;

pub use line::{Lane, Line};
pub(crate) use state::state;
pub use state::{State, StateRow};
pub use words::Slot;

/// The story of a run whose whole trace was kept.
#[must_use]
pub fn tell(plan: &Plan, trace: &Trace) -> Vec<Line> {
    let mut names = Names::new(plan, trace);
    // The request whose arrival is the next fact.
    let mut asked = None;
    let mut lines = Vec::new();
    #[cfg(feature = "proxy")]
    let mut rows = on_wire::Rows::default();
    for entry in &trace.entries {
        #[cfg(feature = "proxy")]
        if let What::OnWire(on_wire) = &entry.what {
            rows.add(entry.at as f64 / 1_000.0, on_wire, &names, &mut lines);
            continue;
        }
        if let Some(line) = line(entry, &mut names, plan, &mut asked) {
            #[cfg(feature = "proxy")]
            rows.close();
            lines.push(line);
        }
    }
    lines
}

fn line(
    entry: &Entry,
    names: &mut Names<'_>,
    plan: &Plan,
    asked: &mut Option<u32>,
) -> Option<Line> {
    let mut line = Line { at_us: entry.at as f64 / 1_000.0, ..Line::default() };
    (line.lane, line.to) = match &entry.what {
        What::Arrived(_) | What::TracedFact(_) => (Lane::Pool, None),
        What::Sent(..) => (Lane::Connection, Some(Lane::Backend)),
        What::Answered(..) => (Lane::Backend, Some(Lane::Connection)),
        What::Received(..) | What::Lost(_) => (Lane::Connection, None),
        What::Read(..) | What::Injected(_) | What::Healed => (Lane::Backend, None),
        #[cfg(feature = "proxy")]
        What::OnWire(_) => return None,
    };
    match &entry.what {
        What::Arrived(request) => {
            *asked = Some(*request);
            return None;
        }
        What::TracedFact(fact) => fact_line(fact, names, asked.take(), &mut line),
        What::Sent(link, frame) => (line.text, line.about) = names.up(*link, *frame),
        What::Read(link, frame) => {
            (line.text, line.about) = names.up(*link, *frame);
            line.text.insert_str(0, "reads ");
        }
        What::Answered(link, frame) => (line.text, line.about) = names.down(*link, *frame),
        What::Received(link, frame) => {
            (line.text, line.about) = names.down(*link, *frame);
            line.text.insert_str(0, "receives ");
        }
        What::Lost(link) => {
            line.text = format!("{} is lost", names.link(*link));
            line.about = vec![names.backend(*link)];
        }
        What::Injected(directive) => {
            let directive = &plan.directives[*directive as usize];
            line.text = format!("{}: {:?}", directive.family, directive.act);
            line.fault = true;
        }
        #[cfg(feature = "proxy")]
        What::OnWire(_) => return None,
        What::Healed => {
            line.text = format!("faults stop; backends from now on: {:?}", plan.heal.backends);
            line.fault = true;
        }
    }
    Some(line)
}

fn fact_line(fact: &TracedFact, names: &mut Names<'_>, asked: Option<u32>, line: &mut Line) {
    let accepted = names.see(fact, asked);
    line.about = names.about_input(fact.input, accepted);
    for order in &fact.orders {
        line.about.extend(names.about_order(*order));
    }
    line.about.sort();
    line.about.dedup();
    line.lane = match fact.input {
        Input::Timeout => Lane::Pool,
        Input::RequestArrived { .. }
        | Input::RequestCancelled { .. }
        | Input::ReplayBufferExceeded { .. }
        | Input::ShutdownRequested { .. } => Lane::Client,
        _ => Lane::Connection,
    };
    line.to = (line.lane != Lane::Pool).then_some(Lane::Pool);
    line.step = Some(fact.step);
    line.text = if fact.settings.is_empty() {
        names.input(fact.input, asked, accepted, fact.handled)
    } else {
        words::settings(&fact.settings, fact.handled)
    };
    line.text.insert_str(0, &names.pool());
    line.orders = fact.orders.iter().map(|order| names.order(*order)).collect();
    line.slots = fact.slots.iter().map(|view| names.slot(*view)).collect();
    line.requests = Some((fact.waiting, fact.live));
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
    let arrow = if line.to.is_some_and(|to| to as usize > own) { " ─▶" } else { "" };
    let back = if line.to.is_some_and(|to| (to as usize) < own) { "◀─ " } else { "" };
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
