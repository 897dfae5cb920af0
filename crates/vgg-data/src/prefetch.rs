//! The next batch is put together while the caller computes with the current one.
//!
//! One thread fills two batches that change hands: the caller has one, the thread the other. What
//! a batch holds is up to the [`Loader`], so it is the same as without the thread.

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, ScopedJoinHandle, scope};

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::loader::Loader;

/// The batch of one step of training, as [`Loader::fill`] makes it.
#[derive(Debug, Default)]
pub struct TrainingBatch {
    /// The number of the batch, counted from 0 over all epochs.
    pub step: u64,
    /// `[picture][y][x][channel]`.
    pub images: Vec<u8>,
    /// One for each picture.
    pub labels: Vec<u32>,
}

/// The caller's end of [`prefetch`]: hands out the batches in order.
#[derive(Debug)]
pub struct Prefetched<'scope> {
    current: Option<TrainingBatch>,
    empty: SyncSender<TrainingBatch>,
    filled: Receiver<TrainingBatch>,
    worker: Option<ScopedJoinHandle<'scope, ()>>,
}

/// Calls `consume` with the batches of `steps`, each of which is put together on a thread of its own while
/// the one before it is in use. The thread has ended when this returns, however many batches were taken.
///
/// # Errors
/// When the system refuses a thread; `consume` was not called then.
///
/// # Panics
/// As [`Loader::fill`] does.
pub fn prefetch<R>(
    mut loader: Loader,
    dataset: &Dataset,
    steps: Range<u64>,
    consume: impl FnOnce(&mut Prefetched<'_>) -> R,
) -> Result<R, DataError> {
    let (empty, to_fill) = sync_channel::<TrainingBatch>(2);
    let (fill, filled) = sync_channel(2);
    let work = move || {
        for (step, mut batch) in steps.zip(to_fill) {
            batch.step = step;
            loader.fill(dataset, step, &mut batch.images, &mut batch.labels);
            if fill.send(batch).is_err() {
                return; // Nobody wants any more.
            }
        }
    };
    scope(|scope| {
        let worker = Builder::new().name("batches".into()).spawn_scoped(scope, work).map_err(|error| {
            let cause = format!("the system refuses it ({error})");
            DataError::argument("a thread for batches", cause, "raise the limit of threads (ulimit -u)")
        })?;
        // Dropped inside the scope, even by a panic: that is what ends the thread.
        let mut batches = Prefetched { current: None, empty, filled, worker: Some(worker) };
        batches.give_back(TrainingBatch::default());
        batches.give_back(TrainingBatch::default());
        Ok(consume(&mut batches))
    })
}

impl Prefetched<'_> {
    /// The batch of the next step, in place of the one before; nothing after the last step.
    /// Allocates nothing once both batches have been full.
    ///
    /// # Panics
    /// When the loader has panicked, with what it said.
    pub fn next_batch(&mut self) -> Option<&TrainingBatch> {
        if let Some(used) = self.current.take() {
            self.give_back(used);
        }
        self.current = self.filled.recv().ok();
        if self.current.is_none()
            && let Some(worker) = self.worker.take()
            && let Err(panic) = worker.join()
        {
            resume_unwind(panic);
        }
        self.current.as_ref()
    }

    /// Lets the thread fill `batch`; a thread that has made its last one does not take it.
    fn give_back(&self, batch: TrainingBatch) {
        let _ = self.empty.send(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loader::tests::numbered;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn loader() -> Loader {
        Loader::new(10, 4, 9).unwrap()
    }

    #[test]
    fn batches_are_those_of_the_loader_over_epochs_and_from_any_step() {
        let data = numbered(10);
        let end = 3 * loader().steps_per_epoch() + 1;
        for begin in 0..=end {
            let (mut alone, mut images, mut labels) = (loader(), Vec::new(), Vec::new());
            prefetch(loader(), &data, begin..end, |batches| {
                for step in begin..end {
                    alone.fill(&data, step, &mut images, &mut labels);
                    let batch = batches.next_batch().unwrap();
                    assert_eq!((batch.step, &batch.images, &batch.labels), (step, &images, &labels));
                }
                assert!(batches.next_batch().is_none());
                assert!(batches.next_batch().is_none());
            })
            .unwrap();
        }
    }

    #[test]
    fn the_next_batch_is_made_while_one_is_in_use() {
        prefetch(loader(), &numbered(10), 5..9, |batches| {
            assert_eq!(batches.next_batch().unwrap().step, 5);
            let next = batches.filled.recv().unwrap();
            assert_eq!(next.step, 6);
            assert_eq!(batches.current.as_ref().unwrap().step, 5, "not given back yet");
        })
        .unwrap();
    }

    #[test]
    fn two_batches_change_hands() {
        let mut places = Vec::new();
        prefetch(loader(), &numbered(10), 0..32, |batches| {
            while let Some(batch) = batches.next_batch() {
                places.push((batch.images.as_ptr(), batch.labels.as_ptr()));
            }
        })
        .unwrap();
        assert_eq!(places.len(), 32);
        assert_ne!(places[0], places[1]);
        assert!(places.iter().zip(&places[2..]).all(|(place, later)| place == later));
    }

    /// More batches than can ever be made, so each call returns only if the thread ends early.
    #[test]
    fn the_thread_ends_with_its_caller() {
        let data = numbered(10);
        for taken in [0, 1, 2, 7] {
            let step = prefetch(loader(), &data, 0..u64::MAX, |batches| {
                (0..taken).map(|_| batches.next_batch().unwrap().step).last()
            });
            assert_eq!(step.unwrap(), (0..taken).last());
        }
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            prefetch(loader(), &data, 0..u64::MAX, |batches| {
                batches.next_batch();
                resume_unwind(Box::new("the caller's"));
            })
        }));
        assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"the caller's"));
    }

    #[test]
    #[should_panic(expected = "the loader was made for another data set")]
    fn the_loaders_panic_goes_on_in_the_caller() {
        let _ = prefetch(loader(), &numbered(11), 0..3, |batches| batches.next_batch().is_some());
    }
}
