//! Parses the output of `h2load` and its log, which has the start time, the status and the duration
//! in microseconds of each request.

use super::Burst;
use crate::statistics;

/// Returns `None` if the output has another form.
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

/// Good responses, and requests with another response or none.
pub(crate) fn responses(text: &str) -> Option<(u64, u64)> {
    let after = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let good = count(after("status codes: ")?, "2xx")?;
    let done = count(after("requests: ")?, "done")?;
    Some((good, done - good.min(done)))
}

/// The number before a word in `100 total, 100 started, …`.
fn count(list: &str, word: &str) -> Option<u64> {
    list.split(", ").find_map(|part| part.strip_suffix(word)?.trim().parse().ok())
}

/// Durations of the requests with a response; status -1 means none.
fn durations(log: &str) -> Vec<f64> {
    let duration = |line: &str| {
        let mut fields = line.split('\t').skip(1);
        let status = fields.next()?.parse::<i32>().ok()?;
        fields.next()?.parse().ok().filter(|_| status > 0)
    };
    log.lines().filter_map(duration).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "starting benchmark...
spawning thread #0: 2 total client(s). 20 total requests
TLS Protocol: TLSv1.3
Cipher: TLS_AES_128_GCM_SHA256
Server Temp Key: X25519 253 bits
Application protocol: h2
progress: 50% done
progress: 100% done

finished in 9.80ms, 2041.02 req/s, 264.70KB/s
requests: 20 total, 20 started, 20 done, 20 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 20 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 2.59KB (2656) total, 186B (186) headers (space savings 84.50%), 1.95KB (2000) data
                     min         max         mean         sd        +/- sd
time for request:       67us      2.20ms       531us       846us    80.00%
time for connect:     6.03ms      6.32ms      6.18ms       207us   100.00%
time to 1st byte:     6.67ms      6.79ms      6.73ms        88us   100.00%
req/s           :    1050.24     1076.62     1063.43       18.66   100.00%
";
    const LOG: &str = "1795262719706608\t200\t238
1795262719706609\t200\t255
1795262719706660\t200\t235
1795262719707021\t200\t2148
1795262719707011\t200\t2201
";

    #[test]
    fn a_good_burst() {
        let burst = Burst {
            completed: 20,
            failed: 0,
            requests_per_second: 2_041.02,
            p50_us: 255.0,
            p99_us: 2_201.0,
        };
        assert_eq!(parse(TEXT, LOG), Some(burst));
        assert_eq!(responses(TEXT), Some((20, 0)));
    }

    #[test]
    fn every_status_but_2xx_is_a_failure() {
        let text = TEXT
            .replace("20 done, 20 succeeded, 0 failed", "18 done, 15 succeeded, 3 failed")
            .replace("20 2xx, 0 3xx, 0 4xx, 0 5xx", "15 2xx, 0 3xx, 0 4xx, 3 5xx");
        assert_eq!(responses(&text), Some((15, 3)));
        let burst = parse(&text, LOG);
        assert_eq!(burst.map(|burst| (burst.completed, burst.failed)), Some((18, 5)));
    }

    #[test]
    fn requests_without_a_response_have_no_duration() {
        assert_eq!(durations("1795262719706608\t-1\t238\n1795262719706609\t503\t9\n"), [9.0]);
        assert_eq!(parse(TEXT, ""), None);
    }
}
