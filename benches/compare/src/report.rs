//! The report: a header, one table per scenario, and the comparisons that Baton loses.

use serde_json::{Value, json};

use crate::idle::IdleTable;
use crate::machine;
use crate::markdown::{number, table};
use crate::peers::Peer;
use crate::relay::{Round, Row, Table};
use crate::scaling::ScalingTable;
use crate::stage::Stage;

/// Maximum CPU cost of Baton, relative to the floor.
const FLOOR_BOUND: f64 = 1.10;
/// Maximum memory per idle client, in KiB.
const IDLE_BOUND_KIB: f64 = 12.0;
/// Minimum gain from a second worker.
const SCALING_BOUND: f64 = 1.8;

/// The figures of one scenario.
pub(crate) enum Section {
    Relay(Table),
    Idle(IdleTable),
    Scaling(ScalingTable),
}

impl Section {
    pub(crate) fn markdown(&self) -> String {
        match self {
            Self::Relay(table) => relay_markdown(table),
            Self::Idle(table) => idle_markdown(table),
            Self::Scaling(table) => scaling_markdown(table),
        }
    }

    /// Every comparison in which Baton misses its bound, or is missing.
    pub(crate) fn losses(&self) -> Vec<String> {
        let (name, notes, mut losses) = match self {
            Self::Relay(table) => (table.relay.name, &table.notes, relay_losses(table)),
            Self::Idle(table) => (table.name, &table.notes, idle_losses(table)),
            Self::Scaling(table) => (table.name, &table.notes, scaling_losses(table)),
        };
        let own = notes.iter().filter(|note| note.starts_with("baton: "));
        losses.extend(own.map(|note| format!("{name}: {}", note.replace('\n', " "))));
        losses
    }

    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Relay(table) => relay_json(table),
            Self::Idle(table) => table.json(),
            Self::Scaling(table) => table.json(),
        }
    }
}

/// The measured programs, the machine, the date and the command.
pub(crate) fn header(stage: &Stage) -> String {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let separator = if arguments.is_empty() { "" } else { " -- " };
    let mut lines = vec![
        format!("command: `cargo run --release -p compare{separator}{}`", arguments.join(" ")),
        format!("date: {}", machine::date()),
        format!(
            "machine: {}, {} cores, Linux {}",
            machine::processor(),
            machine::count(),
            machine::kernel()
        ),
        format!("pinned: {}", stage.cores.describe()),
        format!(
            "rounds: {}, each one burst of about {} s for each proxy, interleaved; figures \
             are medians over rounds, ratios those of the same round",
            stage.options.rounds, stage.options.duration
        ),
        format!(
            "commit of the workspace: {}",
            machine::commit().unwrap_or_else(|| "unknown".to_owned())
        ),
    ];
    for installed in &stage.peers {
        lines.push(format!("{}: {}", installed.peer.name(), installed.version));
    }
    lines.iter().map(|line| format!("- {line}\n")).collect()
}

/// The last section of the report.
pub(crate) fn losses(stage: &Stage, sections: &[Section]) -> String {
    if !stage.peers.iter().any(|installed| installed.peer == Peer::Baton) {
        return "Baton was not measured.\n".to_owned();
    }
    let losses: Vec<_> = sections.iter().flat_map(Section::losses).collect();
    match losses.is_empty() {
        true => "None.\n".to_owned(),
        false => losses.iter().map(|loss| format!("- {loss}\n")).collect(),
    }
}

fn cpu(round: &Round) -> f64 {
    round.cpu_us
}

fn p99(round: &Round) -> f64 {
    round.burst.p99_us
}

fn relay_markdown(results: &Table) -> String {
    let head = [
        "proxy",
        "CPU µs/request",
        "to the floor",
        "to the best peer",
        "req/s",
        "p50 ms",
        "p99 ms",
        "p99 to the best peer",
        "peak memory MiB",
        "system calls/request",
        "upstream connections, cold",
        "non-2xx",
    ];
    let row = |row: &Row| {
        vec![
            name(row.peer),
            number(row.median(cpu), 1),
            number(results.to_floor(row, cpu), 2),
            number(results.to_best(row, cpu), 2),
            number(row.median(|round| round.burst.requests_per_second), 0),
            number(row.median(|round| round.burst.p50_us / 1e3), 2),
            number(row.median(|round| p99(round) / 1e3), 2),
            number(results.to_best(row, p99), 2),
            number(Some(row.peak_memory_kib as f64 / 1024.0), 1),
            number(row.system_calls, 1),
            row.upstream.to_string(),
            row.failed().to_string(),
        ]
    };
    let rows: Vec<_> = results.rows.iter().map(row).collect();
    let title = format!("### {}: {}\n\n", results.relay.name, results.relay.title());
    let peers = results.rows.iter().map(|row| row.peer);
    title + &table(&head, &rows) + &remarks(peers, &results.notes)
}

fn name(peer: Peer) -> String {
    let mark = if peer.footnote().is_some() { " *" } else { "" };
    format!("{}{mark}", peer.name())
}

