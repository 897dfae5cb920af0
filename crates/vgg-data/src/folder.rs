//! A folder with four IDX files, named as MNIST's are.

use std::path::{Path, PathBuf};

use crate::dataset::{Dataset, Splits, numbered_classes};
use crate::error::DataError;
use crate::idx::{Idx, MOST_UNPACKED, read_idx_within};

/// From this many training pictures on, as many as MNIST's are for validation …
const MANY: usize = 50_000;
/// … namely so many; with fewer pictures, the first tenth.
const VALIDATION: usize = 5_000;

pub(crate) fn open(folder: &Path) -> Result<Splits, DataError> {
    if !folder.is_dir() {
        let cause = if folder.exists() { "is not a folder" } else { "there is no such folder" };
        return Err(DataError::unreadable(folder, cause, "give a folder with four IDX files, or use mnist"));
    }
    let mut allowance = MOST_UNPACKED;
    let mut train = Part::read(folder, "train", &mut allowance)?;
    let test = Part::read(folder, "t10k", &mut allowance)?;
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
            "every label is 0, expected at least two classes",
            "give label files with the labels 0, 1, …",
        ));
    }
    let validation = train.split_off_first()?;
    check_classes(largest, [&validation, &train], &test)?;
    let classes = usize::from(largest) + 1;
    let [train, validation, test] = [train, validation, test].map(|part| part.into_dataset(classes));
    Ok(Splits::new(folder.display().to_string(), train?, validation?, test?))
}

/// Refuses classes that no training picture shows: one corrupt label would make a network of many
/// classes that can never be learned. The training file is given in its two parts.
fn check_classes(largest: u8, [first, rest]: [&Part; 2], test: &Part) -> Result<(), DataError> {
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
    labels: Vec<u8>,
}

impl Part {
    fn read(folder: &Path, prefix: &str, allowance: &mut u64) -> Result<Self, DataError> {
        let images_path = find(folder, &format!("{prefix}-images"), 3)?;
        let labels_path = find(folder, &format!("{prefix}-labels"), 1)?;
        let images = read_idx_within(&images_path, 3, allowance)?;
        let labels = read_idx_within(&labels_path, 1, allowance)?.values;
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
        let first = if count >= MANY { VALIDATION } else { (count / 10).max(1) };
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

    fn into_dataset(self, classes: usize) -> Result<Dataset, DataError> {
        let [height, width] = self.shape();
        let labels = self.labels.into_iter().map(u32::from).collect();
        Dataset::new(self.images.values, labels, [height, width, 1], numbered_classes(classes))
    }
}

/// The first file of the usual names: `NAME-idxR-ubyte` or `NAME.idxR-ubyte`, with or without `.gz`.
fn find(folder: &Path, name: &str, rank: u8) -> Result<PathBuf, DataError> {
    let names = ["-", "."].map(|dot| ["", ".gz"].map(|end| format!("{name}{dot}idx{rank}-ubyte{end}")));
    let names = names.concat();
    names.iter().map(|name| folder.join(name)).find(|path| path.exists()).ok_or_else(|| {
        DataError::unreadable(
            folder,
            format!("no {name} file in this folder; looked for {}", names.join(", ")),
            "put the file there, or use mnist",
        )
    })
}
