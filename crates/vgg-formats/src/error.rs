//! What can go wrong with checkpoints.

use crate::state::NetworkId;
use crate::tensors::TensorSet;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use vgg_arch::text::one_line;

/// Characters of a cause, which may cite what is in a file.
const LONGEST_CAUSE: usize = 600;

/// Why a checkpoint cannot be written, found or read. Every message names the file, the cause and
/// the next step.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A checkpoint whose bytes are not those that were written.
    #[error("{path} is damaged: {cause}; restore it from a copy or use another checkpoint")]
    Damaged {
        /// The damaged file or directory.
        path: PathBuf,
        /// What was expected and what was found.
        cause: String,
    },
    /// A checkpoint written by a later version of this program.
    #[error("{path} has format version {found}, this program reads up to {supported}: update the program")]
    NewerFormat {
        /// The state file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that can be read.
        supported: u32,
    },
    /// An intact checkpoint of another network.
    #[error(
        "{path} belongs to {found}, not to {expected}: choose the options it was trained with or another model directory"
    )]
    OtherNetwork {
        /// The checkpoint.
        path: PathBuf,
        /// Its network.
        found: Box<NetworkId>,
        /// The network asked for.
        expected: Box<NetworkId>,
    },
    /// There are checkpoints, and none of them is intact.
    #[error(
        "none of the checkpoints in {model_dir} is intact (of {count} in all, the newest: {finding}); restore one from a copy, or choose another model directory to start anew",
        finding = newest.finding()
    )]
    NoneIntact {
        /// The model directory.
        model_dir: PathBuf,
        /// Number of checkpoints, all damaged.
        count: usize,
        /// What is wrong with the newest one.
        newest: Box<CheckpointError>,
    },
    /// A set of tensors was asked for from a checkpoint that does not have it.
    #[error(
        "{path} was saved without {file}: resume with the recipe that it was trained with, or start anew",
        file = set.file_name()
    )]
    NoSet {
        /// The checkpoint.
        path: PathBuf,
        /// The set.
        set: TensorSet,
    },
    /// A value to be saved is infinite or not a number. Nothing was saved.
    #[error(
        "no checkpoint was saved: in {file}, value {position} of {parameter} would be {value}; train again with a smaller learning rate",
        file = set.file_name()
    )]
    NonFinite {
        /// The set of tensors that holds the value.
        set: TensorSet,
        /// Name of the parameter.
        parameter: String,
        /// Position of the value in the parameter.
        position: usize,
        /// The value.
        value: f32,
    },
    /// The caller could not give or take the values of a parameter.
    #[error("the values of {parameter} could not be moved between the network and {path}: {source}")]
    Values {
        /// The file.
        path: PathBuf,
        /// Name of the parameter.
        parameter: String,
        /// The caller's error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file or directory cannot be created.
    #[error("cannot create {path}: {source}; check its permissions or choose another model directory")]
    Create {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file or directory cannot be written, renamed or removed; also a full disk.
    #[error("cannot write {path}: {source}; check its permissions and the free space of its disk")]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file or directory cannot be read.
    #[error("cannot read {path}: {source}; check its permissions and its disk")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process trains in this model directory.
    #[error(
        "{path} is locked{by}: wait until that training ends, or choose another model directory",
        by = holder.map_or_else(String::new, |pid| format!(" by process {pid}"))
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, if it has written its number.
        holder: Option<u32>,
    },
}

/// Groups of errors, one for each exit code of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A checkpoint that cannot be used: exit code 65.
    BadData,
    /// Output cannot be created: exit code 73.
    CannotCreate,
    /// Reading or writing failed: exit code 74.
    Io,
    /// Another process holds the lock: exit code 75.
    Locked,
    /// The network holds values that are not finite: exit code 76.
    Diverged,
}

impl CheckpointError {
    /// The group that the error belongs to.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Damaged { .. }
            | Self::NewerFormat { .. }
            | Self::OtherNetwork { .. }
            | Self::NoneIntact { .. }
            | Self::NoSet { .. } => ErrorKind::BadData,
            Self::NonFinite { .. } => ErrorKind::Diverged,
            Self::Create { .. } => ErrorKind::CannotCreate,
            Self::Write { .. } | Self::Read { .. } | Self::Values { .. } => ErrorKind::Io,
            Self::Locked { .. } => ErrorKind::Locked,
        }
    }

    /// File and cause, without the advice for this error alone.
    fn finding(&self) -> String {
        match self {
            Self::Damaged { path, cause } => format!("{}: {cause}", path.display()),
            error => error.to_string(),
        }
    }

    /// [`CheckpointError::Damaged`] of `path`.
    pub(crate) fn damaged(path: &Path, cause: impl Into<String>) -> Self {
        let cause: String = cause.into();
        Self::Damaged { path: path.to_owned(), cause: one_line(&cause, LONGEST_CAUSE) }
    }
}
