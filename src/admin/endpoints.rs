//! What the admin interface can be asked: a table of methods and paths. What is not found, which
//! methods are allowed, and what `GET /` says all follow from it.

use std::fmt::Write as _;

use http::Method;

/// A question, which changes nothing: `GET` and `HEAD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// What there is.
    Contents,
    /// Numbers for Prometheus.
    Metrics,
    /// Backends, connections and streams.
    Pools,
    /// Whether new requests are welcome.
    Ready,
    /// Whether every worker answers.
    Live,
    /// How a backend is, and what holds it.
    Backend,
}

/// An order, which changes something: `POST`. Its parameters are in the query, its body says nothing,
/// and it is answered in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Read configuration and certificates again.
    Reload,
    /// Take a backend out.
    Drain,
    /// Bring it back.
    Undrain,
    /// Change its share.
    Weight,
}

/// What an entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// Asked by `GET` or `HEAD`.
    Question(Question),
    /// Asked by `POST`.
    Action(Action),
}

impl Endpoint {
    /// The methods by which it is asked.
    fn methods(self) -> &'static [Method] {
        match self {
            Self::Question(_) => &[Method::GET, Method::HEAD],
            Self::Action(_) => &[Method::POST],
        }
    }
}

/// One thing that can be asked.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where.
    pub(super) path: &'static str,
    /// What.
    pub(super) endpoint: Endpoint,
    /// Names of the parameters that it takes, in its query; each may be there once.
    pub(super) parameters: &'static [&'static str],
    /// What it is for, in a line.
    description: &'static str,
}

impl Entry {
    const fn question(path: &'static str, asked: Question, description: &'static str) -> Self {
        Self { path, endpoint: Endpoint::Question(asked), parameters: &[], description }
    }

    const fn action(
        path: &'static str,
        ordered: Action,
        parameters: &'static [&'static str],
        description: &'static str,
    ) -> Self {
        Self { path, endpoint: Endpoint::Action(ordered), parameters, description }
    }
}

/// Everything that there is, in the order in which `GET /` says it.
static ENTRIES: &[Entry] = &[
    Entry::question("/", Question::Contents, "this list"),
    Entry::question("/metrics", Question::Metrics, "numbers for Prometheus"),
    Entry::question(
        "/pools",
        Question::Pools,
        "every backend, connection and stream count, as JSON",
    ),
    Entry::question(
        "/ready",
        Question::Ready,
        "200 while new requests are welcome, 503 once it drains",
    ),
    Entry::question(
        "/live",
        Question::Live,
        "200 if every worker answers within a second, 503 otherwise",
    ),
    Entry::action(
        "/reload",
        Action::Reload,
        &[],
        "read configuration and certificates again; says what changed, as JSON",
    ),
    Entry::action(
        "/drain",
        Action::Drain,
        &["cluster", "backend", "within"],
        "no new requests for a backend; says what holds it, as JSON",
    ),
    Entry {
        path: "/drain",
        endpoint: Endpoint::Question(Question::Backend),
        parameters: &["cluster", "backend"],
        description: "how a backend is and what holds it, as JSON",
    },
    Entry::action(
        "/undrain",
        Action::Undrain,
        &["cluster", "backend"],
        "bring a drained backend back",
    ),
    Entry::action(
        "/weight",
        Action::Weight,
        &["cluster", "backend", "weight"],
        "change the share of a backend, 1 to 1000",
    ),
];

/// Why there is no entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Nothing is at this path.
    Path,
    /// The path is there under other methods: a list for `Allow` (RFC 9110, 10.2.1).
    Method(String),
}

/// The entry that a request asks for.
pub(super) fn find(method: &Method, path: &str) -> Result<&'static Entry, Missing> {
    let mut allowed = Vec::new();
    for entry in ENTRIES.iter().filter(|entry| entry.path == path) {
        let methods = entry.endpoint.methods();
        if methods.contains(method) {
            return Ok(entry);
        }
        allowed.extend(methods.iter().map(Method::as_str));
    }
    if allowed.is_empty() { Err(Missing::Path) } else { Err(Missing::Method(allowed.join(", "))) }
}

/// What there is: a line for each entry, with what it is for.
pub(super) fn contents() -> String {
    let width = ENTRIES.iter().map(|entry| name(entry).len()).max().unwrap_or_default();
    let mut text = String::new();
    for entry in ENTRIES {
        writeln!(text, "{:width$}  {}", name(entry), entry.description).expect("text takes it");
    }
    text
}

/// What there is, in one line.
pub(super) fn names() -> String {
    ENTRIES.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Method and path, with the names of its parameters.
fn name(entry: &Entry) -> String {
    let method = entry.endpoint.methods()[0].as_str();
    let parameters: Vec<_> = entry.parameters.iter().map(|name| format!("{name}=…")).collect();
    let query = if parameters.is_empty() { "" } else { "?" };
    format!("{method} {}{query}{}", entry.path, parameters.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_is_found_and_what_is_allowed() {
        let question = |question| Ok(Endpoint::Question(question));
        let not_allowed = |methods: &str| Err(Missing::Method(methods.to_owned()));
        for (method, path, expected) in [
            (Method::GET, "/", question(Question::Contents)),
            (Method::HEAD, "/pools", question(Question::Pools)),
            (Method::POST, "/reload", Ok(Endpoint::Action(Action::Reload))),
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
            for method in entry.endpoint.methods() {
                let found = find(method, entry.path).expect("it is in the table");
                assert!(std::ptr::eq(found, entry), "{method} {}", entry.path);
            }
        }
    }
}
