//! The heads that a backend and a client receive.

use super::*;

fn parts(request: http::request::Builder) -> request::Parts {
    request.body(()).expect("valid").into_parts().0
}

fn sent(request: http::request::Builder, protocol: Protocol) -> Request<()> {
    let parts = parts(request);
    let authority = authority(&parts).expect("it can be forwarded");
    let address = &client_address("192.0.2.7".parse().expect("an address"));
    upstream_request(
        &parts,
        &authority,
        ClientFacts { address, tls: true },
        protocol,
        Scheme::Https,
    )
}

fn get(uri: &str) -> http::request::Builder {
    Request::get(uri).header("host", "example.com")
}

fn text<'a>(request: &'a Request<()>, name: &str) -> Option<&'a str> {
    request.headers().get(name).map(|value| value.to_str().expect("ASCII"))
}

#[test]
fn hop_by_hop_fields_are_not_forwarded() {
    let request = get("/")
        .header("connection", "keep-alive, X-Secret, Host, content-length")
        .header("keep-alive", "timeout=5")
        .header("proxy-connection", "close")
        .header("x-secret", "1")
        .header("upgrade", "websocket")
        .header("transfer-encoding", "chunked")
        .header("proxy-authorization", "Basic xyz")
        .header("te", "gzip")
        .header("expect", "100-continue")
        .header("accept", "*/*");
    let request = sent(request, Protocol::Http1);
    for gone in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "x-secret",
        "upgrade",
        "transfer-encoding",
        "proxy-authorization",
        "te",
        "expect",
    ] {
        assert_eq!(text(&request, gone), None, "{gone}");
    }
    assert_eq!(text(&request, "accept"), Some("*/*"));
    assert_eq!(text(&request, "host"), Some("example.com"), "Connection cannot remove Host");
}

#[test]
fn te_trailers_is_kept_for_grpc() {
    let request = || get("/").header("te", "gzip;q=0.5, Trailers");
    let http2 = sent(request(), Protocol::Http2);
    assert_eq!(text(&http2, "te"), Some("trailers"));
    assert_eq!(text(&http2, "connection"), None);
    assert_eq!(text(&sent(request(), Protocol::Http1), "connection"), Some("te"));
}

#[test]
fn the_authority_is_from_the_target_or_from_host() {
    let http2 = sent(get("/a"), Protocol::Http2);
    assert_eq!(http2.uri().to_string(), "https://example.com/a");
    assert_eq!(text(&http2, "host"), None);
    let absolute = sent(get("http://other.example:81/a"), Protocol::Http2);
    assert_eq!(absolute.uri().to_string(), "https://other.example:81/a");
    let http1 = sent(get("http://other.example:81/a"), Protocol::Http1);
    assert_eq!(http1.uri().to_string(), "/a");
    assert_eq!(text(&http1, "host"), Some("other.example:81"));
}

#[test]
fn path_and_query_stay_byte_for_byte() {
    for path in ["/a//b/../c/./d", "/%7Euser/%2f?x=%20+&&=;?", "/?", "//", "/a;b=c?d=/e"] {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let request = sent(get(path), protocol);
            let sent = request.uri().path_and_query().expect("a path").as_str();
            assert_eq!(sent, path, "{protocol:?}");
        }
    }
}

#[test]
fn options_of_the_server_itself() {
    let request = Request::options("*").header("host", "example.com");
    let http1 = sent(request, Protocol::Http1);
    assert_eq!(http1.uri().to_string(), "*");
}

#[test]
fn forwarding_is_recorded() {
    let request = get("/")
        .header("x-forwarded-for", "198.51.100.1")
        .header("x-forwarded-for", "198.51.100.2")
        .header("x-forwarded-proto", "gopher")
        .header("x-forwarded-host", "liar.example")
        .header("via", "1.0 first");
    let request = sent(request, Protocol::Http2);
    let list = "198.51.100.1, 198.51.100.2, 192.0.2.7";
    assert_eq!(text(&request, "x-forwarded-for"), Some(list));
    assert_eq!(text(&request, "x-forwarded-proto"), Some("https"));
    assert_eq!(text(&request, "x-forwarded-host"), Some("example.com"));
    let via: Vec<_> = request.headers().get_all("via").iter().collect();
    assert_eq!(via, ["1.0 first", "1.1 baton"]);
}

