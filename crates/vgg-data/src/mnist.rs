//! MNIST, which is part of the program, in TensorFlow's split.

use vgg_mnist::{CLASSES, CorruptError, Part, Pictures, SIDE};

use crate::dataset::{Dataset, Splits, numbered_classes};
use crate::error::DataError;

/// The first 5,000 training pictures are for validation, as in TensorFlow's tutorials.
const VALIDATION: usize = 5_000;

pub(crate) fn open() -> Result<Splits, DataError> {
    let mut train = vgg_mnist::load(Part::Train).map_err(corrupt)?;
    let test = vgg_mnist::load(Part::Test).map_err(corrupt)?;
    let validation = Pictures {
        images: train.images.drain(..VALIDATION * SIDE * SIDE).collect(),
        labels: train.labels.drain(..VALIDATION).collect(),
    };
    Ok(Splits::new("mnist", dataset(train)?, dataset(validation)?, dataset(test)?))
}

fn dataset(pictures: Pictures) -> Result<Dataset, DataError> {
    let labels = pictures.labels.into_iter().map(u32::from).collect();
    Dataset::new(pictures.images, labels, [SIDE, SIDE, 1], numbered_classes(CLASSES))
}

fn corrupt(error: CorruptError) -> DataError {
    DataError::invalid("mnist", error.to_string(), "or train on a folder of your own IDX files")
}
