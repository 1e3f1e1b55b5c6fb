//! A relay scenario: all proxies run at once and get one burst each in turn, round after round, so
//! that disturbances of the machine affect all of them.

use std::net::SocketAddr;

use crate::Outcome;
use crate::children::Running;
use crate::load::Burst;
use crate::peers::{Installed, Peer};
use crate::process;
use crate::scenario::Relay;
use crate::stage::{Role, Stage};
use crate::statistics::median;
use crate::system_calls::Tracer;

/// Seconds of the warm-up burst.
const WARM_UP: u32 = 1;
/// Seconds of the burst in which system calls are counted.
const TRACED: u32 = 1;

/// One burst through one proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) cpu_us: f64,
    pub(crate) burst: Burst,
}

/// The results of one proxy in one scenario.
pub(crate) struct Row {
    pub(crate) peer: Peer,
    pub(crate) rounds: Vec<Round>,
    pub(crate) peak_memory_kib: u64,
    pub(crate) system_calls: Option<f64>,
    /// Connections to the origin opened in the first burst after the start.
    pub(crate) upstream: u64,
}

pub(crate) struct Table {
    pub(crate) relay: Relay,
    pub(crate) rows: Vec<Row>,
    /// Reasons why a proxy is missing from the table.
    pub(crate) notes: Vec<String>,
}

struct Contender<'a> {
    installed: &'a Installed,
    running: Running,
    address: SocketAddr,
    row: Row,
}

pub(crate) fn measure(stage: &Stage, relay: &Relay) -> Outcome<Table> {
    let mut notes = Vec::new();
    let mut contenders = Vec::new();
    for installed in &stage.peers {
        contenders.extend(installed.peer.noting(&mut notes, enter(stage, relay, installed)));
    }
    for round in 0..stage.options.rounds as usize {
        eprintln!("{}: round {} of {}", relay.name, round + 1, stage.options.rounds);
        // After the first round the order rotates, so that the first proxy is not always the same.
        let count = contenders.len().max(1);
        contenders.rotate_left(usize::from(round != 0) % count);
        contenders.retain_mut(|contender| {
            let measured = one_round(stage, relay, contender);
            let measured = contender.installed.peer.noting(&mut notes, measured);
            let stays = measured.is_some();
            contender.row.rounds.extend(measured);
            stays
        });
    }
    contenders.sort_by_key(|contender| contender.installed.peer);
    for contender in &mut contenders {
        let id = contender.running.id();
        contender.row.peak_memory_kib = process::peak_memory_kib(id);
        match system_calls(stage, relay, id, contender.address) {
            Ok(calls) => contender.row.system_calls = Some(calls),
            Err(error) => notes.push(format!("No system calls: {error}")),
        }
    }
    // What prevents tracing of one proxy usually prevents it for all.
    notes.dedup();
    let rows = contenders.into_iter().map(|contender| contender.row).collect();
    Ok(Table { relay: *relay, rows, notes })
}

/// Starts a proxy and sends it the warm-up burst, during which the cold proxy opens its upstream
/// connections.
fn enter<'a>(stage: &Stage, relay: &Relay, installed: &'a Installed) -> Outcome<Contender<'a>> {
    eprintln!("{}: starting {}", relay.name, installed.peer.name());
    let before = stage.origin.connections()?;
    let role = Role {
        encrypted: relay.client.is_encrypted(),
        backend: relay.backend,
        workers: 1,
        clients: relay.client.connections(),
        core: stage.cores.proxy,
    };
    let (running, address) = stage.start(installed, &stage.origin, role)?;
    let burst = stage.load.burst(relay, address, WARM_UP)?;
    if burst.completed == 0 || burst.failed >= burst.completed {
        return Err(format!("nothing succeeded\n{}", running.goaway_frame()).into());
    }
    let upstream = stage.origin.connections()? - before;
    let row = Row {
        peer: installed.peer,
        rounds: Vec::new(),
        peak_memory_kib: 0,
        system_calls: None,
        upstream,
    };
    Ok(Contender { installed, running, address, row })
}

fn one_round(stage: &Stage, relay: &Relay, contender: &Contender<'_>) -> Outcome<Round> {
    let id = contender.running.id();
    let before = process::cpu_time_ns(id)?;
    let burst = stage.load.burst(relay, contender.address, stage.options.duration)?;
    let spent = process::cpu_time_ns(id)?.saturating_sub(before);
    if burst.completed == 0 {
        return Err("no request was completed".into());
    }
    Ok(Round { cpu_us: spent as f64 / 1e3 / burst.completed as f64, burst })
}

/// Counts system calls per request. Those of opening and closing connections are included, but few.
fn system_calls(stage: &Stage, relay: &Relay, id: u32, address: SocketAddr) -> Outcome<f64> {
    let tracer = Tracer::attach(id, &stage.directory)?;
    let burst = stage.load.burst(relay, address, TRACED)?;
    let calls = tracer.finish()?;
    Ok(calls as f64 / burst.completed.max(1) as f64)
}

impl Row {
    pub(crate) fn median(&self, of: impl Fn(&Round) -> f64) -> Option<f64> {
        median(self.rounds.iter().map(of))
    }

    pub(crate) fn failed(&self) -> u64 {
        self.rounds.iter().map(|round| round.burst.failed).sum()
    }
}

impl Table {
    /// The median over rounds of the ratio to the floor in the same round.
    pub(crate) fn to_floor(&self, row: &Row, of: impl Fn(&Round) -> f64) -> Option<f64> {
        let floor = self.rows.iter().find(|row| row.peer == Peer::Floor)?;
        median(row.rounds.iter().zip(&floor.rounds).map(|(round, floor)| of(round) / of(floor)))
    }

    /// The median over rounds of the ratio to the best rival in the same round.
    pub(crate) fn to_best(&self, row: &Row, of: impl Fn(&Round) -> f64) -> Option<f64> {
        let best = |number: usize| {
            let rivals = self.rows.iter().filter(|row| row.peer.is_rival());
            rivals.filter_map(|row| row.rounds.get(number).map(&of)).min_by(f64::total_cmp)
        };
        let ratios: Option<Vec<_>> = row
            .rounds
            .iter()
            .enumerate()
            .map(|(number, round)| Some(of(round) / best(number)?))
            .collect();
        median(ratios?)
    }
}
