//! One request to one mirror.
//!
//! Addresses that begin with `http:` are asked by this program itself. Encryption is left to the program
//! `curl`, which most systems have: a library for it would need a C compiler, and is not needed to know
//! that a file is the right one.

use std::io::{ErrorKind as IoErrorKind, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::Failure;

/// The exit code of `curl` when a server does not know of parts.
const CURL_RANGE_ERROR: i32 = 33;

/// The answer to a request.
pub(super) struct Connection {
    /// The content from `start` on.
    pub(super) reader: Box<dyn Read>,
    /// The first byte that comes: the one that was asked for, or 0 when the server does not know of parts.
    pub(super) start: u64,
    /// The program that brings it, if it is one.
    child: Option<Child>,
}

impl Connection {
    /// Asks for the bytes of a file from `start` on, which has `bytes` in all.
    pub(super) fn open(url: &str, start: u64, bytes: u64, patience: Duration) -> Result<Self, Failure> {
        if url.starts_with("https:") {
            Self::through_curl(url, start, patience)
        } else {
            Self::through_http(url, start, bytes, patience)
        }
    }

    fn through_http(url: &str, start: u64, bytes: u64, patience: Duration) -> Result<Self, Failure> {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_resolve(Some(patience))
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            .timeout_per_read(Some(patience))
            .max_redirects(5)
            .user_agent(concat!("vgg/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let mut request = agent.get(url);
        if start > 0 {
            request = request.header("Range", format!("bytes={start}-"));
        }
        let response = match request.call() {
            Ok(response) => response,
            // It was sent on to an address with encryption.
            Err(ureq::Error::TlsRequired) => return Self::through_curl(url, start, patience),
            Err(error) => return Err(Failure::Broken(error.to_string())),
        };
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let length: Option<u64> = header("content-length").and_then(|length| length.parse().ok());
        let start = match response.status().as_u16() {
            200 => 0,
            206 if header("content-range")
                .is_some_and(|range| range.starts_with(&format!("bytes {start}-"))) =>
            {
                start
            }
            // What is kept is more than the server has, or it sends another part: all of it, then.
            206 | 416 if start > 0 => return Self::through_http(url, 0, bytes, patience),
            status => return Err(Failure::Refused(format!("answered with status {status}"))),
        };
        if let Some(length) = length.filter(|&length| length != bytes - start) {
            let found = length + start;
            return Err(Failure::Refused(format!("has a file of {found} bytes, expected {bytes}")));
        }
        Ok(Self { reader: Box::new(response.into_body().into_reader()), start, child: None })
    }

    /// The same through the program `curl`, which does not say where its answer starts: it fails when
    /// the server does not know of parts.
    pub(super) fn through_curl(url: &str, start: u64, patience: Duration) -> Result<Self, Failure> {
        let seconds = patience.as_secs().max(1).to_string();
        let start_text = start.to_string();
        let mut command = Command::new("curl");
        // First of all: no settings of the user's own, which may send the answer elsewhere.
        command.args(["--disable", "--silent", "--show-error", "--fail", "--location", "--max-redirs", "5"]);
        // A silence ends it: less than a byte a second.
        command.args(["--connect-timeout", &seconds, "--speed-time", &seconds, "--speed-limit", "1"]);
        if start > 0 {
            command.args(["--continue-at", &start_text]);
        }
        command.arg("--").arg(url).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            let cause = match error.kind() {
                IoErrorKind::NotFound => "needs the program curl, which is not installed".to_owned(),
                _ => format!("curl cannot be started ({error})"),
            };
            Failure::Refused(cause)
        })?;
        let Some(reader) = child.stdout.take() else {
            return Err(Failure::Refused("curl gives no output".into()));
        };
        Ok(Self { reader: Box::new(reader), start, child: Some(child) })
    }

    /// What the program that brought the content says at its end; called when no more is wanted.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        // Whoever has all of it need not wait for more; a program without a reader ends.
        drop(std::mem::replace(&mut self.reader, Box::new(std::io::empty())));
        let mut words = String::new();
        if let Some(stderr) = child.stderr.take() {
            // What it says is only for the message.
            let _ = stderr.take(4096).read_to_string(&mut words);
        }
        match child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) if status.code() == Some(CURL_RANGE_ERROR) => {
                Err(Failure::Whole(words.trim().to_owned()))
            }
            Ok(status) => {
                let words = words.trim();
                let ended = format!("curl ended with {status}");
                Err(Failure::Broken(if words.is_empty() { ended } else { words.to_owned() }))
            }
            Err(error) => Err(Failure::Broken(format!("curl cannot be waited for ({error})"))),
        }
    }
}

impl Drop for Connection {
    /// A transfer that was given up must not go on.
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
