//! A folder of IDX files, in the layouts in which MNIST and its relatives are published.
//!
//! | set | file names | labels |
//! |---|---|---|
//! | MNIST, Fashion-MNIST, KMNIST | `train-…`, `t10k-…` | bytes |
//! | EMNIST | `emnist-SET-train-…`, `emnist-SET-test-…`, pictures with rows and columns exchanged | bytes; those of `letters` start at 1 |
//! | QMNIST | `qmnist-train-…`, `qmnist-test-…` | eight integers each, of which the first is the class |
//!
//! What comes before `train-` may be anything, the test pictures may be called `t10k` or `test` in any set,
//! and several sets may lie in one folder.

use std::path::{Path, PathBuf};

use crate::dataset::{Dataset, Splits, numbered_classes};
use crate::error::DataError;
use crate::idx::{Idx, Kind, MOST_UNPACKED, read_idx_within};
use crate::listing::Listing;
use crate::names;
use crate::options::{Progress, Unit};

/// From this many training pictures on, as many as MNIST's are for validation …
const MANY: usize = 50_000;
/// … namely so many; with fewer pictures, the first tenth.
const VALIDATION: usize = 5_000;

/// What the files of test pictures may be called.
const TEST: [&str; 2] = ["t10k", "test"];

/// How many of so many training pictures, in the order of the files, are for validation.
pub(crate) fn validation_count(count: usize) -> usize {
    if count >= MANY { VALIDATION } else { (count / 10).max(1) }
}

/// Whether a file of this name makes its folder one of IDX files.
pub(crate) fn is_name(name: &str) -> bool {
    ["images", "labels"]
        .iter()
        .any(|kind| ["-idx", ".idx"].iter().any(|rank| name.contains(&format!("-{kind}{rank}"))))
}

/// One of the sets in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    folder: PathBuf,
    /// What the names of its files begin with: nothing, or such as `emnist-letters-`.
    prefix: String,
}

impl Layout {
    /// The set in a folder that is listed in `listing`.
    ///
    /// # Errors
    /// When there are several sets.
    pub(crate) fn find(folder: &Path, listing: &Listing) -> Result<Self, DataError> {
        let mut prefixes: Vec<&str> = listing
            .files
            .iter()
            .chain(&listing.folders)
            .filter_map(|name| name.to_str())
            .filter(|name| is_name(name))
            .filter_map(|name| name.split_once("train-images").map(|(prefix, _)| prefix))
            .collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        let prefix = match prefixes[..] {
            // MNIST's own names, or those that the message says are missing.
            [] | ["", ..] => "",
            [prefix] => prefix,
            [first, ..] => {
                let sets: Vec<&str> = prefixes.iter().map(|prefix| prefix.trim_end_matches('-')).collect();
                return Err(DataError::invalid(
                    folder.display(),
                    format!("holds several data sets: {}", sets.join(", ")),
                    format!(
                        "give one of them, such as {}",
                        folder.join(first.trim_end_matches('-')).display()
                    ),
                ));
            }
        };
        Ok(Self { folder: folder.to_owned(), prefix: prefix.to_owned() })
    }

    /// The set of which `path` is the folder and the beginning of the names, if there is one.
    pub(crate) fn named(path: &Path) -> Option<Self> {
        let (folder, name) = (path.parent()?, path.file_name()?.to_str()?);
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let layouts =
            ["-", "_", ""].map(|end| Self { folder: folder.to_owned(), prefix: format!("{name}{end}") });
        layouts.into_iter().find(|layout| layout.has_images("train"))
    }

    fn has_images(&self, part: &str) -> bool {
        self.candidates(&format!("{part}-images"), "idx3-ubyte").iter().any(|path| path.exists())
    }

