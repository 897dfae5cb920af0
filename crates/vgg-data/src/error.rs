//! The one error of this crate: a kind for programs, and three parts for people.

use std::fmt::Display;
use std::path::Path;

/// What went wrong, in the terms by which a program chooses its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A file or folder is missing or cannot be read.
    Unreadable,
    /// What was read is not valid data.
    Invalid,
    /// A file cannot be written.
    Unwritable,
    /// The caller asked for something impossible, such as batches of 0 pictures.
    Argument,
}

/// What is wrong with which file or value, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {cause}; {advice}")]
pub struct DataError {
    kind: ErrorKind,
    /// The file, folder or value concerned.
    subject: String,
    /// What was expected and what was found.
    cause: String,
    /// What the user can do next.
    advice: String,
}

impl DataError {
    pub(crate) fn new(
        kind: ErrorKind,
        subject: impl Display,
        cause: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { kind, subject: subject.to_string(), cause: cause.into(), advice: advice.into() }
    }

    pub(crate) fn unreadable(path: &Path, cause: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unreadable, path.display(), cause, advice)
    }

    pub(crate) fn invalid(
        subject: impl Display,
        cause: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::new(ErrorKind::Invalid, subject, cause, advice)
    }

    pub(crate) fn argument(
        subject: impl Display,
        cause: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::new(ErrorKind::Argument, subject, cause, advice)
    }

    /// What went wrong, in the terms by which a program chooses its exit code.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}
