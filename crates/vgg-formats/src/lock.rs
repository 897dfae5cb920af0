//! One trainer for each model directory.

use crate::error::CheckpointError;
use crate::files;
use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The right to write in a model directory. It ends when the guard is dropped or its process
/// dies, however it dies: the system holds the lock, the file `.lock` itself stays and says nothing.
#[derive(Debug)]
pub struct LockGuard {
    /// Never read: closing it releases the lock.
    _file: File,
}

/// Takes the lock of `model_dir`, which is created when it does not exist, and writes the number
/// of this process into `.lock` for information.
///
/// # Errors
/// [`CheckpointError::Locked`] with the holder's number when another process, or another guard of
/// this one, has it; the directory or the file cannot be created or written.
pub fn lock(model_dir: &Path) -> Result<LockGuard, CheckpointError> {
    files::create_directories(model_dir)?;
    let path = model_dir.join(".lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|source| CheckpointError::Create { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(CheckpointError::Locked { holder: holder(&file), path });
        }
        Err(TryLockError::Error(source)) => return Err(CheckpointError::Write { path, source }),
    }
    write_pid(&mut file).map_err(|source| CheckpointError::Write { path: PathBuf::from(&path), source })?;
    Ok(LockGuard { _file: file })
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

/// The number in the lock file. It is information only: the lock itself is the system's.
fn holder(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
