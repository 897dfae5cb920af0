//! One trainer for each model directory.

use crate::error::CheckpointError;
use crate::files;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The right to write in a model directory. It ends when the guard is dropped or its process
/// dies, however it dies: the system holds the lock, the file `.lock` itself stays and says nothing.
#[derive(Debug)]
pub struct LockGuard {
    path: PathBuf,
    /// Closing it releases the lock.
    file: File,
}

impl LockGuard {
    /// Writes the number of this process into `.lock` for information. It is apart from [`lock`],
    /// so that a directory that turns out to be of no use is left as it was.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_holder(&mut self) -> Result<(), CheckpointError> {
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut self.file).map_err(|source| CheckpointError::Write { path: self.path.clone(), source })
    }
}

/// Takes the lock of `model_dir`, which is created when it does not exist. The content of `.lock`
/// stays as it is until [`LockGuard::write_holder`] is called.
///
/// # Errors
/// [`CheckpointError::Locked`] with the holder's number, if it has written one, when another
/// process, or another guard of this one, has it; the directory or the file cannot be created.
pub fn lock(model_dir: &Path) -> Result<LockGuard, CheckpointError> {
    files::create_directories(model_dir)?;
    let path = model_dir.join(".lock");
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|source| CheckpointError::Create { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(LockGuard { path, file }),
        Err(TryLockError::WouldBlock) => Err(CheckpointError::Locked { holder: holder(&file), path }),
        Err(TryLockError::Error(source)) => Err(CheckpointError::Write { path, source }),
    }
}

/// The number in the lock file. It is information only: the lock itself is the system's.
fn holder(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
