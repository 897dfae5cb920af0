//! What is in a folder.

use std::ffi::OsString;
use std::path::Path;

use crate::error::DataError;

/// The names in a folder, in the order of their bytes. Hidden ones, which begin with a dot, are left out.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Folders, and links to folders.
    pub(crate) folders: Vec<OsString>,
    /// Everything else: files, and what turns out to be none when it is read.
    pub(crate) files: Vec<OsString>,
}

impl Listing {
    pub(crate) fn read(folder: &Path) -> Result<Self, DataError> {
        let unreadable = |error: std::io::Error| {
            DataError::unreadable(folder, error.to_string(), "check the path and its permissions")
        };
        let mut listing = Self::default();
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            // A link that leads nowhere, or round and round, is a file that cannot be read.
            let is_folder = std::fs::metadata(folder.join(&name)).is_ok_and(|metadata| metadata.is_dir());
            if is_folder { &mut listing.folders } else { &mut listing.files }.push(name);
        }
        listing.folders.sort();
        listing.files.sort();
        Ok(listing)
    }

    /// Whether a folder is called `name`.
    pub(crate) fn has_folder(&self, name: &str) -> bool {
        self.folders.iter().any(|folder| folder == name)
    }

    /// Whether there is anything whose name is text for which `is_it` holds.
    pub(crate) fn any(&self, is_it: impl Fn(&str) -> bool) -> bool {
        self.files.iter().chain(&self.folders).filter_map(|name| name.to_str()).any(is_it)
    }
}
