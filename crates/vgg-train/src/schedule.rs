//! The course of the learning rate over a run: pure functions of the step.

use serde::{Deserialize, Serialize};

/// Share of the run in which a schedule with warm-up rises to the full learning rate. A deep
/// network without normalisation layers loses its way when its first hundred steps are large; after
/// them it bears, and profits from, a rate several times higher.
pub const WARM_UP_SHARE: f64 = 0.2;

/// The course of the learning rate over a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Always the same.
    Constant,
    /// Rises over the first [`WARM_UP_SHARE`] of the run, then falls on a straight line to zero.
    WarmUpLinear,
}

impl Schedule {
    /// The learning rate of the update that follows `step` updates, in a run of `total_steps`
    /// that reaches `peak`. With warm-up no update is made at a rate of zero (if `peak` is not):
    /// the first is one part of the rise up, the last one part of the fall above zero.
    pub fn learning_rate(self, peak: f64, step: u64, total_steps: u64) -> f64 {
        // Counted in steps; a run is never so long that `f64` could not count it exactly.
        let (step, total) = (step as f64, total_steps.max(1) as f64);
        let warm_up = (total * WARM_UP_SHARE).floor();
        let fallen = ((step - warm_up) / (total - warm_up)).clamp(0.0, 1.0);
        match self {
            Schedule::Constant => peak,
            _ if step < warm_up => peak * (step + 1.0) / (warm_up + 1.0),
            Schedule::WarmUpLinear => peak * (1.0 - fallen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_is_constant() {
        for step in [0, 1, 54_999, 55_000] {
            assert_eq!(Schedule::Constant.learning_rate(0.001, step, 55_000), 0.001);
        }
    }

    #[test]
    fn linear_rises_and_falls_on_straight_lines() {
        let rate = |step| Schedule::WarmUpLinear.learning_rate(6.0, step, 100);
        // Twenty steps of rise in parts of 1/21, then 80 of fall.
        assert_eq!([rate(0), rate(6), rate(20)], [6.0 / 21.0, 2.0, 6.0]);
        assert_eq!(rate(40), 6.0 * (1.0 - 20.0 / 80.0));
        assert!((rate(99) - 6.0 / 80.0).abs() < 1e-12);
        assert_eq!(rate(100), 0.0);
    }

    #[test]
    fn rates_are_between_zero_and_the_peak_for_runs_of_any_length() {
        for schedule in [Schedule::Constant, Schedule::WarmUpLinear] {
            for total in [1, 2, 19, 20, 21, 1_000] {
                for step in 0..total {
                    let rate = schedule.learning_rate(0.1, step, total);
                    assert!(rate > 0.0 && rate <= 0.1, "{schedule:?}: {rate} at {step} of {total}");
                }
            }
        }
    }
}
