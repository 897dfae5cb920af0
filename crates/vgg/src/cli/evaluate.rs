//! `vgg evaluate`: accuracy and loss on pictures whose classes are known.

use super::output::{self, Thousands};
use super::progress;
use clap::Args;
use serde::Serialize;
use std::fmt;
use std::sync::atomic::AtomicBool;
use vgg::train::Views;
use vgg::{Estimator, Evaluation, Split, Splits, TrainError};

pub(super) const EXAMPLES: &str = "\
Examples:
  vgg evaluate
  vgg evaluate --split validation --json
  vgg evaluate --model-dir model --data DIR";

/// What `vgg evaluate` takes.
#[derive(Args)]
pub(crate) struct EvaluateArguments {
    #[command(flatten)]
    subject: super::SubjectArguments,
    /// Take the mean over nine looks at each picture, moved by up to a pixel
    #[arg(long)]
    test_time_shifts: bool,
}

/// What was found on which split.
#[derive(Serialize)]
pub(super) struct Report {
    split: &'static str,
    #[serde(flatten)]
    pub(super) evaluation: Evaluation,
}

/// Evaluates the newest checkpoint and prints accuracy, with its interval, and loss.
///
/// # Errors
/// No trained network, or data that cannot be read or do not fit it.
pub(crate) fn run(arguments: &EvaluateArguments, json: bool) -> Result<(), TrainError> {
    let (mut estimator, splits) = arguments.subject.open()?;
    if arguments.test_time_shifts {
        estimator.set_views(Views::Shifted);
    }
    let split = arguments.subject.split;
    let report = measure(&mut estimator, &splits, split, &AtomicBool::new(false), &mut |_, _| ())?;
    output::answer(&report, json)
}

/// Accuracy and loss on a split, with a progress bar meanwhile; tells `each` the position and the logits of
/// every picture. Data that do not fit the network are named.
pub(super) fn measure(
    estimator: &mut Estimator,
    splits: &Splits,
    split: Split,
    stop: &AtomicBool,
    each: &mut dyn FnMut(usize, &[f32]),
) -> Result<Report, TrainError> {
    let data = splits.get(split);
    let bar = progress::evaluation_bar(split.name(), data.len());
    let evaluation = estimator.evaluate_each(data, stop, &mut |done, _| bar.set_position(done as u64), each);
    bar.finish_and_clear();
    let evaluation = evaluation.map_err(|error| match error {
        TrainError::Incompatible(cause) => TrainError::Incompatible(format!("{}: {cause}", splits.name)),
        error => error,
    })?;
    Ok(Report { split: split.name(), evaluation })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Evaluation { accuracy, interval, loss, global_step, examples } = &self.evaluation;
        let [accuracy, low, high] = [*accuracy, interval[0], interval[1]].map(|share| 100.0 * share);
        let (pictures, step) = (Thousands(*examples as u64), Thousands(*global_step));
        writeln!(
            f,
            "accuracy {accuracy:.2} % (95 %: {low:.2}–{high:.2}) on {pictures} {} pictures",
            self.split
        )?;
        writeln!(f, "loss {loss:.6} at step {step}")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::cli) fn report() -> Report {
        let evaluation = Evaluation {
            accuracy: 0.9842,
            interval: [0.981_563, 0.986_464],
            loss: 0.055481646,
            global_step: 55_000,
            examples: 10_000,
        };
        Report { split: "test", evaluation }
    }

    #[test]
    fn text_has_accuracy_with_its_interval_and_loss() {
        let expected = "accuracy 98.42 % (95 %: 98.16–98.65) on 10,000 test pictures\n\
                        loss 0.055482 at step 55,000\n";
        assert_eq!(report().to_string(), expected);
    }

    #[test]
    fn json_is_one_flat_object() {
        let json: serde_json::Value = serde_json::to_value(report()).unwrap();
        let expected = serde_json::json!({
            "split": "test", "accuracy": 0.9842, "interval": [0.981563, 0.986464], "loss": 0.055481646, "global_step": 55_000, "examples": 10_000,
        });
        assert_eq!(json, expected);
    }
}
