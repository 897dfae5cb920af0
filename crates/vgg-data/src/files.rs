//! Data in files on this machine: what they are is told by what is there.

use std::path::Path;

use crate::dataset::Splits;
use crate::error::DataError;
use crate::listing::Listing;
use crate::options::DataOptions;
use crate::source::names_near;
use crate::{cifar, idx_folder, picture_folder};

/// What is at a path.
pub(crate) enum Kind {
    /// One set of IDX files.
    Idx(idx_folder::Layout),
    /// The folder with CIFAR-10's files.
    Cifar(std::path::PathBuf),
    /// CIFAR-10's archive.
    CifarArchive,
    /// A folder of pictures, and what is in it.
    Pictures(Listing),
}

impl Kind {
    /// Looks at names only.
    pub(crate) fn at(path: &Path) -> Result<Self, DataError> {
        if !path.is_dir() {
            if path.is_file() && cifar::is_archive(path) {
                return Ok(Self::CifarArchive);
            }
            if let Some(layout) = idx_folder::Layout::named(path) {
                return Ok(Self::Idx(layout));
            }
            return Err(no_folder(path));
        }
        let listing = Listing::read(path)?;
        if listing.any(idx_folder::is_name) {
            return Ok(Self::Idx(idx_folder::Layout::find(path, &listing)?));
        }
        if let Some(folder) = cifar::find(path, &listing) {
            return Ok(Self::Cifar(folder));
        }
        if picture_folder::is_one(&listing) {
            return Ok(Self::Pictures(listing));
        }
        let cause = "holds neither IDX files, nor folders of pictures, nor CIFAR-10's binary files";
        Err(DataError::unreadable(path, cause, advice(path)))
    }
}

/// There is no folder at `path`, which may have been meant as a name.
fn no_folder(path: &Path) -> DataError {
    let cause = if path.exists() { "is not a folder" } else { "there is no such folder" };
    DataError::unreadable(path, cause, advice(path))
}

fn advice(path: &Path) -> String {
    let (names, nearest) = names_near(&path.file_name().unwrap_or_default().to_string_lossy());
    let nearest = nearest.map_or_else(String::new, |name| format!(" (did you mean {name}?)"));
    format!("give a folder with four IDX files or of pictures, or use {names}{nearest}")
}

/// Opens what is at `path`; `name` is what the data are called.
pub(crate) fn open(path: &Path, name: &str, options: &DataOptions) -> Result<Splits, DataError> {
    match Kind::at(path)? {
        Kind::Idx(layout) => idx_folder::open(&layout, name, &options.progress),
        Kind::Cifar(folder) => cifar::open(&folder, name),
        Kind::CifarArchive => cifar::open_archive(path, name, &options.progress),
        Kind::Pictures(listing) => picture_folder::open(path, &listing, name, options),
    }
}
