//! Measures the gain from a second worker, on a machine with two cores.
//!
//! Two unlimited workers would use both cores and slow down the load and the origin, so each thread
//! of a proxy gets a fixed share of a core. The proxy is then the bottleneck by construction, and
//! idle cores prove it.

use std::fs;
use std::net::SocketAddr;
use std::time::Instant;

use serde_json::{Value, json};

use crate::Outcome;
use crate::cgroup::Groups;
use crate::children::Running;
use crate::load::Load;
use crate::peers::{Installed, Peer};
use crate::process;
use crate::scenario::{BackendProtocol, Client, Relay, Transfer};
use crate::stage::{Origin, Role, Stage};
use crate::statistics::median;

/// Share of one core for each thread.
const SHARE: f64 = 0.20;

/// Minimum number of idle cores that proves the proxy to be the bottleneck.
const SPARE: f64 = 0.25;

const BUSY: &str = "Almost no core was idle: if the origin did not use it, something else did, and the load \
    may have been the limit. Run it again on a quiet machine.";

const RELAY: Relay = Relay {
    name: "scaling",
    client: Client::Http1,
    backend: BackendProtocol::Tls,
    transfer: Transfer::Small,
};

/// One burst.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) requests_per_second: f64,
    pub(crate) proxy_cores: f64,
    pub(crate) origin_cores: f64,
    pub(crate) idle_cores: f64,
    pub(crate) failed: u64,
}

pub(crate) struct ScalingRow {
    pub(crate) peer: Peer,
    /// Runs with one worker and with two, per round.
    pub(crate) runs: Vec<[Run; 2]>,
}

pub(crate) struct ScalingTable {
    pub(crate) name: &'static str,
    pub(crate) rows: Vec<ScalingRow>,
    pub(crate) notes: Vec<String>,
}

/// A proxy with one worker, and the same proxy with two.
struct Pair {
    row: ScalingRow,
    proxies: [(Running, SocketAddr); 2],
}

pub(crate) fn measure(stage: &Stage, name: &'static str) -> Outcome<ScalingTable> {
    let mut notes = Vec::new();
    let groups = match Groups::make() {
        Ok(groups) => groups,
        Err(error) => {
            eprintln!("skipped: {name}: {error}");
            notes.push(format!("skipped: {error}"));
            return Ok(ScalingTable { name, rows: Vec::new(), notes });
        }
    };
    let origin = Origin::start(&stage.directory, None)?;
    let load = stage.load.unpinned();
    let mut pairs = Vec::new();
    for installed in stage.peers.iter().filter(|installed| installed.peer.has_workers()) {
        let pair = pair(stage, &origin, &groups, &load, installed);
        pairs.extend(installed.peer.noting(&mut notes, pair));
    }
    for round in 0..stage.options.rounds {
        eprintln!("{name}: round {} of {}", round + 1, stage.options.rounds);
        pairs.retain_mut(|pair| {
            let runs = both(&load, &origin, pair, stage.options.duration);
            let runs = pair.row.peer.noting(&mut notes, runs);
            let stays = runs.is_some();
            pair.row.runs.extend(runs);
            stays
        });
    }
    let rows: Vec<_> = pairs.into_iter().map(|pair| pair.row).collect();
    if rows.iter().filter_map(|row| row.two(|run| run.idle_cores)).any(|idle| idle < SPARE) {
        notes.push(BUSY.to_owned());
    }
    // The proxies have ended, so the groups can be removed.
    drop(groups);
    Ok(ScalingTable { name, rows, notes })
}

