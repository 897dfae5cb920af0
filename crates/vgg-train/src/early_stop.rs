//! Ending a run when it learns nothing new, and which of its checkpoints was the best.
//!
//! What is known of the best evaluation is kept with every checkpoint, so a run that goes on ends where it
//! would have ended.

use std::collections::BTreeMap;
use vgg_arch::Network;
use vgg_formats::{Checkpoint, ModelDir, TensorSet};

/// The evaluation with the highest validation accuracy among those whose checkpoints could be written, the
/// first of equal ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Best {
    /// Updates that made the network.
    pub(crate) step: u64,
    pub(crate) accuracy: f64,
    /// Updates after which accuracy had last risen. That is later than `step` when the checkpoint of a better
    /// network could not be written: the run is no nearer to its end for that.
    risen: u64,
}

const STEP: &str = "best_step";
const ACCURACY: &str = "best_accuracy";
const RISEN: &str = "risen_step";

impl Best {
    fn new(step: u64, accuracy: f64) -> Self {
        Self { step, accuracy, risen: step }
    }

    /// What is kept with a checkpoint. The accuracy is there as the digits of its bits.
    pub(crate) fn to_progress(self) -> BTreeMap<String, String> {
        let risen = (self.risen != self.step).then(|| (RISEN, self.risen.to_string()));
        let values = [(STEP, self.step.to_string()), (ACCURACY, format!("{:016x}", self.accuracy.to_bits()))];
        values.into_iter().chain(risen).map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// What was kept; `None` when nothing was, or nothing that [`Best::to_progress`] makes.
    pub(crate) fn from_progress(progress: &BTreeMap<String, String>) -> Option<Self> {
        let bits = u64::from_str_radix(progress.get(ACCURACY)?, 16).ok()?;
        let best = Self::new(progress.get(STEP)?.parse().ok()?, f64::from_bits(bits));
        let risen = progress.get(RISEN).map_or(Ok(best.step), |risen| risen.parse()).ok()?;
        Some(Self { risen, ..best })
    }
}

/// Takes note of an evaluation. One that is better than `best` is given back: it is the best as soon as its
/// checkpoint is there.
pub(crate) fn note(best: &mut Option<Best>, step: u64, accuracy: f64) -> Option<Best> {
    match best {
        Some(best) if accuracy <= best.accuracy => return None,
        Some(best) => best.risen = step,
        None => {}
    }
    Some(Best::new(step, accuracy))
}

/// The checkpoint of the best evaluation, with `sets` intact, when that is another than the one of
/// `global_step`; `Err` says why it cannot be used, and that the one of `global_step` is.
pub(crate) fn best_checkpoint(
    model_dir: &ModelDir,
    best: Option<Best>,
    global_step: u64,
    network: &Network,
    sets: &[TensorSet],
) -> Result<Option<Checkpoint>, String> {
    let Some(step) = best.map(|best| best.step).filter(|&step| step != global_step) else {
        return Ok(None);
    };
    let load = || {
        let checkpoints = vgg_formats::list(model_dir).map_err(|error| error.to_string())?;
        let Some((_, path)) = checkpoints.into_iter().find(|(found, _)| *found == step) else {
            let directory = model_dir.path().display();
            return Err(format!("the best checkpoint, of step {step}, is not in {directory}"));
        };
        vgg_formats::load(model_dir, &path, network, sets).map(Some).map_err(|error| error.to_string())
    };
    load().map_err(|cause| format!("{cause}. Using step {global_step}, the newest"))
}

/// The step whose checkpoint must outlast the newest `keep`, because one of them names it as the best. The
/// oldest of them tells which: the others name the same one or a later one, which is among them.
pub(crate) fn spared(model_dir: &ModelDir, keep: usize, best: Option<Best>) -> Option<u64> {
    let best = best?;
    let checkpoints = vgg_formats::list(model_dir).unwrap_or_default();
    let oldest = checkpoints.iter().rev().nth(keep.checked_sub(1)?);
    let state = oldest.and_then(|(_, path)| vgg_formats::state_of(model_dir, path).ok());
    Some(state.and_then(|state| Best::from_progress(&state.progress)).unwrap_or(best).step)
}

/// Whether a run that is at `step`, the end of an epoch or not, has had `patience` epochs since the best.
/// Never with a patience of 0.
pub(crate) fn is_over(best: Option<Best>, step: u64, patience: u64, steps_per_epoch: u64) -> bool {
    patience > 0 && best.is_some_and(|best| step.saturating_sub(best.risen) / steps_per_epoch >= patience)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_ones_is_the_best() {
        let mut best = None;
        let notes = [(10, 0.5), (20, 0.75), (30, 0.75), (40, 0.6)];
        let were_best = notes.map(|(step, accuracy)| {
            let better = note(&mut best, step, accuracy);
            best = better.or(best);
            better.is_some()
        });
        assert_eq!(were_best, [true, true, false, false]);
        assert_eq!(best, Some(Best::new(20, 0.75)));
    }

    /// The better one of step 20 could not be saved: the first is still the best, but patience begins anew.
    #[test]
    fn a_better_one_that_is_not_kept_is_not_the_best() {
        let mut best = Some(Best::new(10, 0.5));
        assert_eq!(note(&mut best, 20, 0.75), Some(Best::new(20, 0.75)));
        assert_eq!(best, Some(Best { step: 10, accuracy: 0.5, risen: 20 }));
        assert!(!is_over(best, 30, 2, 10) && is_over(best, 40, 2, 10));
        assert!(note(&mut best, 30, 0.6).is_some(), "better than any that is kept");
    }

    #[test]
    fn a_run_is_over_after_so_many_epochs_without_a_better_one() {
        let best = Some(Best::new(20, 0.5));
        let over = |step, patience| is_over(best, step, patience, 10);
        assert!(!over(20, 1) && !over(29, 1) && over(30, 1) && over(31, 1));
        assert!(!over(39, 2) && over(40, 2));
        assert!(!over(1000, 0), "no patience asked for");
        assert!(!is_over(None, 1000, 1, 10), "nothing known yet");
    }

    #[test]
    fn what_is_kept_comes_back() {
        for accuracy in [0.0, 1.0 / 3.0, 1.0] {
            for risen in [1 << 40, 1 << 41] {
                let best = Best { step: 1 << 40, accuracy, risen };
                assert_eq!(Best::from_progress(&best.to_progress()), Some(best));
            }
        }
        assert_eq!(Best::from_progress(&BTreeMap::new()), None);
        let broken = [(STEP, "7"), (ACCURACY, "half")].map(|(key, value)| (key.into(), value.into())).into();
        assert_eq!(Best::from_progress(&broken), None);
    }
}
