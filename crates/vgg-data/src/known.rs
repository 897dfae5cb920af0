//! The data sets that are downloaded: where from, and what each file must be.
//!
//! Sizes and SHA-256 are those of the files as their authors publish them. Every mirror has the same bytes,
//! so it does not matter who serves them, nor that some do so without encryption.

use std::path::PathBuf;

use crate::dataset::Splits;
use crate::download::{self, Settings};
use crate::error::DataError;
use crate::options::DataOptions;
use crate::{files, names};

/// A data set that is downloaded.
#[derive(Debug)]
pub(crate) struct Known {
    /// Its name, and that of its folder in the cache.
    pub(crate) name: &'static str,
    /// Beginnings of addresses, to which the name of a file is added; in the order in which they are tried.
    pub(crate) mirrors: &'static [&'static str],
    pub(crate) files: &'static [File],
    class_names: [&'static str; 10],
}

/// A file of a data set.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) name: &'static str,
    pub(crate) bytes: u64,
    /// In hexadecimal.
    pub(crate) sha256: &'static str,
}

const fn file(name: &'static str, bytes: u64, sha256: &'static str) -> File {
    File { name, bytes, sha256 }
}

pub(crate) const FASHION_MNIST: Known = Known {
    name: "fashion-mnist",
    mirrors: &[
        "http://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ],
    files: &[
        file(
            "train-images-idx3-ubyte.gz",
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        file(
            "train-labels-idx1-ubyte.gz",
            29_515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        file(
            "t10k-images-idx3-ubyte.gz",
            4_422_102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        file(
            "t10k-labels-idx1-ubyte.gz",
            5_148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ],
    class_names: names::FASHION_MNIST,
};

pub(crate) const KMNIST: Known = Known {
    name: "kmnist",
    mirrors: &["http://codh.rois.ac.jp/kmnist/dataset/kmnist/"],
    files: &[
        file(
            "train-images-idx3-ubyte.gz",
            18_165_135,
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        ),
        file(
            "train-labels-idx1-ubyte.gz",
            29_497,
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        ),
        file(
            "t10k-images-idx3-ubyte.gz",
            3_041_136,
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        ),
        file(
            "t10k-labels-idx1-ubyte.gz",
            5_120,
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
    ],
    class_names: names::KMNIST,
};

pub(crate) const CIFAR_10: Known = Known {
    name: "cifar-10",
    mirrors: &["https://www.cs.toronto.edu/~kriz/"],
    files: &[file(
        "cifar-10-binary.tar.gz",
        170_052_171,
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    )],
    class_names: names::CIFAR_10,
};

impl Known {
    /// Fetches what is not in the cache yet, and opens it.
    pub(crate) fn open(&self, options: &DataOptions) -> Result<Splits, DataError> {
        let folder = download::fetch(self.name, self.files, &Settings::new(self)?, &options.progress)?;
        let path: PathBuf = match self.files {
            [archive] => folder.join(archive.name),
            _ => folder,
        };
        let splits = files::open(&path, self.name, options)?;
        splits.with_class_names(&self.class_names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_well_formed() {
        for known in [FASHION_MNIST, KMNIST, CIFAR_10] {
            assert!(known.name.parse().is_ok_and(|source: crate::Source| source.to_string() == known.name));
            assert!(known.mirrors.iter().all(|mirror| mirror.starts_with("http") && mirror.ends_with('/')));
            for file in known.files {
                assert!(file.sha256.len() == 64 && file.sha256.bytes().all(|b| b.is_ascii_hexdigit()));
            }
        }
    }
}
