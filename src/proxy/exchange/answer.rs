//! The present attempt of a request: its upload, and the response head or failure that it brings.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{HeaderMap, response};

use super::relayed::RelayedRequest;
use super::replay_body::Upload;
use super::response_body::UpstreamBody;
use super::upload;
use crate::pool::{StreamFailure, StreamToken};
use crate::proxy::limits::RESPONSE_FIELDS_MAX;
use crate::proxy::upstream::attempt::Attempt;
use crate::proxy::{headers, seams};

/// The head and body of a response, or the failure of its attempt.
pub(super) type Answer = Result<(StreamToken, response::Parts, UpstreamBody), Failure>;
/// The stream of an attempt that failed, and how.
type Failure = (StreamToken, StreamFailure);

/// The attempt that a request is on.
pub(super) struct PresentAttempt {
    stream: StreamToken,
    attempt: Attempt,
}

/// Waits for the response head of the present attempt, or its failure. Never ready without an
/// attempt.
pub(super) async fn answer(present: &mut Option<PresentAttempt>) -> Answer {
    poll_fn(|context| match present {
        None => Poll::Pending,
        Some(present) => present.poll(context),
    })
    .await
}

impl PresentAttempt {
    /// Starts an attempt, and the upload if the request has a body.
    pub(super) fn begin(
        live: &mut RelayedRequest,
        stream: StreamToken,
        mut attempt: Attempt,
    ) -> Self {
        live.upload = live.head.has_body.then(|| {
            let upload = Upload::new(Rc::clone(&live.driver), stream, Rc::clone(&live.body));
            match &mut attempt {
                Attempt::Http2(attempt) => {
                    seams::spawn_bound(upload::over_http2(upload, Rc::clone(&attempt.body)))
                }
                Attempt::Http1(attempt) => {
                    let sender = attempt.take_sender().expect("the request has a body");
                    seams::spawn_bound(upload::over_http1(upload, sender))
                }
            }
        });
        Self { stream, attempt }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        let stream = self.stream;
        match &mut self.attempt {
            Attempt::Http2(attempt) => attempt.poll_response(context).map(|result| match result {
                Ok(response) if is_malformed(response.headers()) => {
                    Err((stream, StreamFailure::Malformed))
                }
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let keep = Rc::clone(&attempt.body);
                    Ok((stream, head, UpstreamBody::http2(body, keep)))
                }
                Err(failure) => Err((stream, failure)),
            }),
            Attempt::Http1(attempt) => attempt.poll_response(context).map(|result| match result {
                Ok((head, body)) => Ok((stream, head, UpstreamBody::Http1(body))),
                Err(failure) => Err((stream, failure)),
            }),
        }
    }
}

/// True if a response over HTTP/2 with these fields is malformed although `h2` accepts it.
fn is_malformed(fields: &HeaderMap) -> bool {
    fields.len() > RESPONSE_FIELDS_MAX
        || headers::has_padded_value(fields)
        || headers::has_wrong_length(fields)
}
