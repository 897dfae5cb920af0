//! What is done with files, so that one place says what is synced, hashed and bounded.

use crate::error::CheckpointError;
use crate::storage::{Entry, OutputFile, Storage};
use sha2::{Digest, Sha256};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Creates `path` and the directories above it, so that they survive a power cut.
pub(crate) fn create_directories(storage: &dyn Storage, path: &Path) -> Result<(), CheckpointError> {
    let is_directory = |folder: &Path| match storage.entry(folder) {
        Ok(entry) => Ok(entry == Some(Entry::Directory)),
        Err(source) => Err(create_error(path, source)),
    };
    let mut missing = Vec::new();
    for folder in path.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
        if is_directory(folder)? {
            break;
        }
        missing.push(folder);
    }
    for folder in missing.into_iter().rev() {
        match storage.create_directory(folder) {
            // Somebody else was faster.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && is_directory(folder)? => {}
            result => result.map_err(|source| create_error(folder, source))?,
        }
        sync_parent(storage, folder)?;
    }
    Ok(())
}

/// Creates the directory `path`, in place of whatever a dead process left there.
pub(crate) fn create_empty_directory(storage: &dyn Storage, path: &Path) -> Result<(), CheckpointError> {
    remove_if_there(storage, path)?;
    storage.create_directory(path).map_err(|source| create_error(path, source))
}

/// Replaces a file, or creates it: the bytes are on the disk before the name is.
pub(crate) fn replace(storage: &dyn Storage, path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    // What a dead process left there.
    match storage.remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(create_error(&temporary, error)),
        _ => {}
    }
    let mut file = storage.create(&temporary).map_err(|source| create_error(&temporary, source))?;
    let written = file.write_all(bytes).and_then(|()| file.sync());
    written.and_then(|()| storage.rename(&temporary, path)).map_err(|source| {
        // The first error is the one to report.
        let _ = storage.remove_file(&temporary);
        write_error(path, source)
    })?;
    sync_parent(storage, path)
}

/// Makes the name of `path` durable.
pub(crate) fn sync_parent(storage: &dyn Storage, path: &Path) -> Result<(), CheckpointError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    storage.sync_directory(parent.unwrap_or(Path::new("."))).map_err(|source| write_error(path, source))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(storage: &dyn Storage, path: &Path) -> Result<(), CheckpointError> {
    storage.sync_directory(path).map_err(|source| write_error(path, source))
}

/// Renames a directory within its parent and makes that durable.
pub(crate) fn rename_directory(storage: &dyn Storage, from: &Path, to: &Path) -> Result<(), CheckpointError> {
    storage.rename(from, to).map_err(|source| write_error(to, source))?;
    sync_parent(storage, to)
}

/// Removes a directory with everything in it. Links are removed, not followed.
pub(crate) fn remove_directory(storage: &dyn Storage, path: &Path) -> Result<(), CheckpointError> {
    // What is a link to a directory is no directory to this call, which fails on real ones.
    if storage.remove_file(path).is_ok() {
        return Ok(());
    }
    let failed = |source| write_error(path, source);
    for (name, is_directory) in storage.names(path).map_err(failed)? {
        let inner = path.join(name);
        if is_directory {
            remove_directory(storage, &inner)?;
        } else {
            storage.remove_file(&inner).map_err(|source| write_error(&inner, source))?;
        }
    }
    storage.remove_directory(path).map_err(failed)
}

/// Removes a directory with everything in it, if there is one.
pub(crate) fn remove_if_there(storage: &dyn Storage, path: &Path) -> Result<(), CheckpointError> {
    match entry(storage, path)? {
        None => Ok(()),
        Some(_) => remove_directory(storage, path),
    }
}

/// What is at `path`; `None` when nothing is.
pub(crate) fn entry(storage: &dyn Storage, path: &Path) -> Result<Option<Entry>, CheckpointError> {
    storage.entry(path).map_err(|source| read_error(path, source))
}

/// The names of the directories in `path`; those that are not Unicode are nobody's here. A
/// directory that does not exist has none.
pub(crate) fn directories_in(storage: &dyn Storage, path: &Path) -> Result<Vec<String>, CheckpointError> {
    let names = match storage.names(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(CheckpointError::Read { path: path.to_owned(), source }),
        Ok(names) => names,
    };
    let mut directories = Vec::new();
    for (name, is_directory) in names {
        let inner = path.join(&name);
        // A link may lead to one.
        let is_directory = is_directory || entry(storage, &inner)? == Some(Entry::Directory);
        if is_directory && let Ok(name) = name.into_string() {
            directories.push(name);
        }
    }
    Ok(directories)
}

/// A file in the making, hashed as it is written.
pub(crate) struct NewFile {
    path: PathBuf,
    file: Box<dyn OutputFile>,
    hash: Sha256,
}

