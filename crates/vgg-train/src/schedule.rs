//! The course of the learning rate over a run: pure functions of the step.

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// The course of the learning rate over a run, after the warm-up: the share of the run in which it
/// rises to its peak on a straight line. A deep network without normalisation layers loses its way when
/// its first hundred steps are large; after them it bears, and profits from, a rate several times higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Stays at the peak.
    Constant,
    /// Falls on a straight line to zero.
    WarmUpLinear,
    /// Falls to zero on half a wave of the cosine: slowly at first, fastest in the middle, and slowly
    /// again, so that many steps are made at small rates (Smith & Topin 2018; Loshchilov & Hutter 2017).
    OneCycle,
}

/// The names of all schedules, as in files.
pub const SCHEDULES: &[&str] = &["constant", "warm-up-linear", "one-cycle"];

impl Schedule {
    /// The learning rate of the update that follows `step` updates, in a run of `total_steps`
    /// that reaches `peak` after the share `warm_up` of it. No update is made at a rate of zero (if
    /// `peak` is not): the first is one part of the rise up, the last one part of the fall above zero.
    pub fn learning_rate(self, peak: f64, warm_up: f64, step: u64, total_steps: u64) -> f64 {
        // Counted in steps; a run is never so long that `f64` could not count it exactly.
        let (step, total) = (step as f64, total_steps.max(1) as f64);
        let warm_up = (total * warm_up).floor();
        if step < warm_up {
            return peak * (step + 1.0) / (warm_up + 1.0);
        }
        let fallen = ((step - warm_up) / (total - warm_up)).clamp(0.0, 1.0);
        match self {
            Schedule::Constant => peak,
            Schedule::WarmUpLinear => peak * (1.0 - fallen),
            Schedule::OneCycle => peak * 0.5 * (1.0 + libm::cos(PI * fallen)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_is_constant() {
        for step in [0, 1, 54_999, 55_000] {
            assert_eq!(Schedule::Constant.learning_rate(0.001, 0.0, step, 55_000), 0.001);
        }
    }

    #[test]
    fn every_schedule_can_rise_first() {
        for schedule in [Schedule::Constant, Schedule::WarmUpLinear, Schedule::OneCycle] {
            let rate = |step| schedule.learning_rate(6.0, 0.2, step, 100);
            // Twenty steps of rise in parts of 1/21.
            assert_eq!([rate(0), rate(6), rate(20)], [6.0 / 21.0, 2.0, 6.0], "{schedule:?}");
        }
    }

    #[test]
    fn linear_falls_on_a_straight_line() {
        let rate = |step| Schedule::WarmUpLinear.learning_rate(6.0, 0.2, step, 100);
        assert_eq!(rate(40), 6.0 * (1.0 - 20.0 / 80.0));
        assert!((rate(99) - 6.0 / 80.0).abs() < 1e-12);
        assert_eq!(rate(100), 0.0);
    }

    #[test]
    fn one_cycle_falls_on_half_a_cosine() {
        let rate = |step| Schedule::OneCycle.learning_rate(6.0, 0.2, step, 100);
        // A third of the fall leaves three quarters, the half a half: cos 60° = 1/2, cos 90° = 0.
        assert!((Schedule::OneCycle.learning_rate(6.0, 0.0, 1, 3) - 4.5).abs() < 1e-12);
        assert!((rate(60) - 3.0).abs() < 1e-12);
        assert!(rate(99) < 6.0 * 5e-4 && rate(99) > 0.0);
    }

    #[test]
    fn rates_are_between_zero_and_the_peak_for_runs_of_any_length() {
        for schedule in [Schedule::Constant, Schedule::WarmUpLinear, Schedule::OneCycle] {
            for total in [1, 2, 19, 20, 21, 1_000] {
                for (step, warm_up) in (0..total).flat_map(|step| [(step, 0.0), (step, 0.2), (step, 0.99)]) {
                    let rate = schedule.learning_rate(0.1, warm_up, step, total);
                    assert!(rate > 0.0 && rate <= 0.1, "{schedule:?}: {rate} at {step} of {total}");
                }
            }
        }
    }

    #[test]
    fn schedules_have_the_names_of_the_list() {
        for (schedule, name) in
            [Schedule::Constant, Schedule::WarmUpLinear, Schedule::OneCycle].iter().zip(SCHEDULES)
        {
            assert_eq!(serde_json::to_value(schedule).unwrap(), **name);
        }
    }
}
