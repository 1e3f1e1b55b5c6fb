//! Cases in which Baton breaks the rule. `docs/conformance.md` lists them. A case whose fault is
//! mended belongs into the table of its subject.

use super::{Case, HEAD, Outcome, case, denied, passes, refused};

pub(super) const CASES: &[Case] = &[
    refused(
        "a fragment, which is dropped",
        "RFC 9112, 3.2",
        "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n",
        HEAD,
    ),
    refused(
        "a fragment of an absolute target, which is dropped",
        "RFC 9112, 3.2",
        "GET http://b/a#b HTTP/1.1\r\nhost: b\r\n\r\n",
        HEAD,
    ),
    denied(
        "a host with a port that is no number",
        "RFC 9112, 3.2",
        "GET /a HTTP/1.1\r\nhost: a:b\r\n\r\n",
    ),
    denied("a host without a name", "RFC 9110, 4.2.1", "GET /a HTTP/1.1\r\nhost: :80\r\n\r\n"),
    denied("an absolute target without Host", "RFC 9112, 3.2", "GET http://b/a HTTP/1.1\r\n\r\n"),
    denied(
        "a scheme that is not HTTP",
        "RFC 9110, 7.4",
        "GET ftp://b/a HTTP/1.1\r\nhost: b\r\n\r\n",
    ),
    passes(
        "OPTIONS with an absolute target without a path",
        "RFC 9112, 3.2.4",
        "OPTIONS http://b HTTP/1.1\r\nhost: b\r\n\r\n",
        &["OPTIONS * b none "],
    ),
    case(
        "OPTIONS with Max-Forwards: 0, which Baton must answer",
        "RFC 9110, 7.6.2",
        "OPTIONS /a HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\n\r\n",
        Outcome::Denied(200),
    ),
    passes(
        "a trailer that Connection of the head names",
        "RFC 9110, 7.6.1",
        "POST /a HTTP/1.1\r\nhost: a\r\nconnection: x\r\ntransfer-encoding: chunked\r\n\r\n\
         1\r\na\r\n0\r\nx: 1\r\ny: 2\r\n\r\n",
        &["POST /a a chunked a +y: 2"],
    ),
];
