//! Routing: the cluster of a request, as a pure function of its head.
//!
//! A route has an optional host and a path prefix. The most specific route that matches a request
//! decides: an exact host before a wildcard, a longer wildcard before a shorter one, any wildcard
//! before no host; among those with the same host the longest prefix. The order of the routes does
//! not matter.
//!
//! - Hosts are compared without case, port and trailing dot. `*.example.com` matches every name
//!   that ends in `.example.com`, of any depth, but not `example.com` itself.
//! - Prefixes match whole segments: `/api` matches `/api`, `/api/x` and `/api?x`, but not `/apix`;
//!   `/api/` matches `/api/` and everything below it, but not `/api`.
//! - Paths are compared byte for byte as the client sent them, since they are forwarded like that:
//!   `/a/../b` begins with `/a`, and `/%61pi` does not begin with `/api`. So a route decides where
//!   a request goes and cannot be used to block requests.
//! - `OPTIONS *` counts as the path `/`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use http::header::HOST;
use http::request;
use http::uri::Authority;

use super::limits::ROUTE_HOST_BYTES_MAX;

/// The hosts that a route matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPattern {
    /// This host, in lower case.
    Exact(String),
    /// Every name that ends in a dot and this suffix, in lower case.
    Below(String),
}

impl fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => formatter.write_str(host),
            Self::Below(suffix) => write!(formatter, "*.{suffix}"),
        }
    }
}

impl FromStr for HostPattern {
    type Err = &'static str;

    /// Parses `example.com`, `10.0.0.1`, `[::1]` or `*.example.com`, without a port.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "a host such as example.com, or *.example.com for all below it, without a port";
        let (wildcard, host) = match text.strip_prefix("*.") {
            Some(host) => (true, host),
            None => (false, text),
        };
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let valid = match address {
            Some(address) => !wildcard && address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => host.len() <= ROUTE_HOST_BYTES_MAX && host.split('.').all(is_label),
        };
        match (valid, wildcard) {
            (false, _) => Err(EXPECTED),
            (true, true) => Ok(Self::Below(host)),
            (true, false) => Ok(Self::Exact(host)),
        }
    }
}

fn is_label(label: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !label.is_empty() && label.bytes().all(valid)
}

/// Routes requests to a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The hosts that match; all if `None`.
    pub host: Option<HostPattern>,
    /// The path prefix that matches, in whole segments; starts with `/`.
    pub path_prefix: String,
    /// The name of the cluster.
    pub cluster: String,
}

impl Route {
    /// Creates the route of all requests to one cluster.
    #[must_use]
    pub fn everything(cluster: impl Into<String>) -> Self {
        Self { host: None, path_prefix: "/".to_owned(), cluster: cluster.into() }
    }
}

/// The prefixes of one host, longest first, each with the index of its cluster.
type Prefixes = Vec<(String, usize)>;

/// All routes, indexed for lookup.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    exact: BTreeMap<String, Prefixes>,
    below: BTreeMap<String, Prefixes>,
    any: Prefixes,
}

impl RouteTable {
    /// Builds the table of routes to clusters. A route to an unknown cluster matches nothing; the
    /// configuration reader rejects such routes.
    #[must_use]
    pub fn new(routes: &[Route], clusters: &[&str]) -> Self {
        let mut table = Self::default();
        for route in routes {
            let Some(cluster) = clusters.iter().position(|name| *name == route.cluster) else {
                continue;
            };
            let prefixes = match &route.host {
                Some(HostPattern::Exact(host)) => table.exact.entry(host.clone()).or_default(),
                Some(HostPattern::Below(suffix)) => table.below.entry(suffix.clone()).or_default(),
                None => &mut table.any,
            };
            prefixes.push((route.path_prefix.clone(), cluster));
        }
        let lists = table.exact.values_mut().chain(table.below.values_mut());
        for prefixes in lists.chain([&mut table.any]) {
            prefixes.sort_by_key(|(prefix, _)| Reverse(prefix.len()));
        }
        table
    }

    /// Returns the index of the cluster that a request is routed to, if a route matches. The
    /// authority is that of the request target, or else `Host` (RFC 9112, 3.2.2).
    #[must_use]
    pub fn find(&self, head: &request::Parts) -> Option<usize> {
        if self.exact.is_empty() && self.below.is_empty() {
            return find_prefix(&self.any, routed_path(head.uri.path()));
        }
        let field = || Authority::try_from(head.headers.get(HOST)?.as_bytes()).ok();
        let authority = head.uri.authority().cloned().or_else(field);
        let host = authority.as_ref().map_or("", |authority| authority.host());
        self.find_for(host, head.uri.path())
    }

