//! A model directory: where a run is kept, and on which storage.

use crate::error::CheckpointError;
use crate::files;
use crate::storage::{Disk, Entry, OutputFile, Storage};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory on a [`Storage`]. It need not exist.
#[derive(Clone, Debug)]
pub struct ModelDir {
    path: PathBuf,
    storage: Arc<dyn Storage>,
}

impl ModelDir {
    /// A directory of the machine's own file system.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::on(Arc::new(Disk), path)
    }

    /// A directory of another file system.
    pub fn on(storage: Arc<dyn Storage>, path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), storage }
    }

    /// The directory's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What holds the directory.
    pub fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// What is at `path`, in the directory or above it; nothing where it cannot be told.
    pub fn entry(&self, path: &Path) -> Option<Entry> {
        self.storage.entry(path).unwrap_or(None)
    }

    /// The bytes of the file `name` in the directory; `None` when there is none.
    ///
    /// # Errors
    /// The file cannot be read, is no regular file, or is longer than `limit` bytes.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, CheckpointError> {
        let path = self.path.join(name);
        match files::entry(self.storage(), &path)? {
            None => Ok(None),
            Some(_) => files::read_small(self.storage(), &path, limit).map(Some),
        }
    }

    /// Replaces the file `name` in the directory, or creates it, so that a crash or a power cut
    /// leaves the old content or the new one, never a part.
    ///
    /// # Errors
    /// The file cannot be created or written; the old content is there, or the new one.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
        files::replace(self.storage(), &self.path.join(name), bytes)
    }

    /// Opens the file `name` in the directory to write behind its end; it is created, and its name
    /// made durable, when it does not exist.
    ///
    /// # Errors
    /// The file cannot be opened or created.
    pub fn append(&self, name: &str) -> Result<Box<dyn OutputFile>, CheckpointError> {
        let path = self.path.join(name);
        let file = self.storage.append(&path).map_err(|source| CheckpointError::Create { path, source })?;
        files::sync_directory(self.storage(), &self.path)?;
        Ok(file)
    }

    /// The directory and those above it that do not exist, innermost first.
    pub fn missing(&self) -> Vec<PathBuf> {
        let is_missing = |path: &&Path| matches!(self.storage.entry(path), Ok(None));
        self.path.ancestors().take_while(is_missing).map(PathBuf::from).collect()
    }
}

impl<P: Into<PathBuf>> From<P> for ModelDir {
    fn from(path: P) -> Self {
        Self::new(path)
    }
}