/// The footnotes of a table's peers, then its notes.
fn remarks(peers: impl Iterator<Item = Peer>, notes: &[String]) -> String {
    let footnotes =
        peers.filter_map(|peer| Some(format!("\\* {} {}", peer.name(), peer.footnote()?)));
    let notes = notes.iter().map(|note| note.replace('\n', " "));
    footnotes.chain(notes).map(|line| format!("\n{line}\n")).collect()
}

fn relay_losses(results: &Table) -> Vec<String> {
    let Some(row) = results.rows.iter().find(|row| row.peer == Peer::Baton) else {
        return Vec::new();
    };
    let scenario = results.relay.name;
    let mut losses = Vec::new();
    let mut check = |what: &str, ratio: Option<f64>, lost: fn(f64) -> bool| {
        if let Some(ratio) = ratio.filter(|ratio| lost(*ratio)) {
            losses.push(format!("{scenario}: {what} {ratio:.2}"));
        }
    };
    check("CPU per request to the best peer", results.to_best(row, cpu), |ratio| ratio >= 1.0);
    check("CPU per request to the floor", results.to_floor(row, cpu), |ratio| ratio > FLOOR_BOUND);
    check("p99 to the best peer", results.to_best(row, p99), |ratio| ratio >= 1.0);
    if row.failed() > 0 {
        losses.push(format!("{scenario}: {} requests failed", row.failed()));
    }
    losses
}

fn relay_json(results: &Table) -> Value {
    let round = |round: &Round| {
        json!({
            "cpu_us": round.cpu_us,
            "completed": round.burst.completed,
            "failed": round.burst.failed,
            "requests_per_second": round.burst.requests_per_second,
            "p50_us": round.burst.p50_us,
            "p99_us": round.burst.p99_us,
        })
    };
    let row = |row: &Row| {
        json!({
            "proxy": row.peer.name(),
            "cpu_us": row.median(cpu),
            "cpu_to_floor": results.to_floor(row, cpu),
            "cpu_to_best_peer": results.to_best(row, cpu),
            "p99_to_best_peer": results.to_best(row, p99),
            "peak_memory_kib": row.peak_memory_kib,
            "system_calls": row.system_calls,
            "upstream_connections": row.upstream,
            "rounds": row.rounds.iter().map(round).collect::<Vec<_>>(),
        })
    };
    json!({
        "scenario": results.relay.name,
        "notes": results.notes,
        "rows": results.rows.iter().map(row).collect::<Vec<_>>(),
    })
}

fn idle_markdown(results: &IdleTable) -> String {
    let head = ["proxy", "KiB/client", "MiB with them", "MiB before", "clients still connected"];
    let rows: Vec<_> = (results.rows.iter())
        .map(|row| {
            vec![
                name(row.peer),
                number(Some(row.kib_per_client()), 2),
                number(Some(row.after_kib as f64 / 1024.0), 1),
                number(Some(row.before_kib as f64 / 1024.0), 1),
                row.connected.to_string(),
            ]
        })
        .collect();
    let title = format!("### {}: {}\n\n", results.name, results.title());
    title + &table(&head, &rows) + &remarks(results.rows.iter().map(|row| row.peer), &results.notes)
}

fn idle_losses(results: &IdleTable) -> Vec<String> {
    let find = |peer| results.rows.iter().find(|row| row.peer == peer);
    let Some(baton) = find(Peer::Baton) else { return Vec::new() };
    let mut losses = Vec::new();
    let each = baton.kib_per_client();
    if each > IDLE_BOUND_KIB {
        losses.push(format!("{}: {each:.2} KiB for a client", results.name));
    }
    if let Some(haproxy) = find(Peer::Haproxy) {
        let ratio = baton.after_kib as f64 / haproxy.after_kib.max(1) as f64;
        if ratio >= 1.0 {
            losses.push(format!("{}: memory of the process to HAProxy {ratio:.2}", results.name));
        }
    }
    losses
}

fn scaling_markdown(results: &ScalingTable) -> String {
    let head = [
        "proxy",
        "req/s, 1 worker",
        "req/s, 2 workers",
        "2 workers to 1",
        "proxy, cores used (1)",
        "proxy, cores used (2)",
        "origin, cores used (2)",
        "cores idle (2)",
    ];
    let rows: Vec<_> = (results.rows.iter())
        .map(|row| {
            vec![
                name(row.peer),
                number(row.one(|run| run.requests_per_second), 0),
                number(row.two(|run| run.requests_per_second), 0),
                number(row.ratio(), 2),
                number(row.one(|run| run.proxy_cores), 2),
                number(row.two(|run| run.proxy_cores), 2),
                number(row.two(|run| run.origin_cores), 2),
                number(row.two(|run| run.idle_cores), 2),
            ]
        })
        .collect();
    let title = format!("### {}: {}\n\n", results.name, results.title());
    title + &table(&head, &rows) + &remarks(results.rows.iter().map(|row| row.peer), &results.notes)
}

fn scaling_losses(results: &ScalingTable) -> Vec<String> {
    let baton = results.rows.iter().find(|row| row.peer == Peer::Baton);
    let ratio = baton.and_then(|row| row.ratio()).filter(|ratio| *ratio < SCALING_BOUND);
    ratio.map(|ratio| format!("{}: 2 workers to 1 {ratio:.2}", results.name)).into_iter().collect()
}
