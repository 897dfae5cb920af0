//! The one error of this crate: a kind for programs, and three parts for people.

use std::fmt::Display;
use std::path::Path;

use vgg_arch::text::one_line;

/// Characters of each part of a message. Names and causes come from outside, and may be endless.
const LONGEST_PART: usize = 600;

/// What went wrong, in the terms by which a program chooses its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A file or folder is missing or cannot be read.
    Unreadable,
    /// What was read is not valid data.
    Invalid,
    /// A file cannot be written.
    Unwritable,
    /// A data set cannot be downloaded now.
    Unavailable,
    /// Reading was to end early.
    Interrupted,
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

/// The name of a file or value as messages show it.
pub(crate) fn shown(subject: impl Display) -> String {
    one_line(&subject.to_string(), LONGEST_PART)
}

impl DataError {
    pub(crate) fn new(
        kind: ErrorKind,
        subject: impl Display,
        cause: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let (cause, advice): (String, String) = (cause.into(), advice.into());
        Self {
            kind,
            subject: shown(subject),
            cause: one_line(&cause, LONGEST_PART),
            advice: one_line(&advice, LONGEST_PART),
        }
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
