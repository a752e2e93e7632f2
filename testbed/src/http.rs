//! As much of HTTP/1.1 as a test needs to stand between a client and a server: whole messages, bodies by length, in chunks
//! or until the connection ends.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Header fields in their order.
pub type Headers = Vec<(String, String)>;

/// A whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path with its query.
    pub target: String,
    /// All header fields.
    pub headers: Headers,
    /// The body, without chunks.
    pub body: Vec<u8>,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// All header fields.
    pub headers: Headers,
    /// The body, without chunks; compressed where it was sent so.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without a body.
    pub fn new(method: impl Into<String>, target: impl Into<String>) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// With a header field.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With a body of SCIM's type.
    #[must_use]
    pub fn scim(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", "application/scim+json")
    }

    /// Reads one request; `None` where the connection ends before it begins.
    pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some((line, headers)) = read_head(reader)? else { return Ok(None) };
        let mut words = line.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(malformed("a request line"));
        };
        if value_of(&headers, "expect").is_some() {
            return Err(malformed("an Expect header, which is not understood here"));
        }
        let body = if is_chunked(&headers) {
            read_chunks(reader)?
        } else {
            read_exactly(reader, length_of(&headers)?.unwrap_or(0))?
        };
        Ok(Some(Self { method: method.to_owned(), target: target.to_owned(), headers, body }))
    }

    /// Sends it on a connection of its own and waits for the whole answer.
    ///
    /// # Errors
    /// When there is no connection, it ends early, or nothing comes for a minute.
    pub fn send(&self, addr: SocketAddr) -> io::Result<Answer> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SERVER_LIMIT))?;
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        let kept = self.headers.iter().filter(|(name, _)| !is_of_connection(name));
        for (name, value) in kept {
            bytes.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        if value_of(&self.headers, "host").is_none() {
            bytes.extend(format!("host: {addr}\r\n").into_bytes());
        }
        bytes
            .extend(format!("content-length: {}\r\nconnection: close\r\n\r\n", self.body.len()).into_bytes());
        bytes.extend(&self.body);
        stream.write_all(&bytes)?;
        Answer::read(&mut BufReader::new(stream), self.method == "HEAD")
    }

    /// The path without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

impl Answer {
    /// An answer with a body of that type.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { status, headers, body: body.into() }
    }

    /// With a header field.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The value of a header field, whatever the case of its name.
    pub fn value(&self, name: &str) -> Option<&str> {
        value_of(&self.headers, name)
    }

    fn read(reader: &mut impl BufRead, is_head: bool) -> io::Result<Self> {
        let (line, headers) = read_head(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status: u16 = status.ok_or_else(|| malformed("a status line"))?;
        let body = if is_head || status == 204 || status == 304 {
            Vec::new()
        } else if is_chunked(&headers) {
            read_chunks(reader)?
        } else if let Some(length) = length_of(&headers)? {
            read_exactly(reader, length)?
        } else {
            let mut body = Vec::new();
            reader.take(BODY_MAX).read_to_end(&mut body)?;
            body
        };
        Ok(Self { status, headers, body })
    }

    /// The bytes of its head as a proxy sends them on, with the body's length.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status)).into_bytes();
        for (name, value) in self.headers.iter().filter(|(name, _)| !is_of_connection(name)) {
            head.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        if self.status != 204 && self.status != 304 {
            head.extend(format!("content-length: {}\r\n", self.body.len()).into_bytes());
        }
        head.extend(b"\r\n");
        head
    }
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Option<(String, Headers)>> {
    let mut left = HEAD_MAX;
    let mut first = None;
    let mut headers = Headers::new();
    loop {
        let mut line = Vec::new();
        let length = reader.by_ref().take(left).read_until(b'\n', &mut line)? as u64;
        left -= length;
        if length == 0 {
            let nothing_yet = first.is_none() && left == HEAD_MAX;
            return if nothing_yet { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        match first {
            None => first = Some(line),
            Some(first) if line.is_empty() => return Ok(Some((first, headers))),
            Some(_) => {
                let (name, value) = line.split_once(':').ok_or_else(|| malformed("a header field"))?;
                headers.push((name.trim().to_owned(), value.trim().to_owned()));
            }
        }
    }
}

fn read_exactly(reader: &mut impl BufRead, length: u64) -> io::Result<Vec<u8>> {
    if length > BODY_MAX {
        return Err(malformed("a body of reasonable length"));
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    if body.len() as u64 == length { Ok(body) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn read_chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.by_ref().take(HEAD_MAX).read_line(&mut line)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| malformed("a chunk's length"))?;
        if size == 0 {
            // Trailers, up to the empty line.
            while reader.by_ref().take(HEAD_MAX).read_line(&mut line)? > 2 {}
            return Ok(body);
        }
        if size + body.len() as u64 > BODY_MAX {
            return Err(malformed("a body of reasonable length"));
        }
        body.extend(read_exactly(reader, size)?);
        read_exactly(reader, 2)?;
    }
}

pub(crate) fn value_of<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn is_chunked(headers: &Headers) -> bool {
    value_of(headers, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
}

fn length_of(headers: &Headers) -> io::Result<Option<u64>> {
    let parse = |value: &str| value.parse().map_err(|_| malformed("a Content-Length"));
    value_of(headers, "content-length").map(parse).transpose()
}

/// Fields that belong to one connection and not to the message, and the length, which is written anew.
fn is_of_connection(name: &str) -> bool {
    ["connection", "keep-alive", "transfer-encoding", "content-length", "upgrade"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("expected {what}"))
}

const HEAD_MAX: u64 = 64 * 1024;
const BODY_MAX: u64 = 256 << 20;
const SERVER_LIMIT: Duration = Duration::from_secs(60);
