//! Raw HTTP for scenarios: a request as it is written, and what comes back of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpStream};

use agentmq_testkit::PATIENCE;
use serde_json::Value;
use tokio::net::TcpSocket;

/// An answer whose body may still be on its way.
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    head: Vec<String>,
    input: BufReader<TcpStream>,
}

/// Sends a request with these header lines; the address is in Host unless they say otherwise.
pub(crate) fn send(
    address: &str,
    method: &str,
    path: &str,
    head: &[&str],
    body: &str,
) -> HttpAnswer {
    send_over(TcpStream::connect(address).unwrap(), address, method, path, head, body)
}

/// A connection from one of this machine's addresses.
pub(crate) fn connect_from(own: IpAddr, address: &str) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind((own, 0).into())?;
        socket.connect(address.parse().unwrap()).await?.into_std()
    });
    let stream = stream.unwrap();
    stream.set_nonblocking(false).unwrap();
    stream
}

/// The same over a connection that there is.
pub(crate) fn send_over(
    mut stream: TcpStream,
    address: &str,
    method: &str,
    path: &str,
    head: &[&str],
    body: &str,
) -> HttpAnswer {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    if !head.iter().any(|line| line.starts_with("Host:")) {
        text += &format!("Host: {address}\r\n");
    }
    for line in head {
        text += &format!("{line}\r\n");
    }
    text += &format!("Connection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(text.as_bytes()).unwrap();
    // Who is refused at once need not read it.
    let _ = stream.write_all(body.as_bytes());
    let mut input = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line).unwrap();
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        head.push(line.to_owned());
    }
    let status = head.first().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    HttpAnswer { status: status.expect("a status"), head, input }
}

impl HttpAnswer {
    /// Fails unless it has this status.
    pub(crate) fn expect(self, status: u16) -> Self {
        let got = self.status;
        if got != status {
            panic!("{got} instead of {status}: {}", self.text());
        }
        self
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The whole body, without the lengths of its chunks.
    pub(crate) fn text(mut self) -> String {
        let mut text = String::new();
        self.input.read_to_string(&mut text).unwrap();
        text
    }

    pub(crate) fn json(self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The next message of a stream of events; `None` at its end.
    pub(crate) fn event(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.input.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let data = line.strip_prefix("data:").map(str::trim).filter(|data| !data.is_empty());
            if let Some(data) = data {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }
}
