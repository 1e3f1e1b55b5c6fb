//! What `wrk --latency` prints.

use super::Burst;

/// Nothing if it is not what is expected.
pub(super) fn parse(text: &str) -> Option<Burst> {
    let lines = || text.lines().map(str::trim);
    let summary = lines().find(|line| line.contains(" requests in "))?;
    let after = |name: &str| lines().find_map(|line| line.strip_prefix(name));
    let percentile = |name: &str| microseconds(after(name)?.trim());
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let refused = after("Non-2xx or 3xx responses:").and_then(number).unwrap_or(0);
    let errors = after("Socket errors:").map_or(Some(0), sum_errors)?;
    Some(Burst {
        completed: number(summary.split(' ').next()?)?,
        failed: refused + errors,
        requests_per_second: after("Requests/sec:")?.trim().parse().ok()?,
        p50_us: percentile("50%")?,
        p99_us: percentile("99%")?,
    })
}

/// `connect 0, read 3, write 0, timeout 0`
fn sum_errors(text: &str) -> Option<u64> {
    text.split(',').map(|part| part.split_whitespace().last()?.parse::<u64>().ok()).sum()
}

fn microseconds(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * factor)
}


