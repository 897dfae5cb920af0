//! How a data set is opened: the size of its pictures, how many of them, how it is split, and who is
//! told how far reading has come.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{DataError, ErrorKind};

/// How a data set is opened. The default takes all pictures as they are.
#[derive(Clone, Debug, Default)]
pub struct DataOptions {
    /// Height and width that pictures are brought to; by default the size that they have. Pictures of a
    /// folder that differ in size, or are longer than 256 pixels on a side, are brought to 64x64 by
    /// default.
    pub image_size: Option<[usize; 2]>,
    /// Values per pixel that the pictures of a folder are brought to, 1 for grey and 3 for colour; by default
    /// colour if one of them has colour. Other data keep what they have.
    pub channels: Option<usize>,
    /// At most so many pictures of each split: some by chance of every class, the same ones each time, as
    /// many as its share.
    pub limit: Option<usize>,
    /// How validation and test are taken from the training pictures of a picture folder that has none.
    pub split: SeededSplit,
    /// Who is told how far reading has come, and may end it.
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
    /// [`ErrorKind::Argument`] when a share is not between 0 and 1, or both
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

/// Who is told of [`Loading`], nobody by default, and whether it is to end. May be called from several threads.
#[derive(Clone, Default)]
pub struct Progress {
    listener: Option<Arc<Listener>>,
    stop: Option<Arc<Stop>>,
}

type Listener = dyn Fn(&Loading<'_>) + Send + Sync;
type Stop = dyn Fn() -> bool + Send + Sync;

impl Progress {
    /// Calls `listener` now and then while data are read.
    pub fn new(listener: impl Fn(&Loading<'_>) + Send + Sync + 'static) -> Self {
        Self { listener: Some(Arc::new(listener)), stop: None }
    }

    /// The same, and reading ends with [`ErrorKind::Interrupted`] soon after
    /// `stop` says so.
    pub fn until(self, stop: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { stop: Some(Arc::new(stop)), ..self }
    }

    /// Tells the listener, if there is one.
    pub fn tell(&self, loading: &Loading<'_>) {
        if let Some(listener) = &self.listener {
            listener(loading);
        }
    }

    /// Fails when reading is to end; `task` is what it ends in.
    pub(crate) fn check(&self, task: &str) -> Result<(), DataError> {
        match &self.stop {
            Some(stop) if stop() => Err(DataError::new(
                ErrorKind::Interrupted,
                task,
                "interrupted",
                "run the same command again; what was downloaded is kept",
            )),
            _ => Ok(()),
        }
    }

    /// Counts up to `total`, and tells of it now and then.
    pub(crate) fn counter<'a>(&'a self, task: &'a str, total: u64, unit: Unit) -> Counter<'a> {
        Counter { progress: self, loading: Loading { task, done: 0, total, unit }, next: 0 }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.listener.is_some() { "Progress(a listener)" } else { "Progress(nobody)" })
    }
}

/// How far one task has come.
pub(crate) struct Counter<'a> {
    progress: &'a Progress,
    loading: Loading<'a>,
    /// When to tell of it again.
    next: u64,
}

impl Counter<'_> {
    /// Reports of a task.
    const REPORTS: u64 = 500;

    /// Counts what was done.
    ///
    /// # Errors
    /// When reading is to end.
    pub(crate) fn add(&mut self, done: u64) -> Result<(), DataError> {
        self.loading.done += done;
        if self.loading.done >= self.next || self.loading.done == self.loading.total {
            self.next = self.loading.done + self.loading.total.div_ceil(Self::REPORTS);
            self.progress.tell(&self.loading);
            self.progress.check(self.loading.task)?;
        }
        Ok(())
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
