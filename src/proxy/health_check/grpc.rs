//! The health check of kind `grpc`: `grpc.health.v1.Health/Check` must return SERVING. Its two
//! messages have one field each, so they are encoded and decoded by hand: a library for them would
//! need a code generator.
//!
//! The protocol is "gRPC over HTTP2" and "GRPC Health Checking Protocol" in gRPC's repository; the
//! encoding is that of Protocol Buffers.

use ::http::header::{CONTENT_TYPE, TE};
use ::http::{HeaderMap, HeaderValue, Method, StatusCode};
use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;

use super::check::{Answered, Check, HealthCheckResult, Unanswered};
use super::connection::Http2;
use crate::proxy::dial::BoxedIo;
use crate::proxy::limits::HEALTH_CHECK_GRPC_BYTES_MAX;
use crate::words;

const PATH: &str = "/grpc.health.v1.Health/Check";
/// Every message has a flag for compression and a length before it.
const PREFIX: usize = 5;

words! {
    /// The gRPC status codes, in the order of their numbers.
    enum Code {
        Ok = "OK",
        Cancelled = "CANCELLED",
        Unknown = "UNKNOWN",
        InvalidArgument = "INVALID_ARGUMENT",
        DeadlineExceeded = "DEADLINE_EXCEEDED",
        NotFound = "NOT_FOUND",
        AlreadyExists = "ALREADY_EXISTS",
        PermissionDenied = "PERMISSION_DENIED",
        ResourceExhausted = "RESOURCE_EXHAUSTED",
        FailedPrecondition = "FAILED_PRECONDITION",
        Aborted = "ABORTED",
        OutOfRange = "OUT_OF_RANGE",
        Unimplemented = "UNIMPLEMENTED",
        Internal = "INTERNAL",
        Unavailable = "UNAVAILABLE",
        DataLoss = "DATA_LOSS",
        Unauthenticated = "UNAUTHENTICATED",
    }

    /// The values of `HealthCheckResponse.ServingStatus`, in the order of their numbers.
    enum Status {
        Unknown = "UNKNOWN",
        Serving = "SERVING",
        NotServing = "NOT_SERVING",
        ServiceUnknown = "SERVICE_UNKNOWN",
    }
}

/// Field 1, length-delimited: `HealthCheckRequest.service`.
const SERVICE_FIELD: u8 = 0x0a;
/// `HealthCheckResponse.status`.
const STATUS_FIELD: u64 = 1;

pub(super) async fn check(check: &Check, io: BoxedIo) -> Result<Answered, Unanswered> {
    let request = check.request(Method::POST, PATH);
    let mut request =
        request.map_err(|error| Unanswered::Failed(format!("health_check.host: {error}")))?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    check.step.set("waiting for the response");
    let connection = Http2::open(io).await?;
    let body = encode_request(&check.settings.service);
    let response = connection.send(request, Some(body)).await?;
    let (head, stream) = response.into_parts();
    let verdict = if head.status != StatusCode::OK {
        Err(format!("status {}, expected 200", head.status.as_u16()))
    } else if head.headers.contains_key("grpc-status") {
        // A response without a message has its trailers in the head.
        judge_end(&head.headers).and(Err("no message in the response".to_owned()))
    } else {
        check.step.set("waiting for the end of the response");
        let answer = read(stream).await.map_err(|error| connection.unanswered(&error))?;
        answer.and_then(|(message, trailers)| judge(&message, &trailers))
    };
    Ok(Answered { verdict, rest: Box::pin(connection.close()) })
}

/// Returns body and trailers, or what is wrong with the body.
async fn read(mut stream: RecvStream) -> Result<Result<(Bytes, HeaderMap), String>, h2::Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = stream.data().await.transpose()? {
        stream.flow_control().release_capacity(chunk.len())?;
        if body.len() + chunk.len() > HEALTH_CHECK_GRPC_BYTES_MAX {
            return Ok(Err(format!("a response of more than {HEALTH_CHECK_GRPC_BYTES_MAX} bytes")));
        }
        body.put(chunk);
    }
    let trailers = stream.trailers().await?;
    Ok(Ok((body.freeze(), trailers.unwrap_or_default())))
}

fn judge(body: &[u8], trailers: &HeaderMap) -> HealthCheckResult {
    judge_end(trailers)?;
    let status = decode_response(body)?;
    match usize::try_from(status).ok().and_then(|status| Status::ALL.get(status)) {
        Some(Status::Serving) => Ok(()),
        Some(other) => Err(other.to_string()),
        None => Err(format!("serving status {status}")),
    }
}

/// Checks `grpc-status`.
fn judge_end(trailers: &HeaderMap) -> HealthCheckResult {
    let field = |name| trailers.get(name).and_then(|value| value.to_str().ok());
    let Some(status) = field("grpc-status") else {
        return Err("no grpc-status in the response".to_owned());
    };
    match status.parse().ok().and_then(|code: usize| Code::ALL.get(code)) {
        Some(Code::Ok) => Ok(()),
        Some(Code::Unimplemented) => {
            Err("UNIMPLEMENTED: the backend has no service grpc.health.v1.Health".to_owned())
        }
        code => {
            let name = code.map_or("", |code| code.name());
            let message = field("grpc-message").unwrap_or_default();
            Err(format!("grpc-status {status} {name} {message}").trim_end().to_owned())
        }
    }
}