#[test]
fn cookies_are_joined_for_http1_and_kept_apart_for_http2() {
    let request = || get("/").header("cookie", "a=1").header("cookie", "b=2");
    assert_eq!(text(&sent(request(), Protocol::Http1), "cookie"), Some("a=1; b=2"));
    assert_eq!(sent(request(), Protocol::Http2).headers().get_all("cookie").iter().count(), 2);
}

#[test]
fn what_cannot_be_forwarded_is_refused() {
    let status = |request| authority(&parts(request)).err().map(|(status, _)| status.as_u16());
    assert_eq!(status(Request::connect("example.com:443")), Some(405));
    assert_eq!(status(Request::get("/")), Some(400));
    assert_eq!(status(Request::get("/").version(Version::HTTP_10)), Some(400));
    assert_eq!(status(get("/").header("host", "two.example")), Some(400));
    assert_eq!(status(Request::get("/").header("host", "a b")), Some(400));
    assert_eq!(status(get("/")), None);
    assert_eq!(status(Request::get("http://example.com/")), Some(400), "no Host");
    let without_host = Request::get("http://example.com/");
    assert_eq!(status(without_host.version(Version::HTTP_10)), None);
    assert_eq!(status(get("ftp://front.test/")), Some(400));
    for (host, refused) in [
        ("a:80", false),
        ("a:", false),
        ("[::1]:80", false),
        ("[::1]", false),
        ("a:b", true),
        (":80", true),
        ("a:65536", true),
    ] {
        let expected = refused.then_some(400);
        assert_eq!(status(Request::get("/").header("host", host)), expected, "{host}");
    }
    let twice =
        |first, second| get("/").header("content-length", first).header("content-length", second);
    assert_eq!(status(twice("4", "5")), Some(400));
    assert_eq!(status(twice("4", "4")), None);
}

#[test]
fn a_response_loses_hop_by_hop_fields_and_keeps_its_length() {
    let response = http::Response::builder()
        .header("connection", "close, x-hop")
        .header("x-hop", "1")
        .header("transfer-encoding", "chunked")
        .header("content-length", "12")
        .header("trailer", "grpc-status");
    let mut head = response.body(()).expect("valid").into_parts().0;
    assert!(closes_connection(&head.headers, head.version));
    downstream_response(&mut head, Version::HTTP_2);
    let names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["content-length", "trailer", "via"]);
    assert_eq!(content_length(&head.headers), Some(12));
}

#[test]
fn idempotent_methods_are_those_of_rfc_9110() {
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        assert!(is_idempotent(&method.parse().expect("a method")), "{method}");
    }
    for method in ["POST", "PATCH", "CONNECT", "get", "PROPFIND"] {
        assert!(!is_idempotent(&method.parse().expect("a method")), "{method}");
    }
}

#[test]
fn an_ambiguous_target_or_authority_is_refused() {
    let http2 = |uri: &str| Request::get(uri).version(Version::HTTP_2);
    for (request, why) in [
        (http2("http://a.test/").header("host", "b.test"), ":authority and Host disagree"),
        (http2("http://a.test/").header("host", "a.test:80"), ":authority and Host disagree"),
        (http2("http://user@a.test/"), "user information in the authority"),
        (get("/").header("x", "y").uri("http://user:word@a.test/"), "user information"),
        (Request::get("/").header("host", "user@a.test"), "user information in the authority"),
        (Request::get("/").header("host", "a.test:+80"), "the authority is not"),
        (Request::get("/").header("host", "[::1]80"), "the authority is not"),
        (Request::get("a.test:80").header("host", "a.test"), "the target is an authority"),
        (Request::get("*").header("host", "a.test"), "the target is not a path"),
    ] {
        let (status, line) = authority(&parts(request)).expect_err(why);
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(line.starts_with(why), "{line}");
    }
    for request in [
        http2("http://a.test/").header("host", "A.TEST"),
        http2("http://a.test/"),
        Request::get("http://a.test/").header("host", "b.test"),
        Request::options("*").header("host", "a.test"),
        Request::get("/").header("host", "a.test"),
    ] {
        assert_eq!(authority(&parts(request)).map(|authority| authority.port_u16()), Ok(None));
    }
}

#[test]
fn a_repeated_length_becomes_one() {
    let response = http::Response::builder().header("content-length", "5");
    let response = response.header("content-length", "5").body(()).expect("valid");
    let mut head = response.into_parts().0;
    downstream_response(&mut head, Version::HTTP_11);
    assert_eq!(head.headers.get_all("content-length").iter().collect::<Vec<_>>(), ["5"]);
}

