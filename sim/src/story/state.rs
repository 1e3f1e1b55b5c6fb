//! The model and the pool after the step that broke an invariant, as a table with the names of the
//! story.

use std::fmt::Write as _;

use super::words::{Names, place};
use crate::checker::{Part, Reached, Row, Said, SideBySide, Thing};
use crate::plan::Plan;
use crate::trace::{Trace, What};

/// The state that the checker's model implies beside the state that the pool itself shows.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct State {
    /// The step.
    pub step: u64,
    /// How far the model has followed the pool, in words.
    pub reached: String,
    /// The things that both describe.
    pub rows: Vec<StateRow>,
}

/// One thing, as both describe it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StateRow {
    /// The thing.
    pub of: String,
    /// The state for the model. In brackets stands what the pool does not show.
    pub model: String,
    /// The state for the pool.
    pub pool: String,
    /// True if the pool is not as the model allows.
    pub differs: bool,
}

/// Gives the things the names that they have in the story of the trace.
pub(crate) fn state(plan: &Plan, trace: &Trace, broken: &SideBySide) -> State {
    let mut names = Names::new(plan, trace);
    let mut asked = None;
    for entry in &trace.entries {
        match &entry.what {
            What::Arrived(request) => asked = Some(*request),
            What::TracedFact(fact) => drop(names.see(fact, asked.take())),
            _ => {}
        }
    }
    names.enter(broken.pool);
    let row = |row: &Row| StateRow {
        of: name(&names, row.thing),
        model: sentence(&names, &row.model),
        pool: sentence(&names, &row.pool),
        differs: row.differs,
    };
    let reached = match broken.reached {
        Reached::Answer => "the model is as before the fact".to_owned(),
        Reached::Fact => "the model has the fact, and no order".to_owned(),
        Reached::Order { nth, of } => format!("the model has stopped at order {nth} of {of}"),
        Reached::All => "the model has the fact and all orders".to_owned(),
    };
    State { step: broken.step, reached, rows: broken.rows.iter().map(row).collect() }
}

fn name(names: &Names<'_>, thing: Thing) -> String {
    match thing {
        Thing::Pool => "pool".to_owned(),
        Thing::Counters => "counters".to_owned(),
        Thing::Backend(token) => place(token),
        Thing::Connection(token) => names.connection(token),
        Thing::Stream(token) => names.stream(token),
        Thing::Request(id) => names.id(id),
        Thing::Deadline => "next deadline".to_owned(),
    }
}

fn sentence(names: &Names<'_>, said: &Said) -> String {
    let part = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Thing(thing) => name(names, *thing),
    };
    said.0.iter().map(part).collect()
}

/// The widths of the columns: the thing, the model, the pool.
const WIDTHS: [usize; 3] = [18, 74, 66];

impl State {
    /// The table as text. A row in which the sides differ is marked with `≠`.
    #[must_use]
    pub fn text(&self) -> String {
        let (step, reached) = (self.step, &self.reached);
        let mut text = format!("  The model beside the pool after step {step}; {reached}.\n");
        write_row(&mut text, " ", ["", "the model", "the pool"]);
        for row in &self.rows {
            let mark = if row.differs { "≠" } else { " " };
            write_row(&mut text, mark, [&row.of, &row.model, &row.pool]);
        }
        text
    }
}

fn write_row(text: &mut String, mark: &str, cells: [&str; 3]) {
    let mut columns = [const { Vec::new() }; 3];
    for (column, (cell, width)) in columns.iter_mut().zip(cells.into_iter().zip(WIDTHS)) {
        *column = wrapped(cell, width);
    }
    let [of, model, pool] = columns;
    let height = of.len().max(model.len()).max(pool.len());
    for line in 0..height {
        let cell = |column: &[String]| column.get(line).cloned().unwrap_or_default();
        let mark = if line == 0 { mark } else { " " };
        let [first, second, _] = WIDTHS;
        let (of, model, pool) = (cell(&of), cell(&model), cell(&pool));
        let line = format!("  {mark} {of:<first$}  {model:<second$}  {pool}");
        writeln!(text, "{}", line.trim_end()).expect("writing to a string");
    }
}

/// Breaks a text between words. A word that is too long has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a first line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(format!("  {word}"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_differ_are_marked_and_long_cells_are_wrapped() {
        let row = |model: &str, differs| StateRow {
            of: "b0#1".to_owned(),
            model: model.to_owned(),
            pool: "empty".to_owned(),
            differs,
        };
        let rows = vec![row("empty", false), row(&"word ".repeat(30), true)];
        let text = State { step: 1, reached: "the model has the fact".to_owned(), rows }.text();
        let marked: Vec<_> = text.lines().filter(|line| line.contains('≠')).collect();
        assert_eq!(marked.len(), 1, "{text}");
        assert!(marked[0].contains("word word"), "{text}");
        assert!(text.lines().count() > 4, "{text}");
    }
}