impl NewFile {
    /// Creates `path`, which must not exist.
    pub(crate) fn create(storage: &dyn Storage, path: &Path) -> Result<Self, CheckpointError> {
        let file = storage.create(path).map_err(|source| create_error(path, source))?;
        Ok(Self { path: path.to_owned(), file, hash: Sha256::new() })
    }

    /// Appends `bytes`. There is no buffer: give large pieces.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.file.write_all(bytes).map_err(|source| write_error(&self.path, source))?;
        self.hash.update(bytes);
        Ok(())
    }

    /// Makes the file durable and gives its SHA-256 in lower-case hexadecimal digits.
    pub(crate) fn finish(mut self) -> Result<String, CheckpointError> {
        self.file.sync().map_err(|source| write_error(&self.path, source))?;
        Ok(format!("{:x}", self.hash.finalize()))
    }
}

/// A file that is read from its beginning to its end and hashed on the way.
pub(crate) struct OldFile {
    path: PathBuf,
    file: Box<dyn Read>,
    length: u64,
    hash: Sha256,
}

impl OldFile {
    /// Opens a regular file. A file of a checkpoint that is not there is damage.
    pub(crate) fn open(storage: &dyn Storage, path: &Path) -> Result<Self, CheckpointError> {
        // Checked before opening: a pipe would block there.
        let length = match entry(storage, path)? {
            Some(Entry::File(length)) => length,
            Some(_) => return Err(CheckpointError::damaged(path, "expected a file, found something else")),
            None => return Err(CheckpointError::damaged(path, MISSING)),
        };
        let file = storage.open(path).map_err(|source| read_error(path, source))?;
        Ok(Self { path: path.to_owned(), file, length, hash: Sha256::new() })
    }

    /// Bytes in the file when it was opened.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Fills `bytes` with what comes next.
    pub(crate) fn read(&mut self, bytes: &mut [u8]) -> Result<(), CheckpointError> {
        self.file.read_exact(bytes).map_err(|source| read_error(&self.path, source))?;
        self.hash.update(&*bytes);
        Ok(())
    }

    /// Checks that nothing comes next and that everything read has the SHA-256 `expected`.
    pub(crate) fn finish(mut self, expected: &str) -> Result<(), CheckpointError> {
        let more = self.file.read(&mut [0]).map_err(|source| read_error(&self.path, source))?;
        if more != 0 {
            return Err(CheckpointError::damaged(&self.path, "it grew while it was read"));
        }
        check_hash(&self.path, &format!("{:x}", self.hash.finalize()), expected)
    }
}

/// The bytes of a file of at most `limit` bytes.
pub(crate) fn read_small(storage: &dyn Storage, path: &Path, limit: u64) -> Result<Vec<u8>, CheckpointError> {
    let mut file = OldFile::open(storage, path)?;
    if file.length > limit {
        let cause = format!("expected at most {limit} bytes, found {}", file.length);
        return Err(CheckpointError::damaged(path, cause));
    }
    let mut bytes = Vec::new();
    let length = usize::try_from(file.length).unwrap_or(usize::MAX);
    bytes.try_reserve_exact(length).map_err(|_| read_error(path, ErrorKind::OutOfMemory.into()))?;
    bytes.resize(length, 0);
    file.read(&mut bytes)?;
    Ok(bytes)
}

/// Checks that the whole file has the SHA-256 `expected`.
pub(crate) fn check_file(storage: &dyn Storage, path: &Path, expected: &str) -> Result<(), CheckpointError> {
    let mut file = OldFile::open(storage, path)?;
    let mut buffer = vec![0; 1 << 16];
    let mut rest = file.length;
    while rest > 0 {
        let piece = rest.min(buffer.len() as u64) as usize;
        file.read(&mut buffer[..piece])?;
        rest -= piece as u64;
    }
    file.finish(expected)
}

/// The SHA-256 of `bytes` in lower-case hexadecimal digits.
pub(crate) fn hash(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Compares the hash found in `path` with the one that was written down.
pub(crate) fn check_hash(path: &Path, found: &str, expected: &str) -> Result<(), CheckpointError> {
    if found == expected {
        return Ok(());
    }
    Err(CheckpointError::damaged(path, format!("expected SHA-256 {expected}, found {found}")))
}

fn create_error(path: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::Create { path: path.to_owned(), source }
}

fn write_error(path: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::Write { path: path.to_owned(), source }
}

const MISSING: &str = "expected a file, found none";

/// A missing or shortened file is damage to the checkpoint; anything else is the system's trouble.
fn read_error(path: &Path, source: io::Error) -> CheckpointError {
    match source.kind() {
        ErrorKind::NotFound => CheckpointError::damaged(path, MISSING),
        ErrorKind::UnexpectedEof => CheckpointError::damaged(path, "the file ends too early"),
        _ => CheckpointError::Read { path: path.to_owned(), source },
    }
}
