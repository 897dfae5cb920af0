//! Opening a folder of data, and what is said when it is refused.

use std::path::Path;
use vgg_data::{DataError, DataOptions, Source, Splits, open};

pub(crate) fn read(path: &Path) -> Result<Splits, DataError> {
    open(&Source::Folder(path.to_owned()), &DataOptions::default())
}

/// The one line of the error of a folder that must be refused.
pub(crate) fn message(path: &Path) -> String {
    let error = read(path).expect_err("must be refused").to_string();
    assert_eq!(error.lines().count(), 1);
    error
}
