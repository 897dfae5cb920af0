//! How a data set is opened: the size of its pictures, how many of them, how it is split, and who is
//! told how far reading has come.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::DataError;

/// How a data set is opened. The default takes all pictures as they are.
#[derive(Clone, Debug, Default)]
pub struct DataOptions {
    /// Height and width that pictures are brought to; by default the size that they have. Pictures of a
    /// folder that differ in size, or are longer than 256 pixels on a side, are brought to 64x64 by
    /// default.
    pub image_size: Option<[usize; 2]>,
    /// At most so many pictures of each split, spread evenly over it.
    pub limit: Option<usize>,
    /// How validation and test are taken from the training pictures of a picture folder that has none.
    pub split: SeededSplit,
    /// Who is told how far reading has come.
    pub progress: Progress,
}

/// A split into training, validation and test that depends on nothing but the seed, the shares and the
/// names of the files: neither on the order in which a system lists them, nor on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeededSplit {
    /// Seed of the choice.
    pub seed: u64,
    /// Share of each class's pictures that is for validation.
    pub validation: f64,
    /// Share of each class's pictures that is for the test.
    pub test: f64,
}

impl Default for SeededSplit {
    /// A tenth for validation, a tenth for the test.
    fn default() -> Self {
        Self { seed: 1, validation: 0.1, test: 0.1 }
    }
}

impl SeededSplit {
    /// Refuses shares that leave a split without pictures.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) when a share is not between 0 and 1, or both
    /// together leave nothing to train with.
    pub fn check(&self) -> Result<(), DataError> {
        let Self { validation, test, .. } = *self;
        let possible = validation > 0.0 && test > 0.0 && validation + test < 1.0;
        possible.then_some(()).ok_or_else(|| {
            DataError::argument(
                "split",
                format!("the shares are {validation} for validation and {test} for the test"),
                "give shares above 0 that are less than 1 together",
            )
        })
    }
}

/// How far reading has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loading<'a> {
    /// What is being done, such as `reading pictures`.
    pub task: &'a str,
    /// How much of it is done, from 0 to the total.
    pub done: u64,
    /// How much there is to do; 0 when that is not known.
    pub total: u64,
    /// What is counted.
    pub unit: Unit,
}

/// What progress counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Pictures.
    Pictures,
    /// Files.
    Files,
    /// Bytes.
    Bytes,
}

/// Who is told of [`Loading`]; nobody by default. May be called from several threads.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<Listener>>);

type Listener = dyn Fn(&Loading<'_>) + Send + Sync;

impl Progress {
    /// Calls `listener` now and then while data are read.
    pub fn new(listener: impl Fn(&Loading<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    /// Tells the listener, if there is one.
    pub fn tell(&self, loading: &Loading<'_>) {
        if let Some(listener) = &self.0 {
            listener(loading);
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Progress(a listener)" } else { "Progress(nobody)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_leave_something_to_every_split() {
        assert!(SeededSplit::default().check().is_ok());
        for (validation, test) in [(0.0, 0.1), (0.1, 0.0), (0.5, 0.5), (-0.1, 0.1), (f64::NAN, 0.1)] {
            let error = SeededSplit { seed: 1, validation, test }.check().unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Argument, "{error}");
        }
    }
}