/// RFC 9112, 3.2.1: a target in absolute form may have no path.
#[test]
fn a_target_without_a_path_gets_one() {
    for (method, target, path) in [
        (Method::GET, "http://a.test", "/"),
        (Method::GET, "http://a.test?x=1", "/?x=1"),
        (Method::GET, "http://a.test/?x=1", "/?x=1"),
        (Method::GET, "http://a.test/b?", "/b?"),
        (Method::OPTIONS, "http://a.test?x", "/?x"),
        (Method::OPTIONS, "*", "*"),
    ] {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let request = Request::builder().method(&method).uri(target).header("host", "a.test");
            let sent = sent(request, protocol);
            let seen = sent.uri().path_and_query().map(PathAndQuery::as_str);
            assert_eq!(seen, Some(path), "{method} {target} {protocol}");
        }
    }
}

/// A byte that is not ASCII changes nothing about the other members of its field.
#[test]
fn lists_may_have_bytes_that_are_not_ascii() {
    let value = |bytes: &[u8]| HeaderValue::from_bytes(bytes).expect("obs-text is valid");
    let request = get("/")
        .header("connection", value(b"x-secret, \xfc"))
        .header("x-secret", "1")
        .header("x-forwarded-for", value(b"10.0.0.1, \xfc"));
    let request = sent(request, Protocol::Http1);
    assert_eq!(text(&request, "x-secret"), None);
    let forwarded = &request.headers()["x-forwarded-for"];
    assert_eq!(forwarded.as_bytes(), b"10.0.0.1, \xfc, 192.0.2.7");
}

#[test]
fn trailers_have_no_fields_about_the_connection_or_the_framing() {
    let mut trailers = HeaderMap::new();
    for name in
        ["connection", "keep-alive", "te", "transfer-encoding", "upgrade", "content-length", "host"]
    {
        trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("x-named"));
    }
    for name in ["x-named", "x-sum"] {
        trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
    }
    trailers.insert("x-of-the-head", HeaderValue::from_static("1"));
    filter_trailers(&mut trailers, &[HeaderName::from_static("x-of-the-head")]);
    assert_eq!(trailers.keys().collect::<Vec<_>>(), ["x-sum"]);
}

/// `http` accepts targets of 65534 bytes, and the path that is added is one more.
#[test]
fn a_target_that_its_path_makes_too_long_is_refused() {
    let long = |length: usize| {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(http::uri::Scheme::HTTP);
        uri.authority = Some(Authority::from_static("a.test"));
        uri.path_and_query = format!("?{}", "q".repeat(length - 1)).parse().ok();
        let request = Request::get(Uri::from_parts(uri).expect("valid parts"));
        authority(&parts(request.header("host", "a.test")))
    };
    assert!(long(65_533).is_ok());
    assert_eq!(long(65_534), Err((StatusCode::BAD_REQUEST, "the target is too long")));
}

#[test]
fn a_response_says_the_length_of_its_content_if_it_is_known() {
    use ContentLength::{Bytes, NoContent, Unknown};
    for (status, to_head, own, known, length, says) in [
        (200, false, None, Some(3), Bytes(3), Some("3")),
        (200, false, None, None, Unknown, None),
        (200, false, Some("5"), Some(3), Bytes(5), Some("5")),
        (200, false, Some("x"), Some(3), Bytes(3), Some("3")),
        (200, false, Some("x"), None, Unknown, None),
        (200, true, Some("5"), Some(0), NoContent, Some("5")),
        (200, true, None, Some(0), NoContent, None),
        (304, false, Some("5"), Some(0), NoContent, Some("5")),
        (204, false, Some("5"), Some(0), NoContent, None),
    ] {
        let response = http::Response::builder().status(status);
        let response =
            own.into_iter().fold(response, |response, own| response.header("content-length", own));
        let mut head = response.body(()).expect("valid").into_parts().0;
        let case = format!("{status} {to_head} {own:?} {known:?}");
        assert_eq!(set_length(&mut head, to_head, known), length, "{case}");
        let said = head.headers.get("content-length").map(|said| said.to_str().expect("ASCII"));
        assert_eq!(said, says, "{case}");
    }
}
