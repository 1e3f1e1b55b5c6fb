//! The health check of kind `http`: a GET, and an expected status code.

use ::http::header::{CONNECTION, HOST, USER_AGENT};
use ::http::uri::{Authority, PathAndQuery};
use ::http::{HeaderValue, Method, Request, StatusCode};
use bytes::Bytes;
use h2::RecvStream;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;

use super::connection::{Http2, Kept};
use super::{AGENT, Answered, Check, HealthCheckResult, Unanswered};
use crate::proxy::dial::BoxedIo;
use crate::proxy::limits::{
    HEALTH_CHECK_BODY_BYTES_MAX, RESPONSE_FIELDS_MAX, RESPONSE_HEAD_BYTES_MAX,
};
use crate::proxy::message_guard::Guarded;
use crate::proxy::message_guard::machine::{Expected, HeadLimits, Messages};
use crate::proxy::seams::Clock;

pub(super) async fn over_http2(check: &Check, io: BoxedIo) -> Result<Answered, Unanswered> {
    let request = check.request(Method::GET, &check.settings.path);
    let wrong =
        |error| Unanswered::Failed(format!("health_check.path or health_check.host: {error}"));
    let request = request.map_err(wrong)?;
    check.step.set("waiting for the response");
    let connection = Http2::open(io).await?;
    let response = connection.send(request, None).await?;
    let verdict = judge(check, response.status());
    let rest = async move {
        read_http2(response.into_body()).await;
        connection.close().await;
    };
    Ok(Answered { verdict, rest: Box::pin(rest) })
}

pub(super) async fn over_http1(check: &Check, io: BoxedIo) -> Result<Answered, Unanswered> {
    let failed = |error: String| Unanswered::Failed(format!("HTTP/1.1: {error}"));
    let request = http1_request(check).map_err(Unanswered::Failed)?;
    check.step.set("waiting for the response");
    let limits = HeadLimits { bytes: RESPONSE_HEAD_BYTES_MAX, fields: RESPONSE_FIELDS_MAX };
    let (guarded, facts) = Guarded::new(io, Messages::Responses, limits, Clock::start());
    facts.expect(Expected::Other);
    let handshake = Builder::new()
        .max_headers(RESPONSE_FIELDS_MAX)
        .max_header_size(RESPONSE_HEAD_BYTES_MAX as usize)
        .max_buf_size(2 * RESPONSE_HEAD_BYTES_MAX as usize)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(guarded));
    let (mut sender, connection) = handshake.await.map_err(|error| failed(error.to_string()))?;
    let kept = Kept::spawn(async move {
        // The response future reports the error.
        let _ = connection.await;
    });
    let response = sender.send_request(request).await.map_err(|error| {
        let violation = facts.violation.get().map(|violation| violation.to_string());
        failed(violation.unwrap_or_else(|| error.to_string()))
    })?;
    let verdict = judge(check, response.status());
    let rest = async move {
        read_http1(response.into_body()).await;
        drop(sender);
        kept.ended().await;
    };
    Ok(Answered { verdict, rest: Box::pin(rest) })
}

fn http1_request(check: &Check) -> Result<Request<Empty<Bytes>>, String> {
    let path: PathAndQuery = check
        .settings
        .path
        .parse()
        .map_err(|error| format!("health_check.path '{}': {error}", check.settings.path))?;
    let authority = check.authority();
    let parsed: Result<Authority, _> = authority.parse();
    let host = parsed.ok().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    let host = host.ok_or_else(|| format!("health_check.host '{authority}': not a host"))?;
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = path.into();
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, AGENT);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

fn judge(check: &Check, status: StatusCode) -> HealthCheckResult {
    let expected = &check.settings.statuses;
    if expected.contains(status.as_u16()) {
        return Ok(());
    }
    Err(format!("status {}, expected {expected}", status.as_u16()))
}

async fn read_http2(mut body: RecvStream) {
    let mut read = 0;
    while read <= HEALTH_CHECK_BODY_BYTES_MAX
        && let Some(Ok(chunk)) = body.data().await
    {
        // It fails only if the stream is gone, which ends the loop.
        let _ = body.flow_control().release_capacity(chunk.len());
        read += chunk.len();
    }
}

async fn read_http1(mut body: Incoming) {
    let mut read = 0;
    while read <= HEALTH_CHECK_BODY_BYTES_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        read += frame.data_ref().map_or(0, Bytes::len);
    }
}
