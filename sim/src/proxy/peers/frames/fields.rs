//! The fields of a head or of trailers, and what RFC 9113 demands of them (8.2 and 8.3).

use super::fault::Fault;

/// The fields of a head or of trailers, pseudo-header fields included, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<(Vec<u8>, Vec<u8>)>);

/// The message section that fields belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// The head of a request.
    Request,
    /// The head of a response, final or not.
    Response,
    /// Trailers of either.
    Trailers,
}

/// Fields that HTTP/2 does not have (RFC 9113, 8.2.2).
const CONNECTION_SPECIFIC: [&str; 5] =
    ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"];

impl Fields {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(super) fn from_list(list: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        Self(list)
    }

    /// Adds a field at the end.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.0.push((name.as_bytes().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// The value of the first field with this name, if it is text.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The values of all fields with this name that are text.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.0.iter().filter(move |(own, _)| own == name.as_bytes());
        named.filter_map(|(_, value)| std::str::from_utf8(value).ok())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Vec<u8>, Vec<u8>)> {
        self.0.iter()
    }

    /// The status of a response; `None` if there is no valid one.
    pub(crate) fn status(&self) -> Option<u16> {
        let status = self.get(":status").filter(|status| status.len() == 3)?;
        status.parse().ok().filter(|status| (100..600).contains(status))
    }

    /// The length that the fields state.
    pub(crate) fn content_length(&self) -> Result<Option<u64>, Fault> {
        let mut stated = None;
        for value in self.0.iter().filter(|(name, _)| name == b"content-length") {
            let text = String::from_utf8_lossy(&value.1);
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let length = text.parse().ok().filter(|_| digits);
            let length: u64 = length
                .ok_or_else(|| Fault::protocol(format!("content-length that is {text:?}")))?;
            if stated.is_some_and(|stated| stated != length) {
                return Err(Fault::protocol("two content-lengths"));
            }
            stated = Some(length);
        }
        Ok(stated)
    }

    /// Checks everything that RFC 9113 demands of the fields themselves.
    pub(crate) fn check(&self, section: Section) -> Result<(), Fault> {
        let mut regular = false;
        for (name, value) in &self.0 {
            let shown = String::from_utf8_lossy(name);
            let fault = |what: &str| Err(Fault::protocol(format!("field {shown:?}: {what}")));
            if let Some(pseudo) = name.strip_prefix(b":") {
                if regular {
                    return fault("a pseudo-header field after a regular field");
                }
                let known: &[&[u8]] = match section {
                    Section::Request => &[b"method", b"scheme", b"path", b"authority"],
                    Section::Response => &[b"status"],
                    Section::Trailers => &[],
                };
                if !known.contains(&pseudo) {
                    return fault("a pseudo-header field that may not be here");
                }
                if self.0.iter().filter(|(other, _)| other == name).count() > 1 {
                    return fault("twice");
                }
            } else {
                regular = true;
                check_name(name).or_else(fault)?;
            }
            check_value(value).or_else(fault)?;
            if CONNECTION_SPECIFIC.iter().any(|specific| specific.as_bytes() == name) {
                return fault("connection-specific");
            }
            if name == b"te" && value != b"trailers" {
                return fault("another value than \"trailers\"");
            }
        }
        self.content_length()?;
        match section {
            Section::Request => self.check_request(),
            Section::Response if self.status().is_none() => {
                Err(Fault::protocol("a response without a valid :status"))
            }
            Section::Response | Section::Trailers => Ok(()),
        }
    }

    fn check_request(&self) -> Result<(), Fault> {
        let text = |name: &str| self.get(name).filter(|value| !value.is_empty());
        let method = text(":method").ok_or_else(|| Fault::protocol("a request without :method"))?;
        text(":scheme").ok_or_else(|| Fault::protocol("a request without :scheme"))?;
        let path = text(":path").ok_or_else(|| Fault::protocol("a request without :path"))?;
        if !(path.starts_with('/') || path == "*" && method == "OPTIONS") {
            return Err(Fault::protocol(format!("a :path that is {path:?}")));
        }
        let authority = self.get(":authority");
        if authority.is_some_and(|authority| authority.is_empty() || authority.contains('@')) {
            return Err(Fault::protocol(format!("an :authority that is {authority:?}")));
        }
        if let (Some(authority), Some(host)) = (authority, self.get("host"))
            && authority != host
        {
            return Err(Fault::protocol(format!(":authority {authority:?} but host {host:?}")));
        }
        if authority.is_none() && self.get("host").is_none() {
            return Err(Fault::protocol("a request without :authority and without host"));
        }
        Ok(())
    }
}

/// RFC 9113, 8.2.1, and the syntax of a token (RFC 9110, 5.6.2).
fn check_name(name: &[u8]) -> Result<(), &'static str> {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if name.is_empty() || !name.iter().all(token) {
        return Err("not a name");
    }
    if name.iter().any(u8::is_ascii_uppercase) {
        return Err("an uppercase name");
    }
    Ok(())
}

/// RFC 9113, 8.2.1.
fn check_value(value: &[u8]) -> Result<(), &'static str> {
    if value.iter().any(|byte| [0, b'\r', b'\n'].contains(byte)) {
        return Err("a value with NUL, CR or LF");
    }
    let blank = |byte: Option<&u8>| byte.is_some_and(|byte| [b' ', b'\t'].contains(byte));
    if blank(value.first()) || blank(value.last()) {
        return Err("a value that begins or ends with white space");
    }
    Ok(())
}
