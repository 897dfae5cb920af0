//! The MNIST pictures, in the box: 60,000 training and 10,000 test digits of 28×28 grey pixels,
//! with their labels, compiled into the program.
//!
//! The crate carries the four public IDX files, compressed. [`load`] unpacks one part, checks the
//! unpacked bytes against the published SHA-256, and takes the IDX headers off.
//!
//! ```
//! let test = vgg_mnist::load(vgg_mnist::Part::Test)?;
//! assert_eq!(test.labels.len(), 10_000);
//! assert_eq!(test.images.len(), 10_000 * vgg_mnist::SIDE * vgg_mnist::SIDE);
//! assert_eq!(test.labels[0], 7);
//! # Ok::<(), vgg_mnist::CorruptError>(())
//! ```
#![forbid(unsafe_code)]

use sha2::{Digest, Sha256};

/// Height and width of every picture, in pixels.
pub const SIDE: usize = 28;

/// Number of classes: the digits 0 to 9.
pub const CLASSES: usize = 10;

/// One of the two parts that MNIST is published in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// 60,000 pictures.
    Train,
    /// 10,000 pictures.
    Test,
}

/// The pictures of one part with their labels, in the order of the public files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pictures {
    /// `labels.len()` pictures of [`SIDE`]×[`SIDE`] bytes, row by row; 0 is background, 255 is ink.
    pub images: Vec<u8>,
    /// The digit that each picture shows, 0 to 9.
    pub labels: Vec<u8>,
}

/// The bytes inside the program are not MNIST.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{file} inside this program: {cause}; the program or its source was damaged: \
     fetch the source again, or run data/make.sh of vgg-mnist, and build anew"
)]
pub struct CorruptError {
    file: &'static str,
    cause: String,
}

/// Unpacks the pictures and labels of `part`: about 0.3 s for the training part, 0.05 s for the test part.
///
/// # Errors
/// When the packed bytes do not unpack, or unpack to something else than the public files.
pub fn load(part: Part) -> Result<Pictures, CorruptError> {
    let (images, labels) = match part {
        Part::Train => (&TRAIN_IMAGES, &TRAIN_LABELS),
        Part::Test => (&TEST_IMAGES, &TEST_LABELS),
    };
    Ok(Pictures { images: images.unpack()?, labels: labels.unpack()? })
}

/// An IDX file as it lies in this crate.
struct Packed {
    name: &'static str,
    zstd: &'static [u8],
    /// Length of the IDX header: four bytes of magic number and four for each dimension.
    header: usize,
    /// Length of the whole unpacked file.
    length: usize,
    /// SHA-256 of the whole unpacked file.
    sha256: &'static str,
}

const IMAGES_HEADER: usize = 16;
const LABELS_HEADER: usize = 8;

static TRAIN_IMAGES: Packed = Packed {
    name: "train-images-idx3-ubyte",
    zstd: include_bytes!("../data/train-images-idx3-ubyte.zst"),
    header: IMAGES_HEADER,
    length: IMAGES_HEADER + 60_000 * SIDE * SIDE,
    sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
};

static TRAIN_LABELS: Packed = Packed {
    name: "train-labels-idx1-ubyte",
    zstd: include_bytes!("../data/train-labels-idx1-ubyte.zst"),
    header: LABELS_HEADER,
    length: LABELS_HEADER + 60_000,
    sha256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
};

static TEST_IMAGES: Packed = Packed {
    name: "t10k-images-idx3-ubyte",
    zstd: include_bytes!("../data/t10k-images-idx3-ubyte.zst"),
    header: IMAGES_HEADER,
    length: IMAGES_HEADER + 10_000 * SIDE * SIDE,
    sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
};

static TEST_LABELS: Packed = Packed {
    name: "t10k-labels-idx1-ubyte",
    zstd: include_bytes!("../data/t10k-labels-idx1-ubyte.zst"),
    header: LABELS_HEADER,
    length: LABELS_HEADER + 10_000,
    sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
};

impl Packed {
    /// The checked bytes behind the header.
    fn unpack(&self) -> Result<Vec<u8>, CorruptError> {
        let corrupt = |cause: String| CorruptError { file: self.name, cause };
        let mut bytes = vec![0; self.length];
        let written = ruzstd::decoding::FrameDecoder::new()
            .decode_all(self.zstd, &mut bytes)
            .map_err(|error| corrupt(format!("does not unpack ({error})")))?;
        if written != self.length {
            return Err(corrupt(format!("unpacks to {written} bytes, expected {}", self.length)));
        }
        let found = hexadecimal(&Sha256::digest(&bytes));
        if found != self.sha256 {
            return Err(corrupt(format!("has SHA-256 {found}, expected {}", self.sha256)));
        }
        bytes.drain(..self.header);
        Ok(bytes)
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_part_is_the_published_one() {
        // `load` compares the SHA-256 of both files.
        let train = load(Part::Train).unwrap();
        assert_eq!(train.labels.len(), 60_000);
        assert_eq!(train.images.len(), 60_000 * SIDE * SIDE);
        assert_eq!(train.labels[..5], [5, 0, 4, 1, 9]);
        // TensorFlow takes the first 5,000 for validation, so that this is its training picture 7.
        assert_eq!(train.labels[5007], 0);
        assert!(train.labels.iter().all(|&label| usize::from(label) < CLASSES));
    }

    #[test]
    fn test_part_is_the_published_one() {
        let test = load(Part::Test).unwrap();
        assert_eq!(test.labels.len(), 10_000);
        assert_eq!(test.images.len(), 10_000 * SIDE * SIDE);
        assert_eq!(test.labels[..5], [7, 2, 1, 0, 4]);
        let counts = (0..10).map(|digit| test.labels.iter().filter(|&&label| label == digit).count());
        assert_eq!(counts.collect::<Vec<_>>(), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
    }

    #[test]
    fn damage_is_found() {
        let zstd = TEST_LABELS.zstd;
        let truncated = Packed { zstd: &zstd[..zstd.len() / 2], ..TEST_LABELS };
        let error = truncated.unpack().unwrap_err().to_string();
        assert!(error.starts_with("t10k-labels-idx1-ubyte inside this program: does not unpack"), "{error}");
        assert!(error.contains("build anew"), "{error}");

        let exchanged = Packed { zstd: TRAIN_LABELS.zstd, ..TEST_LABELS };
        exchanged.unpack().unwrap_err();
        let short = Packed { length: TEST_LABELS.length + 1, ..TEST_LABELS };
        let error = short.unpack().unwrap_err().to_string();
        assert!(error.contains("unpacks to 10008 bytes, expected 10009"), "{error}");
        let other = Packed { sha256: TRAIN_LABELS.sha256, ..TEST_LABELS };
        let error = other.unpack().unwrap_err().to_string();
        assert!(error.contains("has SHA-256 ff7bcfd4") && error.contains("expected 65a50cbb"), "{error}");
    }

    /// Registries take crates up to 10 MiB; 100 kB stay free for the code and the archive's headers.
    #[test]
    fn the_crate_stays_below_ten_mebibytes() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/data");
        let sizes = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
        let total: u64 = sizes.sum();
        assert!(total < 10 * 1024 * 1024 - 100_000, "data/ holds {total} bytes");
    }
}
