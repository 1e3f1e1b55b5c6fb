//! The health check of kind `http`: a GET, and an expected status code.

use ::http::uri::{Authority, PathAndQuery};
use ::http::{Method, StatusCode};
use bytes::BytesMut;
use h2::RecvStream;
use tokio::io::AsyncWriteExt as _;

use super::check::{AGENT, Answered, Check, HealthCheckResult, Unanswered};
use super::connection::Http2;
use crate::proxy::dial::BoxedIo;
use crate::proxy::http1_io::next_event;
use crate::proxy::limits::{
    HEALTH_CHECK_BODY_BYTES_MAX, RESPONSE_FIELDS_MAX, RESPONSE_HEAD_BYTES_MAX,
};
use crate::wire::http1::{self, Decoder, Event, Expected, HeadLimits, Role};

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

pub(super) async fn over_http1(check: &Check, mut io: BoxedIo) -> Result<Answered, Unanswered> {
    let request = http1_request(check).map_err(Unanswered::Failed)?;
    check.step.set("waiting for the response");
    let limits = HeadLimits { bytes: RESPONSE_HEAD_BYTES_MAX, fields: RESPONSE_FIELDS_MAX };
    let mut decoder = Decoder::new(Role::Client, limits);
    decoder.expect(Expected::Other);
    let status = respond(&mut io, &request, &mut decoder).await;
    let status = status.map_err(|error| Unanswered::Failed(format!("HTTP/1.1: {error}")))?;
    let verdict = judge(check, status);
    let rest = async move {
        read_http1(&mut io, &mut decoder).await;
        // The backend may have left.
        let _ = io.shutdown().await;
    };
    Ok(Answered { verdict, rest: Box::pin(rest) })
}

/// Sends a request. Returns the status of the final response.
async fn respond(
    io: &mut BoxedIo,
    request: &[u8],
    decoder: &mut Decoder,
) -> Result<StatusCode, String> {
    // A backend that closes at once may have responded.
    let written = async {
        io.write_all(request).await?;
        io.flush().await
    };
    let written = written.await;
    loop {
        match next_event(decoder, io).await {
            Ok(Event::Head) => break,
            Ok(_) => {}
            Err(error) => return Err(written.err().map_or(error, |error| error.to_string())),
        }
    }
    let status = decoder.head().status();
    StatusCode::from_u16(status).map_err(|_| format!("status {status:03} has no meaning"))
}

fn http1_request(check: &Check) -> Result<BytesMut, String> {
    let path: PathAndQuery = check
        .settings
        .path
        .parse()
        .map_err(|error| format!("health_check.path '{}': {error}", check.settings.path))?;
    let authority = check.authority();
    let parsed: Result<Authority, _> = authority.parse();
    let host = parsed.map_err(|_| format!("health_check.host '{authority}': not a host"))?;
    let agent = AGENT;
    let fields = [
        ("host", host.as_str().as_bytes()),
        ("user-agent", agent.as_bytes()),
        ("connection", b"close"),
    ];
    let fields = fields.iter().map(|(name, value)| (name.as_bytes(), *value));
    let mut request = BytesMut::new();
    http1::request_head(&mut request, b"GET", path.as_str().as_bytes(), fields);
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

async fn read_http1(io: &mut BoxedIo, decoder: &mut Decoder) {
    let mut read = 0;
    while read <= HEALTH_CHECK_BODY_BYTES_MAX {
        match next_event(decoder, io).await {
            Ok(Event::Data(data)) => read += data.len(),
            Ok(Event::End) | Err(_) => return,
            Ok(_) => {}
        }
    }
}
