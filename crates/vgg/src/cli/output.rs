//! Where text goes: answers to standard output, everything said on the way to standard error.

use serde::Serialize;
use std::fmt::{self, Display};
use std::io::{self, Write};
use vgg::TrainError;

pub(crate) use vgg::train::log::Thousands;

/// Prints the answer of a verb on standard output: one JSON object on one line for machines, or
/// its text for people.
///
/// # Errors
/// When standard output cannot be written. A reader who has seen enough and closed the pipe is
/// not an error.
pub(crate) fn answer<T: Serialize + Display>(answer: &T, json: bool) -> Result<(), TrainError> {
    unless_closed(write(&mut io::stdout().lock(), answer, json)).map(|_| ())
}

/// Whether there is still a reader after something was written on standard output.
///
/// # Errors
/// As [`answer`].
pub(crate) fn unless_closed(written: io::Result<()>) -> Result<bool, TrainError> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(TrainError::Io { action: "write", path: "standard output".into(), source: error }),
    }
}

fn write<T: Serialize + Display>(output: &mut impl Write, answer: &T, json: bool) -> io::Result<()> {
    let text = if json { serde_json::to_string(answer)? + "\n" } else { answer.to_string() };
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// Prints one line on standard error, above the progress line. A standard error that is gone stops nothing.
pub(crate) fn note(line: impl Display) {
    let _ = super::progress::line(line);
}

/// A number of bytes in the unit that a person would choose.
pub(crate) struct Bytes(pub(crate) u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        let (unit, size) = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)]
            .into_iter()
            .find(|(_, size)| bytes >= *size)
            .unwrap_or(("bytes", 1.0));
        let digits = usize::from(unit == "GB") * 2;
        f.pad(&format!("{:.digits$} {unit}", bytes / size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit() {
        let shown: Vec<String> =
            [12, 1500, 389_000_000, 1_230_000_000].iter().map(|&n| Bytes(n).to_string()).collect();
        assert_eq!(shown, ["12 bytes", "2 kB", "389 MB", "1.23 GB"]);
    }
}
