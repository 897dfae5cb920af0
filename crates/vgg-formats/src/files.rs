//! Every operation on the file system, so that one place says what is synced, hashed and bounded.

use crate::error::CheckpointError;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Creates `path` and the directories above it, so that they survive a power cut.
pub(crate) fn create_directories(path: &Path) -> Result<(), CheckpointError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(|source| create_error(path, source))?;
    sync_parent(path)
}

/// Creates the directory `path`, in place of whatever a dead process left there.
pub(crate) fn create_empty_directory(path: &Path) -> Result<(), CheckpointError> {
    if path.exists() {
        remove_directory(path)?;
    }
    fs::create_dir(path).map_err(|source| create_error(path, source))
}

/// Replaces a file, or creates it, so that a crash leaves the old content or the new one, never a
/// part: the bytes are on the disk before the name is.
///
/// # Errors
/// The file cannot be created or written; what was there before is still there.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    // What a dead process left there is overwritten.
    let mut file = File::create(&temporary).map_err(|source| create_error(path, source))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.and_then(|()| fs::rename(&temporary, path)).map_err(|source| {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
        write_error(path, source)
    })?;
    sync_parent(path)
}

/// Makes the name of `path` durable.
fn sync_parent(path: &Path) -> Result<(), CheckpointError> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), CheckpointError> {
    if cfg!(not(unix)) {
        return Ok(()); // Directories cannot be opened as files elsewhere.
    }
    match File::open(path).and_then(|directory| directory.sync_all()) {
        // Some network and user-space file systems know no sync of directories.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        result => result.map_err(|source| write_error(path, source)),
    }
}

/// Renames a directory within its parent and makes that durable.
pub(crate) fn rename_directory(from: &Path, to: &Path) -> Result<(), CheckpointError> {
    fs::rename(from, to).map_err(|source| write_error(to, source))?;
    sync_parent(to)
}

/// Removes a directory with everything in it.
pub(crate) fn remove_directory(path: &Path) -> Result<(), CheckpointError> {
    fs::remove_dir_all(path).map_err(|source| write_error(path, source))
}

/// The names of the directories in `path`; those that are not Unicode are nobody's here. A
/// directory that does not exist has none.
pub(crate) fn directories_in(path: &Path) -> Result<Vec<String>, CheckpointError> {
    let read_error = |source| CheckpointError::Read { path: path.to_owned(), source };
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(read_error)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(read_error)?;
        if entry.path().is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// A file in the making, hashed as it is written.
pub(crate) struct NewFile {
    path: PathBuf,
    file: File,
    hash: Sha256,
}

impl NewFile {
    /// Creates `path`, which must not exist.
    pub(crate) fn create(path: &Path) -> Result<Self, CheckpointError> {
        let file = File::create_new(path).map_err(|source| create_error(path, source))?;
        Ok(Self { path: path.to_owned(), file, hash: Sha256::new() })
    }

    /// Appends `bytes`. There is no buffer: give large pieces.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.file.write_all(bytes).map_err(|source| write_error(&self.path, source))?;
        self.hash.update(bytes);
        Ok(())
    }

    /// Makes the file durable and gives its SHA-256 in lower-case hexadecimal digits.
    pub(crate) fn finish(self) -> Result<String, CheckpointError> {
        self.file.sync_all().map_err(|source| write_error(&self.path, source))?;
        Ok(format!("{:x}", self.hash.finalize()))
    }
}

/// A file that is read from its beginning to its end and hashed on the way.
pub(crate) struct OldFile {
    path: PathBuf,
    file: File,
    length: u64,
    hash: Sha256,
}

impl OldFile {
    /// Opens a regular file. A file of a checkpoint that is not there is damage.
    pub(crate) fn open(path: &Path) -> Result<Self, CheckpointError> {
        // Checked before opening: a pipe would block there.
        let metadata = fs::metadata(path).map_err(|source| read_error(path, source))?;
        if !metadata.is_file() {
            return Err(CheckpointError::damaged(path, "expected a file, found something else"));
        }
        let file = File::open(path).map_err(|source| read_error(path, source))?;
        Ok(Self { path: path.to_owned(), file, length: metadata.len(), hash: Sha256::new() })
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
pub(crate) fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>, CheckpointError> {
    let mut file = OldFile::open(path)?;
    if file.length > limit {
        let cause = format!("expected at most {limit} bytes, found {}", file.length);
        return Err(CheckpointError::damaged(path, cause));
    }
    let mut bytes = vec![0; file.length as usize];
    file.read(&mut bytes)?;
    Ok(bytes)
}

/// Checks that the whole file has the SHA-256 `expected`.
pub(crate) fn check_file(path: &Path, expected: &str) -> Result<(), CheckpointError> {
    let mut file = OldFile::open(path)?;
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

/// A missing or shortened file is damage to the checkpoint; anything else is the system's trouble.
fn read_error(path: &Path, source: io::Error) -> CheckpointError {
    match source.kind() {
        ErrorKind::NotFound => CheckpointError::damaged(path, "expected a file, found none"),
        ErrorKind::UnexpectedEof => CheckpointError::damaged(path, "the file ends too early"),
        _ => CheckpointError::Read { path: path.to_owned(), source },
    }
}
