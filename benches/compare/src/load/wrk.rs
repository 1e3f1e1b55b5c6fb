//! Parses the output of `wrk --latency`.

use super::Burst;

/// Returns `None` if the output has another form.
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

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Running 1s test @ http://127.0.0.1:17002/100
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   289.51us   53.36us   1.05ms   91.44%
    Req/Sec   167.14k     9.16k  175.78k    90.91%
  Latency Distribution
     50%  283.00us
     75%  303.00us
     90%  325.00us
     99%  511.00us
  182837 requests in 1.10s, 30.86MB read
Requests/sec: 166175.72
Transfer/sec:     28.05MB
";
    const ERRORS: &str = "Running 1s test @ http://127.0.0.1:17009/100
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    95.66us  281.49us   3.70ms   96.99%
    Req/Sec    31.11k     3.06k   34.19k    70.00%
  Latency Distribution
     50%   53.00us
     75%   64.00us
     90%   70.00us
     99%    1.77ms
  30943 requests in 1.00s, 1.27MB read
  Socket errors: connect 0, read 30939, write 0, timeout 0
Requests/sec:  30917.46
Transfer/sec:      1.27MB
";

    #[test]
    fn a_good_burst() {
        let burst = Burst {
            completed: 182_837,
            failed: 0,
            requests_per_second: 166_175.72,
            p50_us: 283.0,
            p99_us: 511.0,
        };
        assert_eq!(parse(GOOD), Some(burst));
    }

    #[test]
    fn socket_errors_and_other_statuses_are_failures() {
        let burst = parse(ERRORS).unwrap_or_else(|| panic!("the output is parsed"));
        assert_eq!((burst.completed, burst.failed, burst.p99_us), (30_943, 30_939, 1_770.0));
        let refused =
            "  182837 requests in 1.10s, 30.86MB read\n  Non-2xx or 3xx responses: 164800\n";
        let text = GOOD.replace("  182837 requests in 1.10s, 30.86MB read\n", refused);
        assert_eq!(parse(&text).map(|burst| burst.failed), Some(164_800));
    }

    #[test]
    fn unexpected_output_is_no_burst() {
        assert_eq!(parse("unable to connect to 127.0.0.1:17002 Connection refused\n"), None);
        assert_eq!(parse(&GOOD.replace("99%", "98%")), None);
    }

    #[test]
    fn units() {
        assert_eq!(microseconds("1.77ms"), Some(1_770.0));
        assert_eq!(microseconds("2.00s"), Some(2_000_000.0));
        assert_eq!(microseconds("1.5"), None);
    }
}
