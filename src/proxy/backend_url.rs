//! The URL of a backend: `https://host:port`.

use std::fmt;
use std::str::FromStr;

use crate::pool::limits::{WEIGHT_MAX, WEIGHTS};

/// The protocol towards a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// TLS; HTTP/2 if the backend agrees (ALPN), HTTP/1.1 otherwise.
    Https,
    /// HTTP/2 without TLS, with prior knowledge (RFC 9113, 3.3).
    Http2Cleartext,
    /// HTTP/1.1 without TLS.
    Http,
}

impl Scheme {
    const ALL: [(&'static str, Self, u16); 3] = [
        ("https://", Self::Https, 443),
        ("h2c://", Self::Http2Cleartext, 80),
        ("http://", Self::Http, 80),
    ];

    /// The scheme of requests to the backend (RFC 9113, 8.3.1).
    #[must_use]
    pub fn of_requests(self) -> http::uri::Scheme {
        match self {
            Self::Https => http::uri::Scheme::HTTPS,
            Self::Http2Cleartext | Self::Http => http::uri::Scheme::HTTP,
        }
    }
}

/// The address and the protocol of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendUrl {
    /// The protocol.
    pub scheme: Scheme,
    /// A host name or address; an IPv6 address without brackets.
    pub host: String,
    /// The port, at least 1.
    pub port: u16,
}

impl BackendUrl {
    /// Parses a backend of the command line: a URL, optionally with `;weight=N`. The default weight
    /// is 1.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn with_weight(text: &str) -> Result<(Self, u16), String> {
        let (url, weight) = match text.split_once(';') {
            None => (text, 1),
            Some((url, options)) => (url, parse_weight(text, options)?),
        };
        Ok((url.parse()?, weight))
    }
}

impl BackendUrl {
    /// Host and port as in a request (RFC 9110, 7.2).
    #[must_use]
    pub fn authority(&self) -> String {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{open}{}{close}:{}", self.host, self.port)
    }

    /// True if `text` names this backend: by its URL, or by host and port.
    #[must_use]
    pub fn is_called(&self, text: &str) -> bool {
        let name = self.to_string();
        let wanted = match text.parse::<Self>() {
            Ok(url) => url.to_string(),
            Err(_) => {
                let (scheme, _) = name.split_once("://").expect("a URL has a scheme");
                format!("{scheme}://{text}")
            }
        };
        wanted.eq_ignore_ascii_case(&name)
    }
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Scheme::ALL.iter().find(|(_, scheme, _)| *scheme == self.scheme);
        let (prefix, _, _) = named.expect("every scheme is listed");
        write!(formatter, "{prefix}{}", self.authority())
    }
}

impl FromStr for BackendUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Scheme::ALL.iter().find(|(prefix, ..)| text.starts_with(prefix));
        let Some((prefix, scheme, default_port)) = named else {
            return Err(format!("'{text}': expected https://, h2c:// or http:// at the start"));
        };
        let rest = &text[prefix.len()..];
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if let Some(extra) = authority.find(['/', '?', '#', '@']) {
            let extra = &authority[extra..];
            return Err(format!("'{text}': expected only host and port, found '{extra}'"));
        }
        let (host, port) = split_authority(text, authority, *default_port)?;
        Ok(Self { scheme: *scheme, host, port })
    }
}

fn parse_weight(text: &str, options: &str) -> Result<u16, String> {
    let wrong = || format!("'{text}': expected ';weight=N' with N from 1 to {WEIGHT_MAX}");
    let number = options.strip_prefix("weight=").ok_or_else(wrong)?;
    let weight = number.parse().map_err(|_| wrong())?;
    if WEIGHTS.contains(&weight) { Ok(weight) } else { Err(wrong()) }
}

fn split_authority(text: &str, authority: &str, port: u16) -> Result<(String, u16), String> {
    let (host, port_text) = if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, after) = bracketed
            .split_once(']')
            .ok_or_else(|| format!("'{text}': expected ']' after the IPv6 address"))?;
        host.parse::<std::net::Ipv6Addr>()
            .map_err(|_| format!("'{text}': '{host}' is not an IPv6 address"))?;
        (host, after.strip_prefix(':'))
    } else {
        match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(format!("'{text}': expected an IPv6 address in brackets"));
            }
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let valid = |character: char| character.is_ascii_alphanumeric() || "-._:".contains(character);
    if host.is_empty() || !host.chars().all(valid) {
        return Err(format!("'{text}': expected a host name or address"));
    }
    let port = match port_text {
        None => port,
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err(format!("'{text}': expected a port from 1 to 65535, found '{port}'")),
        },
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed_and_formatted() {
        for (text, canonical, weight) in [
            ("https://example.com", "https://example.com:443", 1),
            ("https://10.0.0.1:8443/", "https://10.0.0.1:8443", 1),
            ("h2c://localhost:80;weight=7", "h2c://localhost:80", 7),
            ("http://[::1]:9;weight=1000", "http://[::1]:9", 1000),
        ] {
            let (url, read) = BackendUrl::with_weight(text).expect(text);
            assert_eq!((url.to_string().as_str(), read), (canonical, weight));
        }
    }

    #[test]
    fn an_operator_may_omit_the_scheme_but_not_the_port() {
        let url: BackendUrl = "https://Host.example:8443".parse().expect("a URL");
        for text in ["https://host.example:8443", "https://Host.example:8443/", "host.EXAMPLE:8443"]
        {
            assert!(url.is_called(text), "{text}");
        }
        for text in ["host.example", "http://host.example:8443", "host.example:844", "", "://"] {
            assert!(!url.is_called(text), "{text}");
        }
        let url: BackendUrl = "h2c://[::1]:80".parse().expect("a URL");
        assert!(
            url.is_called("[::1]:80") && url.is_called("h2c://[::1]") && !url.is_called("::1:80")
        );
    }

    #[test]
    fn the_error_of_an_invalid_url_says_what_was_expected() {
        for (text, expected) in [
            ("example.com:80", "expected https://, h2c:// or http://"),
            ("ftp://example.com", "expected https://, h2c:// or http://"),
            ("https://", "expected a host name"),
            ("https://user@host", "expected only host and port, found '@host'"),
            ("https://host/path", "expected only host and port, found '/path'"),
            ("https://host?x", "expected only host and port"),
            ("https://host:0", "expected a port from 1 to 65535"),
            ("https://host:65536", "expected a port from 1 to 65535"),
            ("https://::1", "expected an IPv6 address in brackets"),
            ("https://[::1", "expected ']'"),
            ("https://[abc]", "is not an IPv6 address"),
            ("https://a b", "expected a host name"),
            ("https://host;weight=0", "expected ';weight=N'"),
            ("https://host;weight=1001", "expected ';weight=N'"),
            ("https://host;wait=1", "expected ';weight=N'"),
        ] {
            let error = BackendUrl::with_weight(text).expect_err(text);
            assert!(error.contains(expected) && error.contains(text), "{error}");
        }
    }
}
