use super::*;

fn head(text: &str) -> Result<Head, String> {
    let mut buffer = BytesMut::from(text);
    let head = Head::take(&mut buffer)?.ok_or("incomplete")?;
    assert!(buffer.is_empty(), "{buffer:?}");
    Ok(head)
}

fn request(text: &str) -> Result<Content, String> {
    let head = head(text)?;
    head.request()?;
    head.request_content()
}

fn response(text: &str, method: &str) -> Result<Content, String> {
    head(text)?.response_content(method)
}

#[test]
fn heads_say_how_their_content_is_framed() {
    let host = "POST /r1 HTTP/1.1\r\nhost: a\r\n";
    assert_eq!(request(&format!("{host}\r\n")), Ok(Content::Length(0)));
    assert_eq!(request(&format!("{host}Content-Length: 7 \r\n\r\n")), Ok(Content::Length(7)));
    let chunked = format!("{host}transfer-encoding: chunked\r\n\r\n");
    assert_eq!(request(&chunked), Ok(Content::Size));
    let ok = "HTTP/1.1 200 OK\r\n";
    assert_eq!(response(&format!("{ok}\r\n"), "GET"), Ok(Content::UntilEnd));
    assert_eq!(response(&format!("{ok}content-length: 9\r\n\r\n"), "GET"), Ok(Content::Length(9)));
    assert_eq!(response(&format!("{ok}content-length: 9\r\n\r\n"), "HEAD"), Ok(Content::Length(0)));
    assert_eq!(response("HTTP/1.1 304 \r\n\r\n", "GET"), Ok(Content::Length(0)));
}

#[test]
fn malformed_heads_are_refused() {
    let of_requests = [
        "\r\n",
        "\r\nGET /r1 HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /r1 HTTP/1.1\nhost: a\n\n",
        "GET /r1 HTTP/1.0\r\nhost: a\r\n\r\n",
        "GET  /r1 HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /r1 HTTP/1.1 \r\nhost: a\r\n\r\n",
        "GET /r1\r\nhost: a\r\n\r\n",
        "GET /r1 HTTP/1.1\r\n\r\n",
        "GET /r1 HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
        "GET /r1 HTTP/1.1\r\nhost : a\r\n\r\n",
        "GET /r1 HTTP/1.1\r\nhost: a\r\n folded\r\n\r\n",
        "GET /r1 HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
        "GET /r1 HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n",
        "GET /r1 HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n",
        "GET /r1 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\n",
        "GET /r1 HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\n",
        "GET /r1 HTTP/1.1\r\nhost: a\r\ncontent-length: \r\n\r\n",
        "GET /r1 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
        "GET /r1 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
    ];
    for text in of_requests {
        assert!(request(text).is_err_and(|what| what != "incomplete"), "{text:?}");
    }
    let of_responses = [
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\ncontent-length: 1\r\n\r\n",
    ];
    for text in of_responses {
        assert!(response(text, "GET").is_err_and(|what| what != "incomplete"), "{text:?}");
    }
}

/// Reads content that arrives in pieces of this size: the bytes, the trailers, and what is left.
fn read(text: &str, size: usize) -> Result<(String, Option<Fields>, String), String> {
    let (mut content, mut buffer, mut data) = (Content::Size, BytesMut::new(), String::new());
    for piece in text.as_bytes().chunks(size) {
        buffer.extend_from_slice(piece);
        while let Some(part) = content.take(&mut buffer)? {
            match part {
                Part::Data(bytes) => data += &String::from_utf8_lossy(&bytes),
                Part::End(fields) => {
                    return Ok((data, Some(fields), String::from_utf8_lossy(&buffer).into()));
                }
            }
        }
    }
    Ok((data, None, String::from_utf8_lossy(&buffer).into()))
}

#[test]
fn chunks_and_trailers_are_read_however_they_are_cut() {
    let text = "3\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-End: yes\r\n\r\n";
    for size in 1..=text.len() {
        let (data, fields, left) = read(text, size).expect("well-formed");
        assert_eq!(data, "abc0123456789");
        assert_eq!(fields.as_ref().and_then(|fields| fields.get("x-end")), Some("yes"));
        assert_eq!(left, "");
    }
    let end = Fields::default();
    assert_eq!(read("0\r\n\r\nnext", 99), Ok((String::new(), Some(end), "next".to_owned())));
    for cut in 0..text.len() - 1 {
        assert_eq!(read(&text[..cut], 99).map(|read| read.1), Ok(None), "{cut}");
    }
}

#[test]
fn malformed_chunks_are_refused() {
    let malformed = [
        "\r\n",
        "g\r\n",
        "3;extension\r\nabc\r\n",
        "3 \r\nabc\r\n",
        "3\nabc\r\n",
        "0x3\r\nabc\r\n",
        "3\r\nabcd\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "00000000000000003\r\nabc\r\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\ncontent-length: 3\r\n\r\n",
        "0\r\nx: y\n\n",
    ];
    for text in malformed {
        for size in [1, 99] {
            assert!(read(text, size).is_err(), "{text:?}");
        }
    }
}

#[tokio::test]
async fn pieces_are_written_as_they_are_read_and_only_content_is_counted() {
    for (chunked, expected) in [(false, "hello"), (true, "5\r\nhello\r\n")] {
        let (mut near, mut far) = tokio::io::duplex(3);
        let mut counted = 0;
        let mut text = String::new();
        let write = async {
            write_piece(&mut near, b"hello", chunked, |bytes| counted += bytes).await.unwrap();
            drop(near);
        };
        let (_, read) = tokio::join!(write, far.read_to_string(&mut text));
        read.unwrap();
        assert_eq!((text.as_str(), counted), (expected, 5));
    }
}
