//! What `h2load` prints, and its log: for each request the time of its start, its status, and its
//! duration in microseconds.

use super::Burst;
use crate::statistics;

/// Nothing if it is not what is expected.
pub(super) fn parse(text: &str, log: &str) -> Option<Burst> {
    let after = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let requests = after("requests: ")?;
    let completed = count(requests, "done")?;
    let started = count(requests, "total")?;
    let good = count(after("status codes: ")?, "2xx")?;
    let rate = after("finished in ")?.split(", ").find_map(|part| part.strip_suffix(" req/s"))?;
    let mut durations = durations(log);
    durations.sort_unstable_by(f64::total_cmp);
    Some(Burst {
        completed,
        failed: started - good.min(started),
        requests_per_second: rate.parse().ok()?,
        p50_us: statistics::percentile(&durations, 0.50)?,
        p99_us: statistics::percentile(&durations, 0.99)?,
    })
}

/// The number before a word in `100 total, 100 started, …`.
fn count(list: &str, word: &str) -> Option<u64> {
    list.split(", ").find_map(|part| part.strip_suffix(word)?.trim().parse().ok())
}

/// Only those with an answer: a status of -1 stands for none.
fn durations(log: &str) -> Vec<f64> {
    let duration = |line: &str| {
        let mut fields = line.split('\t').skip(1);
        let status = fields.next()?.parse::<i32>().ok()?;
        fields.next()?.parse().ok().filter(|_| status > 0)
    };
    log.lines().filter_map(duration).collect()
}


