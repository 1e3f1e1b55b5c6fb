//! Requests that carry an order. Pages in a browser are refused, the body is ignored, and the query
//! has the parameters.

use std::future::poll_fn;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::reply::Refused;
use crate::config::value::{Field, Kind};
use crate::proxy::http1_server::Broken;
use crate::proxy::limits::{ADMIN_BODY_BYTES_MAX, ADMIN_READ_TIMEOUT};
use crate::proxy::request_body::RequestBody;
use crate::proxy::seams;

/// Parameters of an order, each at most once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Parses a query of the form `name=value&name=value`, percent-encoded. An error is one line.
    pub(super) fn read(query: &str, known: &[&str]) -> Result<Self, String> {
        let mut read: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !known.contains(&&*name) {
                let expected = if known.is_empty() {
                    "no parameters".to_owned()
                } else {
                    format!("only {}", known.join(", "))
                };
                return Err(format!("unknown parameter '{name}'; expected {expected}"));
            }
            if read.iter().any(|(other, _)| *other == *name) {
                return Err(format!("parameter '{name}' occurs twice; expected it once"));
            }
            read.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(read))
    }

    /// The value of a parameter, if it is given.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The value of a parameter of a given kind, if it is given. An error is one line.
    pub(super) fn get_as<T: Field>(&self, name: &str, kind: Kind) -> Result<Option<T>, String> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let value = kind.read_text(text).map(|value| Some(T::from_value(value)));
        value.map_err(|expected| format!("parameter '{name}': '{text}'; {expected}"))
    }
}

/// Admits a request that changes something, and discards its body.
pub(super) async fn admit(head: &Parts, body: RequestBody) -> Result<(), Refused> {
    if is_from_a_page(&head.headers) {
        let text = "refused: sent by a page in a browser; expected a request without 'Origin'";
        return Err((StatusCode::FORBIDDEN, text.to_owned()));
    }
    match seams::timeout(ADMIN_READ_TIMEOUT, length(body)).await {
        Ok(Ok(length)) if length > ADMIN_BODY_BYTES_MAX => {
            let most = ADMIN_BODY_BYTES_MAX;
            let text = format!("the body is too long; expected none, or at most {most} bytes");
            Err((StatusCode::PAYLOAD_TOO_LARGE, text))
        }
        Ok(Ok(_)) => Ok(()),
        Ok(Err(Broken)) => Err((StatusCode::BAD_REQUEST, "the body cannot be read".to_owned())),
        Err(_) => {
            let text = format!("the body did not end within {ADMIN_READ_TIMEOUT:?}");
            Err((StatusCode::REQUEST_TIMEOUT, text))
        }
    }
}

/// Reads a body to its end, or until it is too long. Returns the bytes read.
async fn length(mut body: RequestBody) -> Result<usize, Broken> {
    let mut length = 0;
    while length <= ADMIN_BODY_BYTES_MAX
        && let Some(frame) = poll_fn(|context| body.poll_frame(context)).await
    {
        length += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(length)
}

/// True if a browser sent the request for a page. Any page that a user opens can send requests to
/// loopback, though it cannot read the responses (Fetch, 3.2 and 4.6).
fn is_from_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key("origin") || headers.contains_key("sec-fetch-site")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_must_be_known_and_unique() {
        let known = ["backend", "weight"];
        let read = Parameters::read("backend=https%3A%2F%2Fa%3A1&weight=", &known).expect("good");
        let expected = [("backend", "https://a:1"), ("weight", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read, Parameters(expected.to_vec()));
        assert_eq!(Parameters::read("", &known), Ok(Parameters::default()));
        let wrong = |query| Parameters::read(query, &known).expect_err("wrong");
        assert_eq!(wrong("wait=1"), "unknown parameter 'wait'; expected only backend, weight");
        assert_eq!(wrong("weight=1&weight=1"), "parameter 'weight' occurs twice; expected it once");
        let none = Parameters::read("x", &[]).expect_err("wrong");
        assert_eq!(none, "unknown parameter 'x'; expected no parameters");
    }
}
