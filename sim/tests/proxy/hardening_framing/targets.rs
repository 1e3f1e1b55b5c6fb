//! Request targets and hosts.

use super::{Case, HEAD, Outcome, case, denied, passes, refused};

/// A GET with this target and these field lines.
macro_rules! get {
    ($target:literal, $fields:literal) => {
        concat!("GET ", $target, " HTTP/1.1\r\n", $fields, "\r\n")
    };
}

pub(super) const CASES: &[Case] = &[
    denied("no Host", "RFC 9112, 3.2", get!("/a", "")),
    denied(
        "no Host, HTTP/1.0",
        "no authority to forward",
        "GET /a HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
    ),
    denied("two Hosts", "RFC 9112, 3.2", get!("/a", "host: a\r\nhost: b\r\n")),
    denied("two equal Hosts", "RFC 9112, 3.2", get!("/a", "host: a\r\nhost: a\r\n")),
    denied(
        "two Hosts and an absolute target",
        "RFC 9112, 3.2",
        get!("http://b/a", "host: a\r\nhost: b\r\n"),
    ),
    denied("an empty Host", "RFC 9110, 4.2.1", get!("/a", "host:\r\n")),
    denied("a list of hosts", "RFC 9112, 3.2", get!("/a", "host: a, b\r\n")),
    denied("a space within a host", "RFC 9112, 3.2", get!("/a", "host: a b\r\n")),
    denied("a tab within a host", "RFC 9112, 3.2", get!("/a", "host: a\tb\r\n")),
    denied("a host with a path", "RFC 9112, 3.2", get!("/a", "host: a/b\r\n")),
    denied("a host with a query", "RFC 9112, 3.2", get!("/a", "host: a?b\r\n")),
    denied("a host with a fragment", "RFC 9112, 3.2", get!("/a", "host: a#b\r\n")),
    denied("a host with a scheme", "RFC 9112, 3.2", get!("/a", "host: http://a\r\n")),
    denied("a host with two ports", "RFC 9112, 3.2", get!("/a", "host: a:1:2\r\n")),
    denied("an open bracket", "RFC 9112, 3.2", get!("/a", "host: [::1\r\n")),
    denied(
        "an invalid Host beside an absolute target",
        "RFC 9112, 3.2",
        get!("http://b/a", "host: a b\r\n"),
    ),
    denied("user information in Host", "RFC 9110, 4.2.4", get!("/a", "host: user@a\r\n")),
    denied("a password in Host", "RFC 9110, 4.2.4", get!("/a", "host: user:word@a\r\n")),
    denied(
        "user information in the target",
        "RFC 9110, 4.2.4",
        get!("http://user@a/a", "host: a\r\n"),
    ),
    denied("a password in the target", "RFC 9110, 4.2.4", get!("http://a:80@b/a", "host: b\r\n")),
    denied("an authority as the target", "RFC 9112, 3.2.3", get!("b:80", "host: a\r\n")),
    denied("a host as the target", "RFC 9112, 3.2", get!("b", "host: a\r\n")),
    denied("an asterisk as the target of a GET", "RFC 9112, 3.2.4", get!("*", "host: a\r\n")),
    refused("a relative path", "RFC 9112, 3.2", get!("a/b", "host: a\r\n"), HEAD),
    refused("a query without a path", "RFC 9112, 3.2", get!("?a", "host: a\r\n"), HEAD),
    refused(
        "an absolute target without a host",
        "RFC 9110, 4.2.1",
        get!("http:///a", "host: a\r\n"),
        HEAD,
    ),
    refused("only a scheme", "RFC 9110, 4.2.1", get!("http://", "host: a\r\n"), HEAD),
    refused("angle brackets", "RFC 9112, 3.2", get!("/<a>", "host: a\r\n"), HEAD),
    passes(
        "an absolute target replaces Host",
        "RFC 9112, 3.2.2",
        get!("http://b/a", "host: a\r\n"),
        &["GET /a b none "],
    ),
    passes(
        "the port of an absolute target",
        "RFC 9112, 3.2.2",
        get!("http://b:81/a", "host: a\r\n"),
        &["GET /a b:81 none "],
    ),
    passes(
        "an absolute target without a path",
        "RFC 9112, 3.2.1",
        get!("http://b", "host: b\r\n"),
        &["GET / b none "],
    ),
    passes(
        "a query behind an absolute target without a path",
        "RFC 9112, 3.2.1",
        get!("http://b?c", "host: b\r\n"),
        &["GET /?c b none "],
    ),
    passes(
        "a scheme in upper case",
        "RFC 9110, 4.2.3",
        get!("HTTP://b/a", "host: b\r\n"),
        &["GET /a b none "],
    ),
    passes(
        "a URL within a path",
        "RFC 9110, 7.7",
        get!("/http://b/a", "host: a\r\n"),
        &["GET /http://b/a a none "],
    ),
    passes(
        "a path that begins with two slashes",
        "RFC 9110, 7.7",
        get!("//b/a", "host: a\r\n"),
        &["GET //b/a a none "],
    ),
    passes(
        "dots and an encoded slash",
        "RFC 9110, 7.7",
        get!("/b/..%2f../a", "host: a\r\n"),
        &["GET /b/..%2f../a a none "],
    ),
    passes(
        "encoded line breaks",
        "RFC 9110, 7.7",
        get!("/a%0d%0ax:y", "host: a\r\n"),
        &["GET /a%0d%0ax:y a none "],
    ),
    passes(
        "an encoded fragment",
        "RFC 9110, 7.7",
        get!("/a%23b", "host: a\r\n"),
        &["GET /a%23b a none "],
    ),
    passes(
        "the asterisk of OPTIONS",
        "RFC 9112, 3.2.4",
        "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
        &["OPTIONS * a none "],
    ),
    passes(
        "a target that is not ASCII",
        "RFC 9110, 7.7; more lenient than RFC 9112, 3.2",
        get!("/\u{e9}", "host: a\r\n"),
        &["GET /\u{e9} a none "],
    ),
    passes(
        "a host that Connection names",
        "RFC 9110, 7.6.1; not kept, so that the target stays",
        get!("/a", "connection: host\r\nhost: a\r\n"),
        &["GET /a a none "],
    ),
    passes(
        "an address of IPv6",
        "RFC 9110, 4.2.1",
        get!("/a", "host: [::1]:80\r\n"),
        &["GET /a [::1]:80 none "],
    ),
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
];