/// Encodes a whole body: prefix and `HealthCheckRequest`.
fn encode_request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    // A field with its default value is omitted.
    if !service.is_empty() {
        message.put_u8(SERVICE_FIELD);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut body = BytesMut::with_capacity(PREFIX + message.len());
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).expect("service names are bounded"));
    body.put(message);
    body.freeze()
}

fn put_varint(bytes: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        bytes.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.put_u8(value as u8);
}

/// Decodes a whole body: prefix and `HealthCheckResponse`. Returns the serving status; 0 if it is
/// omitted.
fn decode_response(body: &[u8]) -> Result<u64, String> {
    let wrong = || "the response is not a HealthCheckResponse".to_owned();
    let (prefix, mut message) = body.split_at_checked(PREFIX).ok_or_else(wrong)?;
    if prefix[0] != 0 {
        return Err("unsolicited compression".to_owned());
    }
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    if usize::try_from(length) != Ok(message.len()) {
        return Err(wrong());
    }
    let mut status = 0;
    while !message.is_empty() {
        let tag = take_varint(&mut message).ok_or_else(wrong)?;
        match (tag >> 3, tag & 7) {
            (STATUS_FIELD, 0) => status = take_varint(&mut message).ok_or_else(wrong)?,
            // Unknown fields of later versions are skipped by their wire type.
            (_, 0) => drop(take_varint(&mut message).ok_or_else(wrong)?),
            (_, 1) => message = message.get(8..).ok_or_else(wrong)?,
            (_, 2) => {
                let length = take_varint(&mut message).ok_or_else(wrong)?;
                let length = usize::try_from(length).map_err(|_| wrong())?;
                message = message.get(length..).ok_or_else(wrong)?;
            }
            (_, 5) => message = message.get(4..).ok_or_else(wrong)?,
            _ => return Err(wrong()),
        }
    }
    Ok(status)
}

/// Takes a varint of at most 64 bits from the front.
fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(message: &[u8]) -> Vec<u8> {
        let mut body = vec![0];
        body.extend_from_slice(&u32::try_from(message.len()).expect("short").to_be_bytes());
        body.extend_from_slice(message);
        body
    }

    fn trailers(status: &'static str, message: &'static str) -> HeaderMap {
        HeaderMap::from_iter([
            ("grpc-status".parse().expect("a name"), HeaderValue::from_static(status)),
            ("grpc-message".parse().expect("a name"), HeaderValue::from_static(message)),
        ])
    }

    #[test]
    fn a_request_names_its_service() {
        assert_eq!(encode_request(""), &[0, 0, 0, 0, 0][..]);
        assert_eq!(encode_request("a.B"), &b"\0\0\0\0\x05\x0a\x03a.B"[..]);
        let long = encode_request(&"x".repeat(200));
        assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
        assert_eq!(long.len(), 5 + 203);
    }

    #[test]
    fn only_serving_passes() {
        let ok = trailers("0", "");
        assert_eq!(judge(&body(&[0x08, 0x01]), &ok), Ok(()));
        for (message, expected) in [
            (&[][..], "UNKNOWN"),
            (&[0x08, 0x00], "UNKNOWN"),
            (&[0x08, 0x02], "NOT_SERVING"),
            (&[0x08, 0x03], "SERVICE_UNKNOWN"),
            (&[0x08, 0x80, 0x01], "serving status 128"),
        ] {
            assert_eq!(judge(&body(message), &ok), Err(expected.to_owned()), "{message:?}");
        }
    }

    #[test]
    fn fields_of_later_versions_are_skipped() {
        let message =
            [0x10, 0x80, 0x01, 0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x22, 2, 9, 9, 0x2d, 1, 2, 3, 4];
        assert_eq!(decode_response(&body(&[&message[..], &[0x08, 0x01]].concat())), Ok(1));
        assert_eq!(decode_response(&body(&[0x08, 0x02, 0x08, 0x01])), Ok(1), "the last one counts");
    }

    #[test]
    fn malformed_responses_are_refused() {
        let mut compressed = body(&[0x08, 0x01]);
        compressed[0] = 1;
        assert!(decode_response(&compressed).expect_err("compressed").contains("compression"));
        let truncated = body(&[0x08, 0x01]);
        for length in 0..truncated.len() {
            assert!(decode_response(&truncated[..length]).is_err(), "{length}");
        }
        for message in [
            &[0x08][..],
            &[0x08, 0x80],
            &[0xff; 11],
            &[0x22, 5, 1],
            &[0x22, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x19, 1],
            &[0x2d, 1],
            &[0x0b],
        ] {
            assert!(decode_response(&body(message)).is_err(), "{message:?}");
        }
    }

    #[test]
    fn grpc_status_is_the_reason_of_a_failure() {
        assert_eq!(judge_end(&trailers("0", "ignored")), Ok(()));
        for (status, message, expected) in [
            ("5", "no such service", "grpc-status 5 NOT_FOUND no such service"),
            ("14", "", "grpc-status 14 UNAVAILABLE"),
            ("99", "", "grpc-status 99"),
            ("abc", "", "grpc-status abc"),
        ] {
            assert_eq!(judge_end(&trailers(status, message)), Err(expected.to_owned()));
        }
        let unimplemented = judge_end(&trailers("12", "")).expect_err("a failure");
        assert!(unimplemented.starts_with("UNIMPLEMENTED: the backend has no"), "{unimplemented}");
        assert!(judge_end(&HeaderMap::new()).is_err());
    }
}
