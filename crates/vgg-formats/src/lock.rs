//! One trainer for each model directory.

use crate::error::CheckpointError;
use crate::files;
use crate::model_dir::ModelDir;
use crate::storage::{Lock, Storage};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The right to write in a model directory. It ends when the guard is dropped or its process
/// dies, however it dies: the system holds the lock, the file `.lock` itself stays and says nothing.
#[derive(Debug)]
pub struct LockGuard {
    path: PathBuf,
    lock: Box<dyn Lock>,
}

impl LockGuard {
    /// Writes the number of this process into `.lock` for information. It is apart from [`lock`],
    /// so that a directory that turns out to be of no use is left as it was.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_holder(&mut self) -> Result<(), CheckpointError> {
        let text = format!("{}\n", std::process::id());
        self.lock.write(&text).map_err(|source| CheckpointError::Write { path: self.path.clone(), source })
    }
}

/// Takes the lock of `model_dir`, which is created when it does not exist. The content of `.lock`
/// stays as it is until [`LockGuard::write_holder`] is called.
///
/// # Errors
/// [`CheckpointError::Locked`] with the holder's number, if it has written one, when another
/// process, or another guard of this one, has it; the directory or the file cannot be created.
pub fn lock(model_dir: &ModelDir) -> Result<LockGuard, CheckpointError> {
    let storage = model_dir.storage();
    files::create_directories(storage, model_dir.path())?;
    let path = model_dir.path().join(".lock");
    match storage.lock(&path) {
        Ok(Some(lock)) => Ok(LockGuard { path, lock }),
        Ok(None) => Err(CheckpointError::Locked { holder: holder(storage, &path), path }),
        Err(source) => Err(CheckpointError::Create { path, source }),
    }
}

/// The number in the lock file. It is information only: the lock itself is the system's.
fn holder(storage: &dyn Storage, path: &Path) -> Option<u32> {
    let mut text = String::new();
    storage.open(path).ok()?.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
