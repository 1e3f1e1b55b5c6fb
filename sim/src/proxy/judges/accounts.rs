//! The end of each request, by the access log.

use super::line::{AccessLine, Attempt, Line, read};
use crate::account::{Account, Accounts, AttemptAccount};
use crate::checker::Violation;
use crate::plan::Plan;
use crate::proxy::ledger::{RECOVERY, request_of};
use crate::proxy::settings::backend_address;

/// The accounts of a run, from the lines of its log.
///
/// # Errors
/// If a line cannot be read.
pub(crate) fn accounts(plan: &Plan, log: &[(u64, String)]) -> Result<Accounts, Violation> {
    let mut accounts = Accounts::new();
    for (at, text) in log {
        let Line::Access(line) = read(*at, text)? else { continue };
        if let Some(request) = request_of(&line.path).filter(|id| *id < RECOVERY) {
            accounts.insert(request, account(plan, *line));
        }
    }
    Ok(accounts)
}

fn account(plan: &Plan, line: AccessLine) -> Account {
    let backends = 0..plan.backends.len() as u16;
    let place = |name: &str| {
        let address = name.split_once("://").map_or(name, |(_, address)| address);
        let mut backends = backends.clone();
        backends.find(|backend| backend_address(*backend).to_string() == address)
    };
    let attempt = |Attempt { backend, evidence, .. }: Attempt| AttemptAccount {
        backend: place(&backend).unwrap_or(u16::MAX),
        evidence,
    };
    Account {
        outcome: line.outcome,
        reason: line.reason,
        status: line.status,
        evidence: line.evidence,
        attempts: line.attempts,
        list: line.attempt_list.into_iter().map(attempt).collect(),
    }
}