/// Starts both proxies. Threads are limited after a first burst, when all of them exist.
fn pair(
    stage: &Stage,
    origin: &Origin,
    groups: &Groups,
    load: &Load,
    installed: &Installed,
) -> Outcome<Pair> {
    let start = |workers: u32| -> Outcome<(Running, SocketAddr)> {
        eprintln!("{}: starting {} with {workers} worker(s)", RELAY.name, installed.peer.name());
        let clients = RELAY.client.connections();
        let role = Role { encrypted: false, backend: RELAY.backend, workers, clients, core: None };
        let (running, address) = stage.start(installed, origin, role)?;
        load.burst(&RELAY, address, 1)?;
        groups.limit(running.id(), SHARE)?;
        Ok((running, address))
    };
    let proxies = [start(1)?, start(2)?];
    Ok(Pair { row: ScalingRow { peer: installed.peer, runs: Vec::new() }, proxies })
}

/// Runs a burst with one worker, then one with two.
fn both(load: &Load, origin: &Origin, pair: &Pair, seconds: u32) -> Outcome<[Run; 2]> {
    let [one, two] = &pair.proxies;
    Ok([run(load, origin, one, seconds)?, run(load, origin, two, seconds)?])
}

fn run(
    load: &Load,
    origin: &Origin,
    (proxy, address): &(Running, SocketAddr),
    seconds: u32,
) -> Outcome<Run> {
    let times = || -> Outcome<[u64; 3]> {
        Ok([process::cpu_time_ns(proxy.id())?, process::cpu_time_ns(origin.id())?, idle_ns()?])
    };
    let (begin, before) = (Instant::now(), times()?);
    let burst = load.burst(&RELAY, *address, seconds)?;
    let (took, after) = (begin.elapsed().as_nanos() as f64, times()?);
    let cores = |which: usize| after[which].saturating_sub(before[which]) as f64 / took;
    Ok(Run {
        requests_per_second: burst.requests_per_second,
        proxy_cores: cores(0),
        origin_cores: cores(1),
        idle_cores: cores(2),
        failed: burst.failed,
    })
}

/// Idle time summed over all cores.
fn idle_ns() -> Outcome<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let ticks = idle_ticks(&text).ok_or("/proc/stat has no idle time")?;
    Ok(ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second()))
}

/// The fourth number of the line for all cores.
fn idle_ticks(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("cpu "))?.split_whitespace().nth(3)?.parse().ok()
}

impl ScalingRow {
    pub(crate) fn one(&self, of: impl Fn(&Run) -> f64) -> Option<f64> {
        median(self.runs.iter().map(|[one, _]| of(one)))
    }

    pub(crate) fn two(&self, of: impl Fn(&Run) -> f64) -> Option<f64> {
        median(self.runs.iter().map(|[_, two]| of(two)))
    }

    /// The ratio of requests per second with two workers to one, as median over rounds.
    pub(crate) fn ratio(&self) -> Option<f64> {
        median(self.runs.iter().map(|[one, two]| two.requests_per_second / one.requests_per_second))
    }
}

impl ScalingTable {
    pub(crate) fn title(&self) -> String {
        let percent = SHARE * 100.0;
        format!("{}, each thread limited to {percent:.0} % of a core", RELAY.title())
    }

    pub(crate) fn json(&self) -> Value {
        let run = |run: &Run| {
            json!({
                "requests_per_second": run.requests_per_second,
                "proxy_cores": run.proxy_cores,
                "origin_cores": run.origin_cores,
                "idle_cores": run.idle_cores,
                "failed": run.failed,
            })
        };
        let row = |row: &ScalingRow| {
            json!({
                "proxy": row.peer.name(),
                "one_worker": row.runs.iter().map(|[one, _]| run(one)).collect::<Vec<_>>(),
                "two_workers": row.runs.iter().map(|[_, two]| run(two)).collect::<Vec<_>>(),
                "ratio": row.ratio(),
            })
        };
        json!({
            "scenario": self.name,
            "notes": self.notes,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_the_fourth_number() {
        let text = "cpu  84 5 30 9100 12 0 3 0 0 0\ncpu0 40 2 15 4500 6 0 1 0 0 0\n";
        assert_eq!(idle_ticks(text), Some(9_100));
        assert_eq!(idle_ticks("cpu0 40 2 15 4500\n"), None);
    }
}
