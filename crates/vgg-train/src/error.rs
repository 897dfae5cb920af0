//! Why training, evaluation or prediction did not happen, and the exit code that belongs to it.

use std::io;
use std::path::{Path, PathBuf};
use vgg_arch::ArchError;
use vgg_data::DataError;
use vgg_engine::EngineError;
use vgg_formats::CheckpointError;

/// Why a run cannot start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// An option has a value that cannot be used. The message says which, and what to give.
    #[error("{0}")]
    Usage(String),
    /// Options differ from those that the run in a model directory was started with.
    #[error(
        "{path} belongs to a run with other options: {differences}; leave these options out to go on with \
         that run, or give another --model-dir"
    )]
    Differs {
        /// The configuration file.
        path: PathBuf,
        /// Name, saved value and asked value of each.
        differences: String,
    },
    /// A network that cannot be built.
    #[error(transparent)]
    Network(#[from] ArchError),
    /// Data that cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A checkpoint or lock that cannot be had, or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// An engine that cannot be made, or refused its input.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file or data set that does not fit the rest. The message names it and the next step.
    #[error("{0}")]
    Incompatible(String),
    /// A model directory or file that cannot be created.
    #[error("cannot create {path}: {source}; give a --model-dir that can be written to")]
    Create {
        /// What was to be created.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Reading or writing failed.
    #[error("cannot {action} {path}: {source}; check the disk and the file's permissions, then try again")]
    Io {
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process changed the model directory meanwhile.
    #[error("{path} was changed by another process while this one started; try again")]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The loss or the weights stopped being finite numbers.
    #[error("training diverged after {step} steps: {cause}; {next}")]
    Diverged {
        /// Which number is not finite.
        cause: String,
        /// Updates that made the network of which that was found.
        step: u64,
        /// Which checkpoint remains, where that is known, and what to do.
        next: String,
    },
    /// An evaluation was asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl TrainError {
    /// The exit code of a program that ends with this error: 2 usage, 65 bad input data, 73 cannot
    /// create output, 74 I/O error, 75 try again, 76 training diverged, 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Differs { .. } | Self::Network(_) => 2,
            Self::Incompatible(_) => 65,
            Self::Data(error) => data_exit_code(error.kind()),
            Self::Checkpoint(error) => checkpoint_exit_code(error.kind()),
            Self::Engine(
                EngineError::Memory { .. } | EngineError::Machine(_) | EngineError::Value { .. },
            ) => 2,
            Self::Engine(_) => 65,
            Self::Create { .. } => 73,
            Self::Io { .. } => 74,
            Self::Busy { .. } => 75,
            Self::Diverged { .. } => 76,
            Self::Interrupted => 130,
        }
    }

    /// Whether files could not be created, read or written: trouble that may pass.
    pub(crate) fn is_of_files(&self) -> bool {
        matches!(self.exit_code(), 73 | 74)
    }

    /// A network that `step` updates have spoilt.
    pub(crate) fn diverged(cause: String, step: u64) -> Self {
        let next = "train in another --model-dir with a smaller --learning-rate".to_owned();
        Self::Diverged { cause, step, next }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}

fn data_exit_code(kind: vgg_data::ErrorKind) -> u8 {
    match kind {
        vgg_data::ErrorKind::Argument => 2,
        vgg_data::ErrorKind::Unreadable | vgg_data::ErrorKind::Invalid => 65,
        vgg_data::ErrorKind::Unwritable => 73,
        vgg_data::ErrorKind::Unavailable => 74,
        vgg_data::ErrorKind::Interrupted => 130,
    }
}

fn checkpoint_exit_code(kind: vgg_formats::ErrorKind) -> u8 {
    match kind {
        vgg_formats::ErrorKind::BadData => 65,
        vgg_formats::ErrorKind::CannotCreate => 73,
        vgg_formats::ErrorKind::Io => 74,
        vgg_formats::ErrorKind::Locked => 75,
        vgg_formats::ErrorKind::Diverged => 76,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        let create =
            || TrainError::Create { path: "a".into(), source: io::ErrorKind::PermissionDenied.into() };
        let io = || TrainError::io("read", Path::new("a"), io::ErrorKind::StorageFull.into());
        let locked = CheckpointError::Locked { path: "a".into(), holder: None };
        let diverged = TrainError::diverged("the loss is NaN".into(), 3);
        let missing = vgg_data::Source::Folder("no/such/folder".into());
        let missing = vgg_data::open(&missing, &vgg_data::DataOptions::default()).unwrap_err();
        for (error, code) in [
            (TrainError::Usage("a".into()), 2),
            (TrainError::Network(ArchError::Classes(1)), 2),
            (TrainError::Incompatible("a".into()), 65),
            (missing.into(), 65),
            (create(), 73),
            (io(), 74),
            (locked.into(), 75),
            (TrainError::Busy { path: "a".into() }, 75),
            (diverged, 76),
            (TrainError::Interrupted, 130),
        ] {
            assert_eq!(error.exit_code(), code, "{error}");
        }
    }
}