    fn find_for(&self, host: &str, path: &str) -> Option<usize> {
        let path = routed_path(path);
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let exact = self.exact.get(&host).into_iter();
        let suffixes =
            host.match_indices('.').filter_map(|(dot, _)| self.below.get(&host[dot + 1..]));
        let mut candidates = exact.chain(suffixes).chain([&self.any]);
        candidates.find_map(|prefixes| find_prefix(prefixes, path))
    }
}

/// Returns the path to look up.
fn routed_path(path: &str) -> &str {
    if path == "*" || path.is_empty() { "/" } else { path }
}

/// Returns the cluster of the longest prefix that matches.
fn find_prefix(prefixes: &Prefixes, path: &str) -> Option<usize> {
    let matching = prefixes.iter().find(|(prefix, _)| is_below(path, prefix));
    matching.map(|(_, cluster)| *cluster)
}

/// True if a path begins with a prefix, in whole segments.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn table(routes: &[(&str, &str)]) -> RouteTable {
        let names: Vec<_> = (0..routes.len()).map(|number| number.to_string()).collect();
        let routes: Vec<_> = routes
            .iter()
            .zip(&names)
            .map(|((host, prefix), name)| Route {
                host: (!host.is_empty()).then(|| host.parse().expect("a host pattern")),
                path_prefix: (*prefix).to_owned(),
                cluster: name.clone(),
            })
            .collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        RouteTable::new(&routes, &names)
    }

    #[test]
    fn prefixes_match_whole_segments() {
        let table = table(&[("", "/api"), ("", "/files/")]);
        for (path, expected) in [
            ("/api", Some(0)),
            ("/api/", Some(0)),
            ("/api/x", Some(0)),
            ("/apix", None),
            ("/API", None),
            ("/%61pi", None),
            ("/api/../other", Some(0)),
            ("/x/../api", None),
            ("//api", None),
            ("/files/", Some(1)),
            ("/files/x", Some(1)),
            ("/files", None),
            ("/", None),
            ("*", None),
        ] {
            assert_eq!(table.find_for("any.test", path), expected, "{path}");
        }
    }

    #[test]
    fn the_most_specific_host_decides_then_the_longest_prefix() {
        let table = table(&[
            ("", "/"),
            ("", "/deep/er"),
            ("*.example.com", "/"),
            ("*.b.example.com", "/b"),
            ("a.b.example.com", "/a"),
            ("a.b.example.com", "/a/longer"),
        ]);
        for (host, path, expected) in [
            ("other.test", "/", 0),
            ("other.test", "/deep/er/x", 1),
            ("x.example.com", "/deep/er", 2),
            ("example.com", "/", 0),
            ("notexample.com", "/", 0),
            ("x.b.example.com", "/b", 3),
            ("x.b.example.com", "/c", 2),
            ("x.y.b.example.com", "/b/c", 3),
            ("a.b.example.com", "/a", 4),
            ("a.b.example.com", "/a/longer/still", 5),
            ("a.b.example.com", "/b", 3),
            ("a.b.example.com", "/c", 2),
            ("A.B.Example.COM.", "/a", 4),
            ("", "*", 0),
        ] {
            assert_eq!(table.find_for(host, path), Some(expected), "{host}{path}");
        }
    }

    #[test]
    fn the_authority_is_from_the_target_or_else_host_without_port() {
        let table = table(&[("one.test", "/"), ("two.test", "/"), ("[::1]", "/")]);
        let find = |uri: &str, host: Option<&str>| {
            let mut request = Request::builder().uri(uri);
            if let Some(host) = host {
                request = request.header(HOST, host);
            }
            table.find(&request.body(()).expect("a valid head").into_parts().0)
        };
        assert_eq!(find("http://one.test:81/x", None), Some(0));
        assert_eq!(find("http://one.test/x", Some("two.test")), Some(0));
        assert_eq!(find("/x?y", Some("TWO.test.:8080")), Some(1));
        assert_eq!(find("/", Some("[::1]:8080")), Some(2));
        assert_eq!(find("/", Some("three.test")), None);
        assert_eq!(find("/", None), None);
    }

    #[test]
    fn host_patterns_are_parsed_and_formatted() {
        for (text, canonical) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("*.Example.com", "*.example.com"),
            ("10.0.0.1", "10.0.0.1"),
            ("[::1]", "[::1]"),
        ] {
            let pattern: HostPattern = text.parse().expect(text);
            assert_eq!(pattern.to_string(), canonical);
        }
        for wrong in ["", "*", "*.", "a.*.b", "a..b", "a:80", "http://a", "a/b", "::1", "*.[::1]"] {
            assert!(wrong.parse::<HostPattern>().is_err(), "{wrong}");
        }
    }
}
