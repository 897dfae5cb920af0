//! Which data sets can be opened.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::dataset::Splits;
use crate::error::DataError;
use crate::known::{CIFAR_10, FASHION_MNIST, KMNIST};
use crate::options::DataOptions;
use crate::{files, mnist};

/// Where the data of a run come from; as text a name of [`NAMED`], or a path. A folder that is itself
/// called `mnist` is written `./mnist`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// MNIST, which is part of the program.
    Mnist,
    /// Fashion-MNIST, which is downloaded.
    FashionMnist,
    /// Kuzushiji-MNIST, which is downloaded.
    Kmnist,
    /// CIFAR-10, which is downloaded.
    Cifar10,
    /// Files on this machine; what they are is told by what is there:
    /// * a folder with four IDX files, as MNIST, Fashion-MNIST, KMNIST, EMNIST or QMNIST are published;
    ///   of several sets in one folder, the path with the beginning of one's names, such as
    ///   `FOLDER/emnist-letters`;
    /// * a folder of pictures, `train/CLASS/*.png` or `*.jpg` with optional `val` and `test` beside
    ///   `train`, or `CLASS/*.png`;
    /// * the folder of CIFAR-10's binary files, or the archive in which they are published.
    Folder(PathBuf),
}

/// All names, and the one that is most like `text` if that may be a slip.
pub(crate) fn names_near(text: &str) -> (String, Option<&'static str>) {
    /// Two letters exchanged are one slip.
    const SLIPS: usize = 2;
    let letters = |text: &str| -> String {
        // A path may be endless, and the comparison takes the product of both lengths.
        text.chars().filter(|c| c.is_alphanumeric()).take(40).collect::<String>().to_lowercase()
    };
    let text = letters(text);
    let slips = |named: &Named| strsim::damerau_levenshtein(&text, &letters(named.name));
    let nearest = NAMED.iter().min_by_key(|named| slips(named)).filter(|named| slips(named) <= SLIPS);
    let names: Vec<&str> = NAMED.iter().map(|named| named.name).collect();
    (names.join(", "), nearest.map(|named| named.name))
}

/// A data set that has a name.
#[derive(Debug)]
pub struct Named {
    /// The name.
    pub name: &'static str,
    /// What it is, and where it comes from.
    pub summary: &'static str,
    /// The source that the name stands for.
    pub source: Source,
}

/// The data sets that have a name.
pub const NAMED: &[Named] = &[
    Named { name: "mnist", summary: "handwritten digits, part of this program", source: Source::Mnist },
    Named {
        name: "fashion-mnist",
        summary: "pieces of clothing, a download of 31 MB",
        source: Source::FashionMnist,
    },
    Named { name: "kmnist", summary: "Japanese letters, a download of 21 MB", source: Source::Kmnist },
    Named { name: "cifar-10", summary: "small colour photos, a download of 170 MB", source: Source::Cifar10 },
];

impl FromStr for Source {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        if text.is_empty() {
            return Err(DataError::argument("data", "the name is empty", "use mnist, or give a folder"));
        }
        let named = NAMED.iter().find(|named| named.name == text);
        Ok(named.map_or_else(|| Self::Folder(text.into()), |named| named.source.clone()))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, NAMED.iter().find(|named| named.source == *self)) {
            (_, Some(named)) => formatter.write_str(named.name),
            (Self::Folder(path), None) => path.display().fmt(formatter),
            (_, None) => formatter.write_str("data without a name"),
        }
    }
}

/// Opens a data set whole.
///
/// MNIST comes in TensorFlow's split: the first 5,000 of the 60,000 training pictures are for
/// validation, the other 55,000 for training, and 10,000 for the test. Other IDX files and CIFAR-10 are
/// split alike: with 50,000 training pictures or more the first 5,000 are for validation, with fewer the
/// first tenth (at least one). The classes of IDX files are 0 to the largest label in either label file,
/// and the training file must show each of them. A folder of pictures that has no folder for validation
/// or test gets them by [`SeededSplit`](crate::SeededSplit).
///
/// A data set that is downloaded is kept in the folder that the environment variable `VGG_CACHE` says, by
/// default `vgg` in `XDG_CACHE_HOME`, or `~/.cache/vgg`; `VGG_MIRROR` is an address to fetch from instead of
/// the known ones.
///
/// # Errors
/// [`ErrorKind::Unreadable`](crate::ErrorKind::Unreadable) when files are missing or cannot be
/// read, [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when they are not what they should be,
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when they cannot be downloaded,
/// [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted) when [`Progress::until`](crate::Progress::until)
/// ends it.
pub fn open(source: &Source, options: &DataOptions) -> Result<Splits, DataError> {
    if options.limit == Some(0) {
        return Err(DataError::argument("limit", "0 pictures", "give at least 1, or leave it out"));
    }
    let splits = match source {
        Source::Mnist => mnist::open(),
        Source::Folder(path) => files::open(path, &path.display().to_string(), options),
        Source::FashionMnist => FASHION_MNIST.open(options),
        Source::Kmnist => KMNIST.open(options),
        Source::Cifar10 => CIFAR_10.open(options),
    }?;
    let splits = match options.limit {
        Some(most) => splits.limited(most),
        None => splits,
    };
    match options.image_size {
        Some(size) => splits.resized(size, &options.progress),
        None => Ok(splits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_go_both_ways() {
        for (text, source) in [
            ("mnist", Source::Mnist),
            ("fashion-mnist", Source::FashionMnist),
            ("cifar-10", Source::Cifar10),
            ("./mnist", Source::Folder("./mnist".into())),
            ("a b", Source::Folder("a b".into())),
        ] {
            assert_eq!(text.parse(), Ok(source.clone()));
            assert_eq!(source.to_string(), text);
        }
        assert!("".parse::<Source>().unwrap_err().to_string().contains("use mnist, or give a folder"));
    }

    #[test]
    fn a_name_with_a_slip_has_a_nearest_one() {
        for (slip, nearest) in [
            ("minst", Some("mnist")),
            ("MNIST", Some("mnist")),
            ("fashionmnist", Some("fashion-mnist")),
            ("Fashion_MNIST", Some("fashion-mnist")),
            ("k-mnist", Some("kmnist")),
            ("CIFAR10", Some("cifar-10")),
            ("digits", None),
            ("", None),
        ] {
            assert_eq!(
                names_near(slip),
                ("mnist, fashion-mnist, kmnist, cifar-10".into(), nearest),
                "{slip}"
            );
        }
    }

    #[test]
    fn a_limit_holds_for_every_split() {
        let open = |limit| open(&Source::Mnist, &DataOptions { limit, ..DataOptions::default() });
        let splits = open(Some(20)).unwrap();
        assert_eq!([splits.train.len(), splits.validation.len(), splits.test.len()], [20; 3]);
        assert_eq!(open(Some(0)).unwrap_err().kind(), crate::ErrorKind::Argument);
    }
}
