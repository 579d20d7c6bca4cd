//! HTTP/1.1, one socket a request: what is sent is what a test says, wrong or not, and nothing is repaired.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::DEADLINE;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    method: &'static str,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    declared: Option<u64>,
    patience: Duration,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn get(target: impl Into<String>) -> Self {
        let (headers, body) = (Vec::new(), Vec::new());
        let target = target.into();
        Request { method: "GET", target, headers, body, declared: None, patience: DEADLINE }
    }

    pub fn post(target: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Request { method: "POST", body: body.into(), ..Self::get(target) }
    }

    /// Adds a header; one without a value is left out.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if !value.is_empty() {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Claims another length than the body has.
    pub fn declare(mut self, length: u64) -> Self {
        self.declared = Some(length);
        self
    }

    /// Gives up where nothing comes for so long.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends it and reads the answer.
    ///
    /// # Errors
    /// No connection, or none long enough for an answer.
    pub fn send(&self, address: &str) -> io::Result<Answer> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(self.patience))?;
        socket.set_write_timeout(Some(self.patience))?;
        // A node that refuses early stops reading: what counts is whether it answers.
        let written = socket.write_all(&self.head(address)).and_then(|()| socket.write_all(&self.body));
        let mut bytes = Vec::new();
        match socket.read_to_end(&mut bytes) {
            Err(error) if bytes.is_empty() => Err(written.err().unwrap_or(error)),
            _ => Answer::parse(&bytes).ok_or_else(|| io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn head(&self, address: &str) -> Vec<u8> {
        let mut head =
            format!("{} {} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let length = self.declared.unwrap_or(self.body.len() as u64);
        if self.method != "GET" {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let pair = |line: &str| line.split_once(": ").map(|(n, v)| (n.to_lowercase(), v.to_owned()));
        let headers = lines.filter_map(pair).collect();
        let mut answer = Answer { status, headers, body: bytes[end + 4..].to_vec() };
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = joined(&answer.body)?;
        }
        let whole = answer.header("content-length").is_none_or(|n| n.parse() == Ok(answer.body.len()));
        whole.then_some(answer)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The answer, whose status must be this one.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

/// A chunked body without its chunk heads; none if it is cut off.
fn joined(mut chunked: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = chunked.windows(2).position(|two| two == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&chunked[..end]).ok()?, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(chunked.get(end + 2..end + 2 + length)?);
        chunked = chunked.get(end + 2 + length + 2..)?;
    }
}
