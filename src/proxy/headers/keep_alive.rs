//! How long a backend keeps a connection open while no request uses it.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Returns the time that the parameter `timeout` of `Keep-Alive` announces (RFC 2068, 19.7.1.1);
/// `None` without one, or if it is no number of seconds.
#[must_use]
pub fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(KEEP_ALIVE)?.to_str().ok()?;
    let timeout = value.split(',').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().trim_matches('"'))
    })?;
    let is_number = !timeout.is_empty() && timeout.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = is_number.then(|| timeout.parse::<u32>().unwrap_or(u32::MAX))?;
    Some(Duration::from_secs(u64::from(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_is_read_wherever_it_stands() {
        let seconds = |value: &'static str| {
            let headers = HeaderMap::from_iter([(KEEP_ALIVE, value.parse().expect("a value"))]);
            keep_alive(&headers).map(|timeout| timeout.as_secs())
        };
        for value in ["timeout=5", "timeout=5, max=100", "max=100,Timeout = \"5\"", "timeout=05"] {
            assert_eq!(seconds(value), Some(5), "{value}");
        }
        assert_eq!(seconds("timeout=0"), Some(0));
        assert_eq!(seconds("timeout=99999999999"), Some(u64::from(u32::MAX)));
        for value in ["", "5", "max=5", "timeout", "timeout=", "timeout=-5", "timeout=5s"] {
            assert_eq!(seconds(value), None, "{value}");
        }
        assert_eq!(keep_alive(&HeaderMap::new()), None);
    }
}