    /// What the files of this set's test pictures are called.
    ///
    /// # Errors
    /// When there are some of either name.
    fn test_part(&self) -> Result<&'static str, DataError> {
        let usual = if self.prefix.is_empty() { TEST[0] } else { TEST[1] };
        match TEST.map(|part| self.has_images(part)) {
            [true, true] => Err(DataError::invalid(
                self.folder.display(),
                format!("has two files of test pictures: {0}t10k-images and {0}test-images", self.prefix),
                "remove one of them",
            )),
            [true, false] => Ok(TEST[0]),
            [false, true] => Ok(TEST[1]),
            [false, false] => Ok(usual),
        }
    }

    /// The paths that a file may have: `NAME-idxR-ubyte` or `NAME.idxR-ubyte`, with or without `.gz`.
    fn candidates(&self, name: &str, kind: &str) -> Vec<PathBuf> {
        let names =
            ["-", "."].map(|dot| ["", ".gz"].map(|end| format!("{}{name}{dot}{kind}{end}", self.prefix)));
        names.as_flattened().iter().map(|name| self.folder.join(name)).collect()
    }

    /// The first file of the usual names.
    fn find_file(&self, name: &str, kinds: &[&str]) -> Result<PathBuf, DataError> {
        let candidates: Vec<PathBuf> = kinds.iter().flat_map(|kind| self.candidates(name, kind)).collect();
        if let Some(path) = candidates.iter().find(|path| path.exists()) {
            return Ok(path.clone());
        }
        let names: Vec<String> = candidates
            .iter()
            .filter_map(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        Err(DataError::unreadable(
            &self.folder,
            format!("no {}{name} file in this folder; looked for {}", self.prefix, names.join(", ")),
            "put the file there, or use mnist",
        ))
    }

    fn is_emnist(&self) -> bool {
        self.prefix.starts_with("emnist-")
    }

    /// The smallest label in the files.
    fn first_label(&self) -> u8 {
        u8::from(self.prefix == "emnist-letters-")
    }

    /// The path of the file that says which letters the labels of EMNIST stand for.
    fn mapping(&self) -> Option<PathBuf> {
        let path = self.folder.join(format!("{}mapping.txt", self.prefix));
        (self.is_emnist() && path.exists()).then_some(path)
    }

    fn class_names(&self, classes: usize) -> Result<Vec<String>, DataError> {
        let first = usize::from(self.first_label());
        match self.mapping() {
            Some(path) => names::mapping(&path, first, classes),
            None => Ok(numbered_classes(first + classes).split_off(first)),
        }
    }
}

/// Opens a set; `name` is what the data are called.
pub(crate) fn open(layout: &Layout, name: &str, progress: &Progress) -> Result<Splits, DataError> {
    let mut allowance = MOST_UNPACKED;
    let mut train = Part::read(layout, "train", &mut allowance, progress)?;
    let test = Part::read(layout, layout.test_part()?, &mut allowance, progress)?;
    if train.shape() != test.shape() {
        let ([height, width], [other_height, other_width]) = (train.shape(), test.shape());
        return Err(DataError::invalid(
            test.images_path.display(),
            format!(
                "pictures of {other_height}x{other_width}, but those of {} are {height}x{width}",
                train.images_path.display()
            ),
            "give training and test pictures of one size",
        ));
    }
    let largest = train.labels.iter().chain(&test.labels).copied().max().unwrap_or(0);
    if largest == 0 {
        return Err(DataError::invalid(
            train.labels_path.display(),
            format!("every label is {}, expected at least two classes", layout.first_label()),
            "give label files with the labels 0, 1, …",
        ));
    }
    let validation = train.split_off_first()?;
    check_classes(largest, layout.first_label(), [&validation, &train], &test)?;
    let class_names = layout.class_names(usize::from(largest) + 1)?;
    let [train, validation, test] =
        [train, validation, test].map(|part| part.into_dataset(class_names.clone()));
    Ok(Splits::new(name, train?, validation?, test?))
}

/// Refuses classes that no training picture shows: one corrupt label would make a network of many
/// classes that can never be learned. The training file is given in its two parts.
fn check_classes(
    largest: u8,
    first_label: u8,
    [first, rest]: [&Part; 2],
    test: &Part,
) -> Result<(), DataError> {
    let training = || first.labels.iter().chain(&rest.labels).copied();
    let mut shown = [false; 256];
    training().for_each(|label| shown[usize::from(label)] = true);
    let Some(missing) = (0..=largest).find(|&class| !shown[usize::from(class)]) else {
        return Ok(());
    };
    let in_training = (&first.labels_path, training().position(|label| label == largest));
    let in_test = (&test.labels_path, test.labels.iter().position(|&label| label == largest));
    for (path, position) in [in_training, in_test] {
        if let Some(position) = position {
            let [largest, missing] =
                [largest, missing].map(|class| u16::from(class) + u16::from(first_label));
            return Err(DataError::invalid(
                path.display(),
                format!(
                    "picture {position} has label {largest}, but no training picture has label {missing}"
                ),
                "correct the labels, or number the classes 0, 1, … without a gap",
            ));
        }
    }
    Ok(())
}

/// The pictures of one pair of files.
struct Part {
    images_path: PathBuf,
    labels_path: PathBuf,
    images: Idx,
    /// Counted from 0.
    labels: Vec<u8>,
}

