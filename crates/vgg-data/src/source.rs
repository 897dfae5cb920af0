//! Which data sets can be opened.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::dataset::Splits;
use crate::error::DataError;
use crate::{folder, mnist};

/// Where the data of a run come from; as text `mnist`, or a folder. A folder that is itself called
/// `mnist` is written `./mnist`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// MNIST, which is part of the program.
    Mnist,
    /// A folder with four IDX files, as MNIST is published: pictures and labels for training
    /// (`train-…`) and for the test (`t10k-…`).
    Folder(PathBuf),
}

impl FromStr for Source {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        match text {
            "" => Err(DataError::argument("data", "the name is empty", "use mnist, or give a folder")),
            "mnist" => Ok(Self::Mnist),
            folder => Ok(Self::Folder(folder.into())),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mnist => formatter.write_str("mnist"),
            Self::Folder(path) => path.display().fmt(formatter),
        }
    }
}

/// Opens a data set whole.
///
/// MNIST comes in TensorFlow's split: the first 5,000 of the 60,000 training pictures are for
/// validation, the other 55,000 for training, and 10,000 for the test. A folder is split alike:
/// with 50,000 training pictures or more the first 5,000 are for validation, with fewer the first
/// tenth (at least one). A folder's classes are 0 to the largest label in either label file, and the
/// training file must show each of them.
///
/// # Errors
/// [`ErrorKind::Unreadable`](crate::ErrorKind::Unreadable) when files are missing or cannot be
/// read, [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when they are not what they should be.
pub fn open(source: &Source) -> Result<Splits, DataError> {
    match source {
        Source::Mnist => mnist::open(),
        Source::Folder(path) => folder::open(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_go_both_ways() {
        for (text, source) in [
            ("mnist", Source::Mnist),
            ("./mnist", Source::Folder("./mnist".into())),
            ("a b", Source::Folder("a b".into())),
        ] {
            assert_eq!(text.parse(), Ok(source.clone()));
            assert_eq!(source.to_string(), text);
        }
        assert!("".parse::<Source>().unwrap_err().to_string().contains("use mnist, or give a folder"));
    }
}
