//! The file `MANIFEST`: the SHA-256 of every other file of a checkpoint, and of itself.
//!
//! ```text
//! 5f70bf18…  state.json
//! a3a5e715…  weights.safetensors
//! # 2 files, SHA-256 of the lines above: 0c9b1d6e…
//! ```
//! The format is that of `sha256sum`, which checks it with `sha256sum -c MANIFEST` and takes the
//! last line for a comment. That line guards the others: without it, a lost line at the end would
//! look like a checkpoint without that file.

use crate::error::CheckpointError;
use crate::files::{self, NewFile};
use crate::storage::Storage;
use std::path::Path;

/// Name of the file.
pub(crate) const FILE: &str = "MANIFEST";

/// Five lines take less than 500 bytes; the rest is room for later formats.
const LONGEST: u64 = 1 << 16;

/// File names with their SHA-256 in lower-case hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    files: Vec<(String, String)>,
}

impl Manifest {
    /// Adds a file.
    pub(crate) fn push(&mut self, name: &str, hash: String) {
        self.files.push((name.to_owned(), hash));
    }

    /// The hash of the file `name`, if it is listed.
    pub(crate) fn hash_of(&self, name: &str) -> Option<&str> {
        self.files.iter().find(|(file, _)| file == name).map(|(_, hash)| hash.as_str())
    }

    /// Writes the manifest into `directory`.
    pub(crate) fn write(&self, storage: &dyn Storage, directory: &Path) -> Result<(), CheckpointError> {
        let mut file = NewFile::create(storage, &directory.join(FILE))?;
        file.write(self.render().as_bytes())?;
        file.finish().map(drop)
    }

    /// Reads the manifest of `directory`. Every byte of it is checked.
    pub(crate) fn read(storage: &dyn Storage, directory: &Path) -> Result<Self, CheckpointError> {
        let path = directory.join(FILE);
        let bytes = files::read_small(storage, &path, LONGEST)?;
        let damaged = |cause: &str| CheckpointError::damaged(&path, cause);
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged("expected text, found other bytes"))?;
        let mut manifest = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (hash, name) = line
                .split_once("  ")
                .filter(|(_, name)| is_plain(name))
                .ok_or_else(|| damaged("expected lines of a hash and a file name, found something else"))?;
            manifest.push(name, hash.to_owned());
        }
        // One way to write a list leaves no byte free to change.
        if manifest.render() != text {
            return Err(damaged("the hash in its last line is not that of the lines above"));
        }
        Ok(manifest)
    }

    /// Checks the hash of every file that is listed.
    pub(crate) fn check_files(&self, storage: &dyn Storage, directory: &Path) -> Result<(), CheckpointError> {
        let mut files = self.files.iter();
        files.try_for_each(|(name, hash)| files::check_file(storage, &directory.join(name), hash))
    }

    fn render(&self) -> String {
        let lines: String = self.files.iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect();
        format!(
            "{lines}# {} files, SHA-256 of the lines above: {}\n",
            self.files.len(),
            files::hash(lines.as_bytes())
        )
    }
}

/// Whether `name` is a file in the checkpoint itself, never one elsewhere.
fn is_plain(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.bytes().all(allowed)
}
