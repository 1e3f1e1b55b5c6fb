//! The instructions of one request by crate: Baton runs under callgrind, a tool of valgrind, twice
//! for each pairing of protocols. The difference of the two runs is what the additional requests
//! took, without start, handshakes and shutdown. What the kernel does is not counted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Outcome;
use crate::callgrind;
use crate::children;
use crate::markdown;
use crate::options::CratesOptions;
use crate::pairing::{self, Amount, Pairing, Surroundings};
use crate::scenario::Transfer;

/// Requests of the short run: enough for every connection to have opened and every table to have
/// grown.
const FEW: u32 = 640;
/// Time to end, in which valgrind writes its file.
const END: Duration = Duration::from_secs(60);
/// A crate below this share of the whole in every pairing is not worth a row.
const SMALL: f64 = 0.005;
const REST: &str = "the rest";

/// Instructions of one request by crate.
type Costs = BTreeMap<String, f64>;

pub(crate) fn run(options: &CratesOptions, baton: &Path, directory: &Path) -> Outcome<()> {
    let find = |program: &str, package: &str| {
        let found = children::find(program);
        if found.is_none() {
            println!("skipped: {program} is not installed (Debian: apt install {package})");
        }
        found
    };
    let (Some(valgrind), Some(h2load)) =
        (find("valgrind", "valgrind"), find("h2load", "nghttp2-client"))
    else {
        return Ok(());
    };
    let pairings = pairing::select(&options.only)?;
    let surroundings = Surroundings::prepare(directory, h2load)?;
    let files = options.keep.clone().unwrap_or_else(|| directory.to_owned());
    fs::create_dir_all(&files).map_err(|error| format!("{}: {error}", files.display()))?;
    let meter = Meter { valgrind, baton, surroundings, files };
    let mut columns = Vec::new();
    for pairing in pairings {
        columns.push((pairing.name, meter.request(pairing, options.requests)?));
    }
    println!("{}", table(&columns));
    Ok(())
}

struct Meter<'a> {
    valgrind: PathBuf,
    baton: &'a Path,
    surroundings: Surroundings,
    files: PathBuf,
}

impl Meter<'_> {
    /// Instructions of one request.
    fn request(&self, pairing: Pairing, requests: u32) -> Outcome<Costs> {
        let few = self.requests(pairing, FEW)?;
        let mut many = self.requests(pairing, FEW + requests)?;
        many.remove(callgrind::AUDIT);
        let one = |(name, count): (String, u64)| {
            let before = few.get(&name).copied().unwrap_or(0);
            (name, (count as f64 - before as f64) / f64::from(requests))
        };
        Ok(many.into_iter().map(one).collect())
    }

    /// Instructions of a whole run.
    fn requests(&self, pairing: Pairing, count: u32) -> Outcome<BTreeMap<String, u64>> {
        eprintln!("{}: {count} requests", pairing.name);
        let file = self.files.join(format!("callgrind.{}.{count}", pairing.name));
        let mut program = Command::new(&self.valgrind);
        program.args(["--tool=callgrind", "--vgdb=no", "--quiet"]);
        program.arg(format!("--callgrind-out-file={}", file.display())).arg(self.baton);
        let (running, address) = self.surroundings.start(program, pairing, "off")?;
        let amount = Amount::Requests(count);
        self.surroundings.send(pairing, Transfer::Small, address, amount)?;
        running.end_within(END)?;
        let text =
            fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let program = self.baton.file_name().unwrap_or_default().to_string_lossy();
        callgrind::by_crate(&text, &program)
            .ok_or_else(|| format!("{}: unexpected format", file.display()).into())
    }
}

/// One row for each crate, the most expensive first, and the sum.
fn table(columns: &[(&str, Costs)]) -> String {
    let sum = |costs: &Costs| costs.values().sum::<f64>();
    let is_small = |name: &String| {
        let cost = |costs: &Costs| costs.get(name).copied().unwrap_or(0.0);
        columns.iter().all(|(_, costs)| cost(costs) < SMALL * sum(costs))
    };
    let mut rows: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (index, (_, costs)) in columns.iter().enumerate() {
        for (name, cost) in costs {
            let name = if is_small(name) { REST.to_owned() } else { name.clone() };
            rows.entry(name).or_insert_with(|| vec![0.0; columns.len()])[index] += cost;
        }
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    let order = |row: &(String, Vec<f64>)| (row.0 == REST, -row.1.iter().sum::<f64>());
    rows.sort_by(|a, b| order(a).partial_cmp(&order(b)).expect("costs are numbers"));
    rows.push(("**all**".to_owned(), columns.iter().map(|(_, costs)| sum(costs)).collect()));
    let names = columns.iter().map(|(name, _)| *name);
    let head: Vec<_> = std::iter::once("crate").chain(names).collect();
    let cells = |(name, costs): (String, Vec<f64>)| {
        let costs = costs.into_iter().map(|cost| markdown::number(Some(cost), 0));
        std::iter::once(name).chain(costs).collect()
    };
    markdown::table(&head, &rows.into_iter().map(cells).collect::<Vec<Vec<_>>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_small_ones_added_up() {
        let costs = |list: &[(&str, f64)]| {
            list.iter().map(|(name, cost)| ((*name).to_owned(), *cost)).collect::<Costs>()
        };
        let first = costs(&[("h2", 600.0), ("tokio", 395.0), ("bytes", 3.0), ("ring", 2.0)]);
        let second = costs(&[("tokio", 995.0), ("bytes", 4.0), ("http", 1.0)]);
        let expected = "| crate | a | b |\n|---|--:|--:|\n\
            | tokio | 395 | 995 |\n\
            | h2 | 600 | 0 |\n\
            | the rest | 5 | 5 |\n\
            | **all** | 1000 | 1000 |\n";
        assert_eq!(table(&[("a", first), ("b", second)]), expected);
    }
}
