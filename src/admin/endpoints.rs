//! The endpoints of the admin interface: a table of methods and paths. It determines the 404s, the
//! allowed methods and the response to `GET /`.

use std::fmt::Write as _;

use http::Method;

use crate::pool::limits::weight_max;

/// The subject of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// The list of endpoints.
    Contents,
    /// Metrics for Prometheus.
    Metrics,
    /// Backends, connections and streams.
    Pools,
    /// Readiness: Baton takes new requests.
    Ready,
    /// Liveness: every worker answers.
    Live,
    /// The state of a backend, and its connections and requests.
    Backend,
    /// Reload the configuration and the certificates.
    Reload,
    /// Take a backend out of service.
    Drain,
    /// Return a backend to service.
    Undrain,
    /// Set the weight of a backend.
    Weight,
}

/// One endpoint.
#[derive(Debug)]
pub(super) struct Entry {
    /// The path.
    pub(super) path: &'static str,
    /// The meaning of a request for the path.
    pub(super) endpoint: Endpoint,
    /// The allowed methods: `GET` and `HEAD`, or `POST`.
    methods: &'static [Method],
    /// The names of its query parameters; each may occur once.
    pub(super) parameters: &'static [&'static str],
    /// A description in one line.
    description: &'static str,
}

impl Entry {
    /// True if the request changes something. Then its body is ignored, and the response is JSON.
    pub(super) fn is_order(&self) -> bool {
        self.methods.contains(&Method::POST)
    }
}

const fn get(
    path: &'static str,
    endpoint: Endpoint,
    parameters: &'static [&'static str],
    description: &'static str,
) -> Entry {
    Entry { path, endpoint, methods: &[Method::GET, Method::HEAD], parameters, description }
}

const fn post(
    path: &'static str,
    endpoint: Endpoint,
    parameters: &'static [&'static str],
    description: &'static str,
) -> Entry {
    Entry { path, endpoint, methods: &[Method::POST], parameters, description }
}

/// All endpoints, in the order of `GET /`.
static ENTRIES: &[Entry] = &[
    get("/", Endpoint::Contents, &[], "this list"),
    get("/metrics", Endpoint::Metrics, &[], "metrics for Prometheus"),
    get("/pools", Endpoint::Pools, &[], "every backend, connection and stream count, as JSON"),
    get("/ready", Endpoint::Ready, &[], "200 until Baton drains, then 503"),
    get("/live", Endpoint::Live, &[], "200 if every worker answers within a second, 503 otherwise"),
    post(
        "/reload",
        Endpoint::Reload,
        &[],
        "reload the configuration and certificates; what changed, as JSON",
    ),
    post(
        "/drain",
        Endpoint::Drain,
        &["cluster", "backend", "within"],
        "take a backend out of service; its connections and requests, as JSON",
    ),
    get(
        "/drain",
        Endpoint::Backend,
        &["cluster", "backend"],
        "state, connections and requests of a backend, as JSON",
    ),
    post(
        "/undrain",
        Endpoint::Undrain,
        &["cluster", "backend"],
        "return a drained backend to service",
    ),
    post(
        "/weight",
        Endpoint::Weight,
        &["cluster", "backend", "weight"],
        concat!("set the weight of a backend, 1 to ", weight_max!()),
    ),
];

/// Why no endpoint matches.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The path is unknown.
    Path,
    /// The path allows only other methods: a list for `Allow` (RFC 9110, 10.2.1).
    Method(String),
}

/// Finds the endpoint of a request.
pub(super) fn find(method: &Method, path: &str) -> Result<&'static Entry, Missing> {
    let mut allowed = Vec::new();
    for entry in ENTRIES.iter().filter(|entry| entry.path == path) {
        if entry.methods.contains(method) {
            return Ok(entry);
        }
        allowed.extend(entry.methods.iter().map(Method::as_str));
    }
    if allowed.is_empty() { Err(Missing::Path) } else { Err(Missing::Method(allowed.join(", "))) }
}

/// Lists all endpoints with their descriptions, one per line.
pub(super) fn contents() -> String {
    let width = ENTRIES.iter().map(|entry| name(entry).len()).max().unwrap_or_default();
    let mut text = String::new();
    for entry in ENTRIES {
        writeln!(text, "{:width$}  {}", name(entry), entry.description)
            .expect("writing to a String cannot fail");
    }
    text
}

/// Lists all endpoints in one line.
pub(super) fn names() -> String {
    ENTRIES.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// The method, the path and the names of the parameters.
fn name(entry: &Entry) -> String {
    let method = &entry.methods[0];
    let parameters: Vec<_> = entry.parameters.iter().map(|name| format!("{name}=…")).collect();
    let query = if parameters.is_empty() { "" } else { "?" };
    format!("{method} {}{query}{}", entry.path, parameters.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_determines_what_is_found_and_allowed() {
        let not_allowed = |methods: &str| Err(Missing::Method(methods.to_owned()));
        for (method, path, expected) in [
            (Method::GET, "/", Ok(Endpoint::Contents)),
            (Method::HEAD, "/pools", Ok(Endpoint::Pools)),
            (Method::POST, "/reload", Ok(Endpoint::Reload)),
            (Method::POST, "/metrics", not_allowed("GET, HEAD")),
            (Method::GET, "/reload", not_allowed("POST")),
            (Method::GET, "/pools/", Err(Missing::Path)),
            (Method::POST, "", Err(Missing::Path)),
        ] {
            let found = find(&method, path).map(|entry| entry.endpoint);
            assert_eq!(found, expected, "{method} {path}");
        }
    }

    #[test]
    fn no_entry_hides_another() {
        for entry in ENTRIES {
            for method in entry.methods {
                let found = find(method, entry.path).expect("it is in the table");
                assert!(std::ptr::eq(found, entry), "{method} {}", entry.path);
            }
        }
    }
}
