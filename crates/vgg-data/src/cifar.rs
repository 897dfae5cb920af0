//! CIFAR-10 in its binary version: a folder of files, or the archive in which they are published.
//!
//! A file is a row of records, each one byte for the class and 3 × 1024 bytes for red, green and blue of
//! 32 × 32 pixels. `data_batch_1.bin` to `data_batch_5.bin` are for training, `test_batch.bin` is for the
//! test, and `batches.meta.txt`, which may be missing, names the classes.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::dataset::{Dataset, Splits};
use crate::error::DataError;
use crate::idx::{MOST_UNPACKED, USUAL_EXPANSION};
use crate::idx_folder::validation_count;
use crate::listing::Listing;
use crate::options::{Loading, Progress, Unit};
use crate::{names, tar};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const RECORD: usize = 1 + 3 * PLANE;
const CLASSES: usize = names::CIFAR_10.len();

/// The folder in the published archive.
const FOLDER: &str = "cifar-10-batches-bin";
const META: &str = "batches.meta.txt";
const TEST: &str = "test_batch.bin";
const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    TEST,
];

const FETCH_AGAIN: &str = "fetch cifar-10-binary.tar.gz again";

/// The folder of the six files, if `folder` is it or has it.
pub(crate) fn find(folder: &Path, listing: &Listing) -> Option<PathBuf> {
    if listing.any(|name| FILES.contains(&name)) {
        return Some(folder.to_owned());
    }
    listing.has_folder(FOLDER).then(|| folder.join(FOLDER))
}

/// Whether a file is, by its name, the packed archive.
pub(crate) fn is_archive(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase());
    name.is_some_and(|name| name.ends_with(".tar.gz") || name.ends_with(".tgz"))
}

/// Opens a folder of the six files.
pub(crate) fn open(folder: &Path, name: &str) -> Result<Splits, DataError> {
    let mut records = Records::default();
    for file in FILES {
        let path = folder.join(file);
        records.add(file, &path.display().to_string(), &read(&path)?)?;
    }
    let meta = folder.join(META);
    let class_names = if meta.exists() { check_names(&meta, names::lines(&meta)?)? } else { known_names() };
    records.into_splits(name, class_names)
}

/// Opens the packed archive.
pub(crate) fn open_archive(path: &Path, name: &str, progress: &Progress) -> Result<Splits, DataError> {
    let unreadable = |error: std::io::Error| {
        DataError::unreadable(path, error.to_string(), "check the path and its permissions")
    };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    let file = BufReader::with_capacity(1 << 16, File::open(path).map_err(unreadable)?);
    let most = length.saturating_mul(USUAL_EXPANSION).saturating_add(MOST_UNPACKED);
    let mut archive = tar::Archive::new(path, MultiGzDecoder::new(file), most);
    let mut contents: [Option<Vec<u8>>; FILES.len()] = Default::default();
    let mut done = 0;
    while let Some(entry) = archive.next_entry()? {
        let Some(place) = FILES.iter().position(|file| *file == entry.base_name()) else { continue };
        progress.check("unpacking files")?;
        contents[place] = Some(archive.read_content(&entry)?);
        done += 1;
        let total = FILES.len() as u64;
        progress.tell(&Loading { task: "unpacking files", done, total, unit: Unit::Files });
    }
    archive.finish()?;
    let mut records = Records::default();
    for (file, content) in FILES.iter().zip(&mut contents) {
        let Some(content) = content.take() else {
            let cause = format!("there is no {file} in this archive");
            return Err(DataError::invalid(path.display(), cause, FETCH_AGAIN));
        };
        records.add(file, &format!("{} ({file})", path.display()), &content)?;
    }
    records.into_splits(name, known_names())
}

fn known_names() -> Vec<String> {
    names::CIFAR_10.map(Into::into).to_vec()
}

fn check_names(path: &Path, names: Vec<String>) -> Result<Vec<String>, DataError> {
    if names.len() == CLASSES {
        return Ok(names);
    }
    let cause = format!("{} names, expected {CLASSES}", names.len());
    Err(DataError::invalid(path.display(), cause, "correct the file, or remove it"))
}

fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let unreadable = |error: std::io::Error| {
        DataError::unreadable(path, error.to_string(), "put the file there, or check its permissions")
    };
    // Asked before opening, which would wait for ever at a named pipe.
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(DataError::unreadable(path, "is not a file", FETCH_AGAIN));
    }
    check_length(&path.display().to_string(), metadata.len())?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(metadata.len() as usize).map_err(|_| {
        let cause = format!("{} bytes, more than there is memory for", metadata.len());
        DataError::invalid(path.display(), cause, "use a larger machine")
    })?;
    // A file that grows meanwhile is read no further.
    File::open(path).map_err(unreadable)?.take(metadata.len()).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn check_length(subject: &str, length: u64) -> Result<(), DataError> {
    if length > 0 && length.is_multiple_of(RECORD as u64) {
        return Ok(());
    }
    let cause = format!("{length} bytes, expected pictures of {RECORD} bytes each, one at least");
    Err(DataError::invalid(subject, cause, FETCH_AGAIN))
}

/// What has been read.
#[derive(Default)]
struct Records {
    train: Part,
    test: Part,
}

#[derive(Default)]
struct Part {
    images: Vec<u8>,
    labels: Vec<u32>,
}

impl Records {
    /// Adds the records of a file; `subject` is what messages call it.
    fn add(&mut self, file: &str, subject: &str, bytes: &[u8]) -> Result<(), DataError> {
        check_length(subject, bytes.len() as u64)?;
        let part = if file == TEST { &mut self.test } else { &mut self.train };
        part.images.reserve_exact(bytes.len() / RECORD * 3 * PLANE);
        for (position, record) in bytes.chunks_exact(RECORD).enumerate() {
            let (label, planes) = (u32::from(record[0]), &record[1..]);
            if label as usize >= CLASSES {
                let cause = format!("picture {position} has class {label}, expected 0 to {}", CLASSES - 1);
                return Err(DataError::invalid(subject, cause, FETCH_AGAIN));
            }
            part.labels.push(label);
            let pixels =
                (0..PLANE).flat_map(|pixel| [0, 1, 2].map(|channel| planes[channel * PLANE + pixel]));
            part.images.extend(pixels);
        }
        Ok(())
    }

    fn into_splits(self, name: &str, class_names: Vec<String>) -> Result<Splits, DataError> {
        let Self { mut train, test } = self;
        // Five files have at least one picture each.
        let first = validation_count(train.labels.len());
        let validation = Part {
            images: train.images.drain(..first * 3 * PLANE).collect(),
            labels: train.labels.drain(..first).collect(),
        };
        let [train, validation, test] = [train, validation, test]
            .map(|part| Dataset::new(part.images, part.labels, [SIDE, SIDE, 3], class_names.clone()));
        Ok(Splits::new(name, train?, validation?, test?))
    }
}
