//! Reads HTTP/1.1 messages as the next recipient does: strictly, and without code of Baton.

/// A message that was read whole.
pub(super) struct Message {
    start: String,
    fields: Vec<(String, String)>,
    framing: String,
    body: String,
    trailers: String,
}

/// The messages that are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Requests,
    /// Responses. `to_head` if the request was a HEAD.
    Responses {
        to_head: bool,
    },
}

/// The content of a message, the trailers, and the number of bytes of both.
type Content = (String, String, usize);

impl Message {
    /// Takes a message from the start of the bytes; `None` if it is incomplete.
    ///
    /// # Errors
    /// The reason for which two recipients could read the bytes differently.
    pub(super) fn take(bytes: &mut Vec<u8>, reading: Reading) -> Result<Option<Self>, String> {
        let Some(end) = position(bytes, b"\r\n\r\n") else { return Ok(None) };
        let lines = lines(&bytes[..end])?;
        let (start, fields) = lines.split_first().ok_or("no start line")?;
        let fields = fields.iter().map(|line| field(line)).collect::<Result<Vec<_>, _>>()?;
        let mut message = Self {
            start: start.clone(),
            fields,
            framing: "none".to_owned(),
            body: String::new(),
            trailers: String::new(),
        };
        let rest = &bytes[end + 4..];
        let Some((body, trailers, length)) = message.content(rest, reading)? else {
            return Ok(None);
        };
        (message.body, message.trailers) = (body, trailers);
        bytes.drain(..end + 4 + length);
        Ok(Some(message))
    }

    /// Reads the content (RFC 9112, 6.3); `None` if it is incomplete.
    fn content(&mut self, rest: &[u8], reading: Reading) -> Result<Option<Content>, String> {
        let lengths: Vec<_> = self.all("content-length").collect();
        let codings: Vec<_> = self.all("transfer-encoding").collect();
        let nothing = Ok(Some((String::new(), String::new(), 0)));
        let bodiless = match reading {
            Reading::Requests => false,
            Reading::Responses { to_head } => {
                to_head || matches!(self.status(), 100..200 | 204 | 304)
            }
        };
        match (&lengths[..], &codings[..]) {
            ([], []) if bodiless || reading == Reading::Requests => nothing,
            ([], []) => {
                self.framing = "until-close".to_owned();
                Ok(Some((text(rest), String::new(), rest.len())))
            }
            ([length], []) => {
                let is_number = length.bytes().all(|byte| byte.is_ascii_digit());
                let length = length.parse::<usize>().ok().filter(|_| is_number);
                let length = length.ok_or("a length that is no number")?;
                self.framing = format!("length={length}");
                if bodiless {
                    return nothing;
                }
                Ok(rest.get(..length).map(|body| (text(body), String::new(), length)))
            }
            ([], ["chunked"]) => {
                self.framing = "chunked".to_owned();
                if bodiless { nothing } else { chunks(rest) }
            }
            (lengths, codings) => Err(format!("lengths {lengths:?} and codings {codings:?}")),
        }
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(move |field| field.0 == name).map(|field| field.1.as_str())
    }

    /// The only value of a field, or a dash.
    pub(super) fn get(&self, name: &str) -> String {
        let values: Vec<_> = self.all(name).collect();
        if values.is_empty() { "-".to_owned() } else { values.join(" and ") }
    }

    /// The status of a response.
    pub(super) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// Method, target, `Host`, framing, content and trailers of a request.
    pub(super) fn of_request(&self) -> String {
        let Some(line) = self.start.strip_suffix(" HTTP/1.1") else { return self.start.clone() };
        let (host, framing) = (self.get("host"), &self.framing);
        format!("{line} {host} {framing} {}{}", self.body, self.trailers)
    }

    /// Status, framing, content and trailers of a response.
    pub(super) fn of_response(&self) -> String {
        format!("{} {} {}{}", self.status(), self.framing, self.body, self.trailers)
    }
}

/// Reads chunks and trailers; `None` if they are incomplete.
fn chunks(bytes: &[u8]) -> Result<Option<Content>, String> {
    let mut body = String::new();
    let mut at = 0;
    loop {
        let Some(line) = position(&bytes[at..], b"\r\n") else { return Ok(None) };
        let size = text(&bytes[at..at + line]);
        let size = usize::from_str_radix(&size, 16).map_err(|_| format!("a chunk of {size:?}"))?;
        at += line + 2;
        if size == 0 {
            break;
        }
        let Some(data) = bytes.get(at..at + size + 2) else { return Ok(None) };
        let data = data.strip_suffix(b"\r\n").ok_or("a chunk without its end")?;
        body.push_str(&text(data));
        at += size + 2;
    }
    if bytes[at..].starts_with(b"\r\n") {
        return Ok(Some((body, String::new(), at + 2)));
    }
    let Some(end) = position(&bytes[at..], b"\r\n\r\n") else { return Ok(None) };
    let mut trailers = String::new();
    for line in lines(&bytes[at..at + end])? {
        let (name, value) = field(&line)?;
        trailers.push_str(&format!(" +{name}: {value}"));
    }
    Ok(Some((body, trailers, at + end + 4)))
}

/// The lines of a head or of trailers.
fn lines(bytes: &[u8]) -> Result<Vec<String>, String> {
    let lines: Vec<_> = text(bytes).split("\r\n").map(str::to_owned).collect();
    match lines.iter().find(|line| line.contains(['\r', '\n', '\0'])) {
        Some(line) => Err(format!("a control character in {line:?}")),
        None => Ok(lines),
    }
}

/// The name, in lower case, and the value of a field line.
fn field(line: &str) -> Result<(String, String), String> {
    let malformed = || format!("the field line {line:?}");
    let (name, value) = line.split_once(':').ok_or_else(malformed)?;
    if name.is_empty() || name.contains([' ', '\t']) {
        return Err(malformed());
    }
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|found| found == wanted)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
