use crate::ext::Protocol;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use std::fmt;

/// HTTP/2 Header
#[derive(Debug, Clone, Eq, PartialEq)]
pub enum Header<T = HeaderName> {
    Field {
        name: T,
        value: HeaderValue,
    },
    // TODO: Change these types to `http::uri` types.
    Authority(BytesStr),
    Method(Method),
    Scheme(BytesStr),
    Path(BytesStr),
    Protocol(Protocol),
    Status(StatusCode),
    /// A field that no message may have. It was decoded right, so it has its
    /// place in the dynamic table; only the message that has it is malformed.
    Malformed {
        name: Bytes,
        value: Bytes,
    },
}

/// A `Header` that is borrowed, from the message that is encoded.
#[derive(Debug, Clone, Copy)]
pub enum HeaderRef<'a> {
    Field {
        name: &'a HeaderName,
        value: &'a HeaderValue,
    },
    Authority(&'a BytesStr),
    Method(&'a Method),
    Scheme(&'a BytesStr),
    Path(&'a BytesStr),
    Protocol(&'a Protocol),
    Status(&'a StatusCode),
    Malformed {
        name: &'a Bytes,
        value: &'a Bytes,
    },
}

/// The header field name
#[derive(Debug, Clone, Eq, PartialEq, Hash)]
pub enum Name<'a> {
    Field(&'a HeaderName),
    Authority,
    Method,
    Scheme,
    Path,
    Protocol,
    Status,
    /// The name of a malformed field, which may itself be right.
    Malformed(&'a Bytes),
}

#[doc(hidden)]
#[derive(Clone, Eq, PartialEq, Default)]
pub struct BytesStr(Bytes);

pub fn len(name: &HeaderName, value: &HeaderValue) -> usize {
    let n: &str = name.as_ref();
    32 + n.len() + value.len()
}

#[cfg(test)]
impl Header<Option<HeaderName>> {
    pub fn reify(self) -> Result<Header, HeaderValue> {
        use self::Header::*;

        Ok(match self {
            Field {
                name: Some(n),
                value,
            } => Field { name: n, value },
            Field { name: None, value } => return Err(value),
            Authority(v) => Authority(v),
            Method(v) => Method(v),
            Scheme(v) => Scheme(v),
            Path(v) => Path(v),
            Protocol(v) => Protocol(v),
            Status(v) => Status(v),
            Malformed { name, value } => Malformed { name, value },
        })
    }
}

impl Header {
    /// The header of a decoded name and value. They come from the peer, and
    /// the decoder has to go on whatever they are: see `Header::Malformed`.
    pub fn new(name: &[u8], value: &[u8]) -> Header {
        Header::well_formed(name, value).unwrap_or_else(|| Header::Malformed {
            name: Bytes::copy_from_slice(name),
            value: Bytes::copy_from_slice(value),
        })
    }

    fn well_formed(name: &[u8], value: &[u8]) -> Option<Header> {
        let string = || std::str::from_utf8(value).ok();
        match name {
            b":authority" => string().map(BytesStr::from).map(Header::Authority),
            b":method" => Method::from_bytes(value).ok().map(Header::Method),
            b":scheme" => string().map(BytesStr::from).map(Header::Scheme),
            b":path" => string().map(BytesStr::from).map(Header::Path),
            b":protocol" => string().map(Protocol::from).map(Header::Protocol),
            b":status" => StatusCode::from_bytes(value).ok().map(Header::Status),
            // An unknown pseudo-header field, or a name without a character.
            [] | [b':', ..] => None,
            // HTTP/2 requires lower case header names.
            name => Some(Header::Field {
                name: HeaderName::from_lowercase(name).ok()?,
                value: HeaderValue::from_bytes(value).ok()?,
            }),
        }
    }

    /// The same, borrowed
    pub fn borrow(&self) -> HeaderRef<'_> {
        match *self {
            Header::Field {
                ref name,
                ref value,
            } => HeaderRef::Field { name, value },
            Header::Authority(ref v) => HeaderRef::Authority(v),
            Header::Method(ref v) => HeaderRef::Method(v),
            Header::Scheme(ref v) => HeaderRef::Scheme(v),
            Header::Path(ref v) => HeaderRef::Path(v),
            Header::Protocol(ref v) => HeaderRef::Protocol(v),
            Header::Status(ref v) => HeaderRef::Status(v),
            Header::Malformed {
                ref name,
                ref value,
            } => HeaderRef::Malformed { name, value },
        }
    }

    pub fn len(&self) -> usize {
        self.borrow().len()
    }

    /// Returns the header name
    pub fn name(&self) -> Name<'_> {
        self.borrow().name()
    }

    pub fn value_slice(&self) -> &[u8] {
        self.borrow().value_slice()
    }
}

impl<'a> HeaderRef<'a> {
    pub fn to_owned(self) -> Header {
        match self {
            HeaderRef::Field { name, value } => Header::Field {
                name: name.clone(),
                value: value.clone(),
            },
            HeaderRef::Authority(v) => Header::Authority(v.clone()),
            HeaderRef::Method(v) => Header::Method(v.clone()),
            HeaderRef::Scheme(v) => Header::Scheme(v.clone()),
            HeaderRef::Path(v) => Header::Path(v.clone()),
            HeaderRef::Protocol(v) => Header::Protocol(v.clone()),
            HeaderRef::Status(v) => Header::Status(*v),
            HeaderRef::Malformed { name, value } => Header::Malformed {
                name: name.clone(),
                value: value.clone(),
            },
        }
    }

    pub fn len(self) -> usize {
        match self {
            HeaderRef::Field { name, value } => len(name, value),
            HeaderRef::Authority(v) => 32 + 10 + v.len(),
            HeaderRef::Method(v) => 32 + 7 + v.as_ref().len(),
            HeaderRef::Scheme(v) => 32 + 7 + v.len(),
            HeaderRef::Path(v) => 32 + 5 + v.len(),
            HeaderRef::Protocol(v) => 32 + 9 + v.as_str().len(),
            HeaderRef::Status(_) => 32 + 7 + 3,
            HeaderRef::Malformed { name, value } => 32 + name.len() + value.len(),
        }
    }

    /// Returns the header name
    pub fn name(self) -> Name<'a> {
        match self {
            HeaderRef::Field { name, .. } => Name::Field(name),
            HeaderRef::Authority(..) => Name::Authority,
            HeaderRef::Method(..) => Name::Method,
            HeaderRef::Scheme(..) => Name::Scheme,
            HeaderRef::Path(..) => Name::Path,
            HeaderRef::Protocol(..) => Name::Protocol,
            HeaderRef::Status(..) => Name::Status,
            HeaderRef::Malformed { name, .. } => Name::Malformed(name),
        }
    }

    pub fn value_slice(self) -> &'a [u8] {
        match self {
            HeaderRef::Field { value, .. } => value.as_ref(),
            HeaderRef::Authority(v) => v.as_ref(),
            HeaderRef::Method(v) => v.as_ref().as_ref(),
            HeaderRef::Scheme(v) => v.as_ref(),
            HeaderRef::Path(v) => v.as_ref(),
            HeaderRef::Protocol(v) => v.as_ref(),
            HeaderRef::Status(v) => v.as_str().as_ref(),
            HeaderRef::Malformed { value, .. } => value,
        }
    }

    pub fn is_sensitive(self) -> bool {
        match self {
            HeaderRef::Field { value, .. } => value.is_sensitive(),
            // TODO: Technically these other header values can be sensitive too.
            _ => false,
        }
    }

    pub fn skip_value_index(self) -> bool {
        use http::header;

        match self {
            HeaderRef::Field { name, .. } => matches!(
                *name,
                header::AGE
                    | header::AUTHORIZATION
                    | header::CONTENT_LENGTH
                    | header::ETAG
                    | header::IF_MODIFIED_SINCE
                    | header::IF_NONE_MATCH
                    | header::LOCATION
                    | header::COOKIE
                    | header::SET_COOKIE
            ),
            HeaderRef::Path(..) => true,
            _ => false,
        }
    }
}

/// The headers as the encoder takes them: one without a name has the name of
/// the one before.
#[cfg(any(test, fuzzing))]
pub(crate) fn borrow_all(headers: &[Header<Option<HeaderName>>]) -> Vec<HeaderRef<'_>> {
    let mut last = None;
    headers
        .iter()
        .map(|header| match *header {
            Header::Field {
                ref name,
                ref value,
            } => {
                last = name.as_ref().or(last);
                HeaderRef::Field {
                    name: last.expect("a header without name has one before"),
                    value,
                }
            }
            Header::Authority(ref v) => HeaderRef::Authority(v),
            Header::Method(ref v) => HeaderRef::Method(v),
            Header::Scheme(ref v) => HeaderRef::Scheme(v),
            Header::Path(ref v) => HeaderRef::Path(v),
            Header::Protocol(ref v) => HeaderRef::Protocol(v),
            Header::Status(ref v) => HeaderRef::Status(v),
            Header::Malformed {
                ref name,
                ref value,
            } => HeaderRef::Malformed { name, value },
        })
        .collect()
}

// Mostly for tests
impl From<Header> for Header<Option<HeaderName>> {
    fn from(src: Header) -> Self {
        match src {
            Header::Field { name, value } => Header::Field {
                name: Some(name),
                value,
            },
            Header::Authority(v) => Header::Authority(v),
            Header::Method(v) => Header::Method(v),
            Header::Scheme(v) => Header::Scheme(v),
            Header::Path(v) => Header::Path(v),
            Header::Protocol(v) => Header::Protocol(v),
            Header::Status(v) => Header::Status(v),
            Header::Malformed { name, value } => Header::Malformed { name, value },
        }
    }
}

impl<'a> Name<'a> {
    /// The header of this name and a decoded value.
    pub fn into_entry(self, value: &[u8]) -> Header {
        if let Name::Field(name) = self {
            // The name was checked when it entered the table.
            if let Ok(value) = HeaderValue::from_bytes(value) {
                return Header::Field {
                    name: name.clone(),
                    value,
                };
            }
        }
        // That of a malformed field may be right, and the value that came with
        // it wrong.
        Header::new(self.as_slice(), value)
    }

    pub fn as_slice(&self) -> &[u8] {
        match *self {
            Name::Field(ref name) => name.as_ref(),
            Name::Authority => b":authority",
            Name::Method => b":method",
            Name::Scheme => b":scheme",
            Name::Path => b":path",
            Name::Protocol => b":protocol",
            Name::Status => b":status",
            Name::Malformed(name) => name,
        }
    }
}

// ===== impl BytesStr =====

impl BytesStr {
    pub(crate) const fn from_static(value: &'static str) -> Self {
        BytesStr(Bytes::from_static(value.as_bytes()))
    }

    pub(crate) fn from(value: &str) -> Self {
        BytesStr(Bytes::copy_from_slice(value.as_bytes()))
    }

    pub(crate) fn as_str(&self) -> &str {
        // Safety: check valid utf-8 in constructor
        unsafe { std::str::from_utf8_unchecked(self.0.as_ref()) }
    }

    pub(crate) fn into_inner(self) -> Bytes {
        self.0
    }
}

impl std::ops::Deref for BytesStr {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<[u8]> for BytesStr {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl fmt::Debug for BytesStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