impl Part {
    fn read(
        layout: &Layout,
        part: &str,
        allowance: &mut u64,
        progress: &Progress,
    ) -> Result<Self, DataError> {
        let images_path = layout.find_file(&format!("{part}-images"), &["idx3-ubyte"])?;
        let kinds: &[&str] =
            if layout.prefix == "qmnist-" { &["idx1-ubyte", "idx2-int"] } else { &["idx1-ubyte"] };
        let labels_path = layout.find_file(&format!("{part}-labels"), kinds)?;
        let mut images = read_idx_within(&images_path, Kind::Bytes, 3, allowance)?;
        let labels = read_labels(&labels_path, layout.first_label(), allowance)?;
        if images.dimensions[0] != labels.len() {
            return Err(DataError::invalid(
                labels_path.display(),
                format!(
                    "{} labels, expected {}, one for each picture in {}",
                    labels.len(),
                    images.dimensions[0],
                    images_path.display()
                ),
                "give two files that belong together",
            ));
        }
        if layout.is_emnist() {
            transpose(&mut images, progress)?;
        }
        Ok(Self { images_path, labels_path, images, labels })
    }

    /// Height and width.
    fn shape(&self) -> [usize; 2] {
        [self.images.dimensions[1], self.images.dimensions[2]]
    }

    /// Takes the pictures for validation off the front.
    fn split_off_first(&mut self) -> Result<Self, DataError> {
        let count = self.labels.len();
        if count < 2 {
            return Err(DataError::invalid(
                self.images_path.display(),
                "holds 1 picture, expected at least 2: one to train with and one for validation",
                "give more pictures",
            ));
        }
        let first = validation_count(count);
        let [height, width] = self.shape();
        Ok(Self {
            images_path: self.images_path.clone(),
            labels_path: self.labels_path.clone(),
            images: Idx {
                dimensions: vec![first, height, width],
                values: self.images.values.drain(..first * height * width).collect(),
            },
            labels: self.labels.drain(..first).collect(),
        })
    }

    fn into_dataset(self, class_names: Vec<String>) -> Result<Dataset, DataError> {
        let [height, width] = self.shape();
        let labels = self.labels.into_iter().map(u32::from).collect();
        Dataset::new(self.images.values, labels, [height, width, 1], class_names)
    }
}

/// The labels in a file, counted from 0: bytes, or rows of integers that begin with the class.
fn read_labels(path: &Path, first: u8, allowance: &mut u64) -> Result<Vec<u8>, DataError> {
    let wrong = |position: usize, label: i64, most: u8| {
        DataError::invalid(
            path.display(),
            format!("picture {position} has label {label}, expected {first} to {most}"),
            "correct the labels",
        )
    };
    if !path.to_string_lossy().trim_end_matches(".gz").ends_with("idx2-int") {
        let mut labels = read_idx_within(path, Kind::Bytes, 1, allowance)?.values;
        for (position, label) in labels.iter_mut().enumerate() {
            *label = label.checked_sub(first).ok_or_else(|| wrong(position, i64::from(*label), u8::MAX))?;
        }
        return Ok(labels);
    }
    let rows = read_idx_within(path, Kind::Integers, 2, allowance)?;
    let classes = rows.values.as_chunks::<4>().0.iter().step_by(rows.dimensions[1]);
    classes
        .map(|&bytes| i32::from_be_bytes(bytes))
        .enumerate()
        .map(|(position, label)| u8::try_from(label).map_err(|_| wrong(position, i64::from(label), u8::MAX)))
        .collect()
}

/// Exchanges rows and columns of every picture.
fn transpose(images: &mut Idx, progress: &Progress) -> Result<(), DataError> {
    let [count, height, width] = [0, 1, 2].map(|dimension| images.dimensions[dimension]);
    let mut upright = vec![0; height * width];
    let mut counter = progress.counter("turning pictures", count as u64, Unit::Pictures);
    for picture in images.values.chunks_exact_mut(height * width) {
        for (position, value) in upright.iter_mut().enumerate() {
            *value = picture[position % height * width + position / height];
        }
        picture.copy_from_slice(&upright);
        counter.add(1)?;
    }
    images.dimensions = vec![count, width, height];
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_are_exchanged() {
        let mut images = Idx { dimensions: vec![2, 2, 3], values: (0..12).collect() };
        transpose(&mut images, &Progress::default()).unwrap();
        assert_eq!(images.dimensions, [2, 3, 2]);
        assert_eq!(images.values, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
    }

    #[test]
    fn idx_files_are_told_by_their_names() {
        for name in ["train-images-idx3-ubyte", "t10k-labels.idx1-ubyte.gz", "qmnist-test-labels-idx2-int.gz"]
        {
            assert!(is_name(name), "{name}");
        }
        for name in ["train", "images", "my-images", "idx", "data_batch_1.bin"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
