//! The things that the proxy has open while it serves: metrics, tasks and the network agree.

use super::case::Case;
use crate::checker::{Invariant, Verdict, require};
use crate::plan::Address;
use crate::proxy::records::Open;

/// A part of the names of the tasks of connections to backends.
const UPSTREAM: &str = "::upstream::";

/// Judges what was open when the proxy was asked for its metrics.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    let Some(samples) = &case.samples else { return Ok(()) };
    if case.was_stopped_early() {
        // Workers end one by one, each with its last connection.
        return Ok(());
    }
    let [before, after] = &case.records.open;
    let most = before.clients.max(after.clients) as f64;
    let open = samples.sum("baton_client_connections", &[]);
    require(open <= most, Invariant::Metrics, || {
        format!("baton_client_connections: {open}, but {most} are open on the network")
    })?;
    // The task of a connection begins before its name is resolved.
    let named = case.plan.backends.iter().any(|it| it.wire.name[0] != Address::None);
    for open in [before, after].into_iter().filter(|_| !named) {
        let tasks = upstream_tasks(open);
        require(tasks <= open.backends, Invariant::Quiescence, || {
            let connections = open.backends;
            format!("{tasks} tasks of connections to backends, of which {connections} are open")
        })?;
    }
    Ok(())
}

fn upstream_tasks(open: &Open) -> usize {
    open.tasks.iter().filter(|name| name.contains(UPSTREAM)).count()
}
