//! The request line and the field lines.

use super::{Case, HEAD, Outcome, case, passes, refused};

/// A GET whose lines between the request line and the empty line are these bytes.
macro_rules! get {
    ($lines:literal) => {
        concat!("GET /a HTTP/1.1\r\nhost: a\r\n", $lines, "\r\n")
    };
}

const SEEN: &[&str] = &["GET /a a none "];
/// RFC 9112, 2.2 lets a recipient take a bare LF for the end of a line.
const BARE_LF: &str = "RFC 9112, 2.2; stricter than the rule";

pub(super) const CASES: &[Case] = &[
    refused("LF at the end of every line", BARE_LF, "GET /a HTTP/1.1\nhost: a\n\n", HEAD),
    refused("LF behind the request line", BARE_LF, "GET /a HTTP/1.1\nhost: a\r\n\r\n", HEAD),
    refused("LF behind a field line", BARE_LF, get!("x: y\nz: 1\r\n"), HEAD),
    refused("LF as the empty line", BARE_LF, "GET /a HTTP/1.1\r\nhost: a\r\n\n", HEAD),
    refused("LF LF within a head", BARE_LF, get!("x: y\n\n"), HEAD),
    refused("LF before the request line", BARE_LF, "\nGET /a HTTP/1.1\r\nhost: a\r\n\r\n", HEAD),
    refused("CR within a value", "RFC 9112, 2.2", get!("x: y\rz\r\n"), HEAD),
    refused("CR before CRLF", "RFC 9112, 2.2", get!("x: y\r\r\n"), HEAD),
    refused("CR within a name", "RFC 9112, 2.2", get!("x\ry: z\r\n"), HEAD),
    refused("CR at the start of a line", "RFC 9112, 2.2", get!("\rx: y\r\n"), HEAD),
    refused("LF CR instead of CRLF", "RFC 9112, 2.2", get!("x: y\n\rz: 1\r\n"), HEAD),
    refused(
        "CR in the request line",
        "RFC 9112, 2.2",
        "GET /a\rb HTTP/1.1\r\nhost: a\r\n\r\n",
        HEAD,
    ),
    refused(
        "CR behind the request line",
        "RFC 9112, 2.2",
        "GET /a HTTP/1.1\rhost: a\r\n\r\n",
        HEAD,
    ),
    refused("NUL within a value", "RFC 9110, 5.5", get!("x: y\0z\r\n"), HEAD),
    refused("NUL within a name", "RFC 9110, 5.1", get!("x\0y: z\r\n"), HEAD),
    refused("NUL in the target", "RFC 9112, 3.2", "GET /a\0 HTTP/1.1\r\nhost: a\r\n\r\n", HEAD),
    refused("a control character in a value", "RFC 9110, 5.5", get!("x: \u{1}\r\n"), HEAD),
    refused("DEL in a value", "RFC 9110, 5.5", get!("x: \u{7f}\r\n"), HEAD),
    refused("a folded line", "RFC 9112, 5.2", get!("x: y\r\n z\r\n"), HEAD),
    refused("a line folded with a tab", "RFC 9112, 5.2", get!("x: y\r\n\tz\r\n"), HEAD),
    refused("a folded line that is empty", "RFC 9112, 5.2", get!("x: y\r\n \r\n"), HEAD),
    refused(
        "a space before the first field",
        "RFC 9112, 2.2",
        "GET /a HTTP/1.1\r\n host: a\r\n\r\n",
        HEAD,
    ),
    refused(
        "a tab before the first field",
        "RFC 9112, 2.2",
        "GET /a HTTP/1.1\r\n\thost: a\r\n\r\n",
        HEAD,
    ),
    refused("a space before a colon", "RFC 9112, 5.1", "GET /a HTTP/1.1\r\nhost : a\r\n\r\n", HEAD),
    refused("no name", "RFC 9110, 5.1", get!(": y\r\n"), HEAD),
    refused("no colon", "RFC 9112, 5", get!("x\r\n"), HEAD),
    refused("a space within a name", "RFC 9110, 5.1", get!("x y: z\r\n"), HEAD),
    refused("a bracket within a name", "RFC 9110, 5.1", get!("x[0]: z\r\n"), HEAD),
    refused(
        "a request line among the fields",
        "RFC 9112, 5",
        get!("GET /smuggled HTTP/1.1\r\nhost: a\r\n"),
        HEAD,
    ),
    refused(
        "two spaces before the target",
        "RFC 9112, 3",
        "GET  /a HTTP/1.1\r\nhost: a\r\n\r\n",
        HEAD,
    ),
    refused(
        "two spaces behind the target",
        "RFC 9112, 3",
        "GET /a  HTTP/1.1\r\nhost: a\r\n\r\n",
        HEAD,
    ),
    refused("a tab before the target", "RFC 9112, 3", "GET\t/a HTTP/1.1\r\nhost: a\r\n\r\n", HEAD),
    refused("a tab behind the target", "RFC 9112, 3", "GET /a\tHTTP/1.1\r\nhost: a\r\n\r\n", HEAD),
    refused(
        "a space behind the version",
        "RFC 9112, 3",
        "GET /a HTTP/1.1 \r\nhost: a\r\n\r\n",
        HEAD,
    ),
    refused(
        "a space before the method",
        "RFC 9112, 3",
        " GET /a HTTP/1.1\r\nhost: a\r\n\r\n",
        HEAD,
    ),
    refused(
        "a space within the target",
        "RFC 9112, 3.2",
        "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
        HEAD,
    ),
    refused("no target", "RFC 9112, 3", "GET HTTP/1.1\r\nhost: a\r\n\r\n", HEAD),
    refused("an empty target", "RFC 9112, 3.2", "GET  HTTP/1.1\r\nhost: a\r\n\r\n", HEAD),
    refused("no method", "RFC 9112, 3", "/a HTTP/1.1\r\nhost: a\r\n\r\n", HEAD),
    refused("HTTP/0.9", "RFC 9112, 2.2", "GET /a\r\n", HEAD),
    refused("the version HTTP/0.9", "RFC 9112, 2.3", "GET /a HTTP/0.9\r\nhost: a\r\n\r\n", HEAD),
    refused("the version HTTP/2.0", "RFC 9112, 2.3", "GET /a HTTP/2.0\r\nhost: a\r\n\r\n", HEAD),
    refused(
        "the version HTTP/1.2",
        "RFC 9110, 6.2; stricter than the rule",
        "GET /a HTTP/1.2\r\nhost: a\r\n\r\n",
        HEAD,
    ),
    refused("the version HTTP/1.10", "RFC 9112, 2.3", "GET /a HTTP/1.10\r\nhost: a\r\n\r\n", HEAD),
    refused("the version HTTP/01.1", "RFC 9112, 2.3", "GET /a HTTP/01.1\r\nhost: a\r\n\r\n", HEAD),
    refused("the version HTTP/1", "RFC 9112, 2.3", "GET /a HTTP/1\r\nhost: a\r\n\r\n", HEAD),
    refused("the version http/1.1", "RFC 9112, 2.3", "GET /a http/1.1\r\nhost: a\r\n\r\n", HEAD),
    refused("the version HTTPS/1.1", "RFC 9112, 2.3", "GET /a HTTPS/1.1\r\nhost: a\r\n\r\n", HEAD),
    refused("a method with @", "RFC 9110, 9.1", "G@T /a HTTP/1.1\r\nhost: a\r\n\r\n", HEAD),
    refused("a method with a colon", "RFC 9110, 9.1", "GET: /a HTTP/1.1\r\nhost: a\r\n\r\n", HEAD),
    refused("a method with NUL", "RFC 9110, 9.1", "GE\0T /a HTTP/1.1\r\nhost: a\r\n\r\n", HEAD),
    refused(
        "two empty lines before a request",
        "RFC 9112, 2.2: at least one should be ignored",
        "\r\n\r\nGET /a HTTP/1.1\r\nhost: a\r\n\r\n",
        HEAD,
    ),
    passes(
        "an empty line before a request",
        "RFC 9112, 2.2",
        "\r\nGET /a HTTP/1.1\r\nhost: a\r\n\r\n",
        SEEN,
    ),
    passes(
        "an empty line behind content",
        "RFC 9112, 2.2",
        "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody\r\n",
        &["POST /a a length=4 body"],
    ),
    passes(
        "a method of every character of tokens",
        "RFC 9110, 9.1",
        "!#$%&'*+-.^_`|~09aZ /a HTTP/1.1\r\nhost: a\r\n\r\n",
        &["!#$%&'*+-.^_`|~09aZ /a a none "],
    ),
    passes(
        "a method is case-sensitive",
        "RFC 9110, 9.1",
        "get /a HTTP/1.1\r\nhost: a\r\n\r\n",
        &["get /a a none "],
    ),
    passes("an empty value", "RFC 9110, 5.5", get!("x:\r\ny: \t\r\n"), SEEN),
    passes("a value that is not ASCII", "RFC 9110, 5.5", get!("x: \u{e9}\r\n"), SEEN),
    passes("a colon in a value", "RFC 9110, 5.5", get!("x: y: z\r\n"), SEEN),
    case("HTTP/1.0", "RFC 9112, 9.3", "GET /a HTTP/1.0\r\nhost: a\r\n\r\n", Outcome::Last(SEEN)),
];
