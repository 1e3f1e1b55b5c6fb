//! Single HTTP/1.1 requests over connections of their own: to the admin interface, and to see
//! that requests succeed again.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The body as text; what is not UTF-8 is replaced.
    pub(crate) fn into_text(self) -> String {
        String::from_utf8(self.body)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

/// Sends a request and reads until the connection ends. The body is as long as it says.
///
/// # Errors
/// If the connection breaks, or what arrives is no complete answer.
pub(crate) async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    target: &str,
) -> io::Result<Reply> {
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: baton\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no complete answer"))
}

pub(super) fn parse(bytes: &[u8]) -> Option<Reply> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?.to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    if (100..200).contains(&status) {
        return parse(&bytes[end + 4..]);
    }
    let field = |name: &str| {
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let mut rest = &bytes[end + 4..];
    let body = match (field("content-length"), field("transfer-encoding")) {
        (Some(length), _) => rest.get(..length.parse().ok()?)?.to_vec(),
        (None, Some("chunked")) => {
            let mut body = Vec::new();
            loop {
                let line = rest.windows(2).position(|window| window == b"\r\n")?;
                let size = std::str::from_utf8(&rest[..line]).ok()?;
                let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
                rest = &rest[line + 2..];
                if size == 0 {
                    // The trailers end with an empty line.
                    break (rest.starts_with(b"\r\n") || rest.ends_with(b"\r\n\r\n"))
                        .then_some(body)?;
                }
                body.extend_from_slice(rest.get(..size)?);
                rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
            }
        }
        (None, _) => rest.to_vec(),
    };
    Some(Reply { status, head, body })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn only_complete_answers_count() {
        let whole = |text: &str| parse(text.as_bytes()).map(|reply| (reply.status, reply.body));
        let reply = whole("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab");
        assert_eq!(reply, Some((200, b"ab".to_vec())));
        assert_eq!(whole("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"), None);
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
        assert_eq!(whole(chunked), Some((200, b"ab".to_vec())));
        assert_eq!(whole(&chunked[..chunked.len() - 2]), None);
        let interim = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
        assert_eq!(
            whole(&format!("{interim}HTTP/1.1 204 No Content\r\n\r\n")),
            Some((204, vec![]))
        );
        assert_eq!(whole("HTTP/1.1 200 OK\r\n"), None);
    }
}
