//! Requests that carry an order. Pages in a browser are refused, the body is ignored, and the query
//! has the parameters.

use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::reply::{self, Reply};
use crate::proxy::limits::{ADMIN_BODY_BYTES_MAX, ADMIN_READ_TIMEOUT};
use crate::proxy::seams;

/// Parameters of an order, each at most once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Parses a query of the form `name=value&name=value`, percent-encoded. An error is one line.
    fn read(query: &str, known: &[&str]) -> Result<Self, String> {
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
}

/// Reads an order's parameters and discards its body. An error is the reply.
pub(super) async fn accept(
    head: &Parts,
    body: Incoming,
    known: &[&str],
) -> Result<Parameters, Reply> {
    if is_from_a_page(&head.headers) {
        let text = "refused: sent by a page in a browser; expected a request without 'Origin'";
        return Err(reply::error(StatusCode::FORBIDDEN, text));
    }
    match seams::timeout(ADMIN_READ_TIMEOUT, skip(body)).await {
        Ok(Ok(())) => {}
        Ok(Err(reply)) => return Err(reply),
        Err(_) => {
            let text = format!("the body did not end within {ADMIN_READ_TIMEOUT:?}");
            return Err(reply::error(StatusCode::REQUEST_TIMEOUT, &text));
        }
    }
    parameters(head, known).map_err(|what| reply::error(StatusCode::BAD_REQUEST, &what))
}

/// Reads the parameters of a request. An error is one line.
pub(super) fn parameters(head: &Parts, known: &[&str]) -> Result<Parameters, String> {
    Parameters::read(head.uri.query().unwrap_or_default(), known)
}

/// True if a browser sent the request for a page. Any page that a user opens can send requests to
/// loopback, though it cannot read the answers (Fetch, 3.2 and 4.6).
fn is_from_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key("origin") || headers.contains_key("sec-fetch-site")
}

async fn skip(mut body: Incoming) -> Result<(), Reply> {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            let text = "the body cannot be read";
            return Err(reply::error(StatusCode::BAD_REQUEST, text));
        };
        read += frame.data_ref().map_or(0, bytes::Bytes::len);
        if read > ADMIN_BODY_BYTES_MAX {
            let most = ADMIN_BODY_BYTES_MAX;
            let text = format!("the body is too long; expected none, or at most {most} bytes");
            return Err(reply::error(StatusCode::PAYLOAD_TOO_LARGE, &text));
        }
    }
    Ok(())
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
