//! Ending a run when it learns nothing new, and which of its checkpoints was the best.
//!
//! What is known of the best evaluation is kept with every checkpoint, so a run that goes on ends where it
//! would have ended.

use std::collections::BTreeMap;

/// The evaluation with the highest validation accuracy so far, the first of equal ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Best {
    /// Updates that made the network.
    pub(crate) step: u64,
    pub(crate) accuracy: f64,
}

const STEP: &str = "best_step";
const ACCURACY: &str = "best_accuracy";

impl Best {
    /// What is kept with a checkpoint. The accuracy is there as the digits of its bits.
    pub(crate) fn to_progress(self) -> BTreeMap<String, String> {
        [(STEP, self.step.to_string()), (ACCURACY, format!("{:016x}", self.accuracy.to_bits()))]
            .map(|(key, value)| (key.to_owned(), value))
            .into()
    }

    /// What was kept; `None` when nothing was, or nothing that [`Best::to_progress`] makes.
    pub(crate) fn from_progress(progress: &BTreeMap<String, String>) -> Option<Self> {
        let bits = u64::from_str_radix(progress.get(ACCURACY)?, 16).ok()?;
        Some(Self { step: progress.get(STEP)?.parse().ok()?, accuracy: f64::from_bits(bits) })
    }
}

/// Takes note of an evaluation; says whether it is the best.
pub(crate) fn note(best: &mut Option<Best>, step: u64, accuracy: f64) -> bool {
    let is_best = best.is_none_or(|best| accuracy > best.accuracy);
    if is_best {
        *best = Some(Best { step, accuracy });
    }
    is_best
}

/// Whether a run that is at `step`, the end of an epoch or not, has had `patience` epochs since the best.
/// Never with a patience of 0.
pub(crate) fn is_over(best: Option<Best>, step: u64, patience: u64, steps_per_epoch: u64) -> bool {
    patience > 0 && best.is_some_and(|best| step.saturating_sub(best.step) / steps_per_epoch >= patience)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_ones_is_the_best() {
        let mut best = None;
        let notes = [(10, 0.5), (20, 0.75), (30, 0.75), (40, 0.6)];
        let were_best = notes.map(|(step, accuracy)| note(&mut best, step, accuracy));
        assert_eq!(were_best, [true, true, false, false]);
        assert_eq!(best, Some(Best { step: 20, accuracy: 0.75 }));
    }

    #[test]
    fn a_run_is_over_after_so_many_epochs_without_a_better_one() {
        let best = Some(Best { step: 20, accuracy: 0.5 });
        let over = |step, patience| is_over(best, step, patience, 10);
        assert!(!over(20, 1) && !over(29, 1) && over(30, 1) && over(31, 1));
        assert!(!over(39, 2) && over(40, 2));
        assert!(!over(1000, 0), "no patience asked for");
        assert!(!is_over(None, 1000, 1, 10), "nothing known yet");
    }

    #[test]
    fn what_is_kept_comes_back() {
        for accuracy in [0.0, 1.0 / 3.0, 1.0] {
            let best = Best { step: 1 << 40, accuracy };
            assert_eq!(Best::from_progress(&best.to_progress()), Some(best));
        }
        assert_eq!(Best::from_progress(&BTreeMap::new()), None);
        let broken = [(STEP, "7"), (ACCURACY, "half")].map(|(key, value)| (key.into(), value.into())).into();
        assert_eq!(Best::from_progress(&broken), None);
    }
}
