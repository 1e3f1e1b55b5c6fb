//! The result of a search.

use std::fmt::{self, Display, Formatter};

use baton::pool::{Input, Instant};

use crate::checker::Violation;

/// A state that breaks an invariant, and the facts that lead to it.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// The broken invariant.
    pub violation: Violation,
    /// The facts, starting with the empty pool.
    pub facts: Vec<Fact>,
}

/// A fact of a search.
#[derive(Clone, Copy, Debug)]
pub struct Fact {
    /// When the pool got it.
    pub at: Instant,
    /// The worker whose pool got it; `None` if there is only one, or if it is an order of the
    /// operator for all.
    pub worker: Option<usize>,
    /// The fact.
    pub input: Input,
}

impl Display for Fact {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self { at, worker, input } = self;
        match worker {
            Some(worker) => write!(formatter, "{:>4}  worker {worker}  {input:?}", at.0),
            None => write!(formatter, "{:>4}  {input:?}", at.0),
        }
    }
}

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Found {
    /// Distinct states.
    pub states: u64,
    /// Facts tried, over all states.
    pub steps: u64,
    /// The longest of the shortest paths to the states.
    pub depth: u32,
    /// True if every reachable state was visited.
    pub closed: bool,
    /// The first violation.
    pub violation: Option<Counterexample>,
}

impl Found {
    /// The result as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Some(found) = &self.violation {
            let invariant = found.violation.invariant;
            text.push_str(&format!("FAIL {invariant}  {}\n", found.violation.what));
            for fact in &found.facts {
                text.push_str(&format!("  {fact}\n"));
            }
        }
        let end = match (&self.violation, self.closed) {
            (Some(_), _) => "stopped at the violation",
            (None, true) => "closed: every reachable state was seen",
            (None, false) => "not closed: there are more states",
        };
        let (states, steps, depth) = (self.states, self.steps, self.depth);
        text.push_str(&format!("{states} states, {steps} steps, depth {depth}; {end}"));
        text
    }

    /// The result as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "states": self.states,
            "steps": self.steps,
            "depth": self.depth,
            "closed": self.closed,
            "violation": self.violation.as_ref().map(|found| {
                let facts = found.facts.iter().map(|fact| fact.to_string().trim_start().to_owned());
                serde_json::json!({
                    "invariant": found.violation.invariant.name(),
                    "what": found.violation.what,
                    "facts": facts.collect::<Vec<_>>(),
                })
            }),
        })
    }
}
