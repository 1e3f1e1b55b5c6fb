//! The scenarios: protocol of the clients, protocol to the origin, and the transfer.

/// The protocol of the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// Cleartext HTTP/1.1, 64 connections.
    Http1,
    /// HTTP/2 over TLS.
    Http2 { connections: u32, streams: u32 },
}

impl Client {
    pub(crate) fn is_encrypted(self) -> bool {
        matches!(self, Self::Http2 { .. })
    }

    pub(crate) fn connections(self) -> u32 {
        match self {
            Self::Http1 => 64,
            Self::Http2 { connections, .. } => connections,
        }
    }
}

/// The protocol to the origin, HTTP/2 where the proxy supports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackendProtocol {
    Tls,
    Cleartext,
}

/// The transfer of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transfer {
    Small,
    Large,
    Upload,
}

impl Transfer {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Small => "/100",
            Self::Large => "/64k",
            Self::Upload => "/upload",
        }
    }

    /// Approximate requests per second of a good proxy on one core. h2load sends this many for each
    /// second of a burst; all proxies get the same number.
    pub(crate) fn requests_per_second(self) -> u32 {
        match self {
            Self::Small => 20_000,
            Self::Large | Self::Upload => 4_000,
        }
    }
}

/// Requests through one proxy at a time, at the maximum rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relay {
    pub(crate) name: &'static str,
    pub(crate) client: Client,
    pub(crate) backend: BackendProtocol,
    pub(crate) transfer: Transfer,
}

impl Relay {
    /// The heading of its table.
    pub(crate) fn title(&self) -> String {
        let client = match self.client {
            Client::Http1 => "HTTP/1.1 (64 connections)".to_owned(),
            Client::Http2 { connections, streams } => {
                format!("TLS HTTP/2 ({connections} × {streams})")
            }
        };
        let backend = match self.backend {
            BackendProtocol::Tls => "TLS HTTP/2",
            BackendProtocol::Cleartext => "h2c",
        };
        let transfer = match self.transfer {
            Transfer::Small => "100 B",
            Transfer::Large => "64 KiB",
            Transfer::Upload => "upload of 64 KiB",
        };
        format!("{client} → {backend}, {transfer}")
    }
}

/// One table of the report.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scenario {
    Relay(Relay),
    Idle { name: &'static str, encrypted: bool },
    Scaling { name: &'static str },
}

impl Scenario {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Relay(relay) => relay.name,
            Self::Idle { name, .. } | Self::Scaling { name } => name,
        }
    }
}

const MANY: Client = Client::Http2 { connections: 64, streams: 1 };
const SHARED: Client = Client::Http2 { connections: 8, streams: 8 };

/// All scenarios, in the order of the report.
pub(crate) const ALL: [Scenario; 15] = [
    relay("h1-tls-100", Client::Http1, BackendProtocol::Tls, Transfer::Small),
    relay("h1-tls-64k", Client::Http1, BackendProtocol::Tls, Transfer::Large),
    relay("h1-tls-upload", Client::Http1, BackendProtocol::Tls, Transfer::Upload),
    relay("h1-h2c-100", Client::Http1, BackendProtocol::Cleartext, Transfer::Small),
    relay("h1-h2c-64k", Client::Http1, BackendProtocol::Cleartext, Transfer::Large),
    relay("h1-h2c-upload", Client::Http1, BackendProtocol::Cleartext, Transfer::Upload),
    relay("h2-64x1-100", MANY, BackendProtocol::Tls, Transfer::Small),
    relay("h2-64x1-64k", MANY, BackendProtocol::Tls, Transfer::Large),
    relay("h2-64x1-upload", MANY, BackendProtocol::Tls, Transfer::Upload),
    relay("h2-8x8-100", SHARED, BackendProtocol::Tls, Transfer::Small),
    relay("h2-8x8-64k", SHARED, BackendProtocol::Tls, Transfer::Large),
    relay("h2-8x8-upload", SHARED, BackendProtocol::Tls, Transfer::Upload),
    Scenario::Idle { name: "idle-h1", encrypted: false },
    Scenario::Idle { name: "idle-h2", encrypted: true },
    Scenario::Scaling { name: "scaling" },
];

const fn relay(
    name: &'static str,
    client: Client,
    backend: BackendProtocol,
    transfer: Transfer,
) -> Scenario {
    Scenario::Relay(Relay { name, client, backend, transfer })
}

/// Selects the scenarios whose names start with one of the words, or all without words. The error
/// names a word that matches none.
pub(crate) fn select(words: &[String]) -> Result<Vec<Scenario>, String> {
    for word in words {
        if !ALL.iter().any(|scenario| scenario.name().starts_with(word.as_str())) {
            let names = ALL.map(|scenario| scenario.name()).join(", ");
            return Err(format!("no scenario starts with '{word}'; the scenarios are {names}"));
        }
    }
    let wanted = |scenario: &Scenario| {
        words.is_empty() || words.iter().any(|word| scenario.name().starts_with(word.as_str()))
    };
    Ok(ALL.into_iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_select_by_prefix() {
        let names = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            select(&words).map(|found| found.iter().map(Scenario::name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).map(|names| names.len()), Ok(ALL.len()));
        assert_eq!(names(&["idle", "h1-h2c-64k"]), Ok(vec!["h1-h2c-64k", "idle-h1", "idle-h2"]));
        assert!(names(&["h3"]).is_err_and(|error| error.contains("h2-8x8-upload")));
    }
}
