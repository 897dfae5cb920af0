//! `vgg report`: a run as a page, `report.html`, or that of another split or of other data.

use super::evaluate;
use super::output;
use clap::Args;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use vgg::formats::ModelDir;
use vgg::report::scores::Scores;
use vgg::report::{Occasion, Report, Subject};
use vgg::{Estimator, Split, Splits, TrainError};

pub(super) const EXAMPLES: &str = "\
Examples:
  vgg report
  vgg report --model-dir model --split validation

The page is report.html in the model directory: accuracy, curves, confusion
matrix, mistakes with their pictures, and how to repeat the run. It opens in
any browser, without a network. `vgg train` writes it at its end. The page of
another split is report-validation.html or report-train.html, that of other
data (--data) report-other-data.html.";

/// What `vgg report` takes.
#[derive(Args)]
pub(crate) struct ReportArguments {
    #[command(flatten)]
    subject: super::SubjectArguments,
}

/// Where the page is, and the figures at its head.
#[derive(Serialize)]
struct Answer {
    report: String,
    /// Whose pictures it is about, such as `validation pictures`.
    #[serde(skip)]
    pictures: String,
    #[serde(flatten)]
    figures: evaluate::Report,
}

/// Evaluates the newest checkpoint, writes the page and says where it is.
///
/// # Errors
/// No trained network, data that cannot be read or do not fit it, a page that cannot be written.
pub(crate) fn run(arguments: &ReportArguments, json: bool) -> Result<(), TrainError> {
    let (mut estimator, splits) = arguments.subject.open()?;
    let split = arguments.subject.split;
    let (figures, scores) = measure(&mut estimator, &splits, split, &AtomicBool::new(false))?;
    let model_dir = ModelDir::new(&arguments.subject.model_dir);
    let subject =
        Subject { model_dir: &model_dir, splits: &splits, split, scores, occasion: Occasion::Later };
    let report = Report::collect(&estimator, subject)?;
    let pictures = match report.is_data_of_the_run {
        true => format!("{} pictures", split.name()),
        false => format!("{} pictures of {}", split.name(), splits.name),
    };
    let report = report.write(&model_dir)?.display().to_string();
    output::answer(&Answer { report, pictures, figures }, json)
}

/// What the network says of a split, in one pass: the figures for the terminal, and all that the page shows.
pub(super) fn measure(
    estimator: &mut Estimator,
    splits: &Splits,
    split: Split,
    stop: &AtomicBool,
) -> Result<(evaluate::Report, Scores), TrainError> {
    let (mut scores, data) = (Scores::new(estimator.network().classes), splits.get(split));
    let mut add = |index, logits: &[f32]| scores.add(index, data.label(index) as usize, logits);
    let figures = evaluate::measure(estimator, splits, split, stop, &mut add)?;
    Ok((figures, scores))
}

/// Writes the page about the test pictures for a run that has ended. Training is not in vain when that fails:
/// then there is a warning, and no page.
pub(super) fn write_or_warn(
    estimator: &Estimator,
    model_dir: &Path,
    splits: &Splits,
    scores: Scores,
    occasion: Occasion,
) -> Option<PathBuf> {
    let model_dir = ModelDir::new(model_dir);
    let subject = Subject { model_dir: &model_dir, splits, split: Split::Test, scores, occasion };
    match Report::collect(estimator, subject).and_then(|report| report.write(&model_dir)) {
        Ok(path) => Some(path),
        Err(error) => {
            output::note(format_args!("warning: there is no report of this run: {error}"));
            None
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.figures)?;
        writeln!(f, "The report on the {} is {}; open it in a browser.", self.pictures, self.report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_says_where_the_page_is() {
        let answer = Answer {
            report: "model/report.html".into(),
            pictures: "test pictures of shapes".into(),
            figures: evaluate::tests::report(),
        };
        let text = answer.to_string();
        assert!(text.starts_with("accuracy 98.42 %"), "{text}");
        let last =
            "\nThe report on the test pictures of shapes is model/report.html; open it in a browser.\n";
        assert!(text.ends_with(last), "{text}");
        let json = serde_json::to_value(answer).unwrap();
        assert_eq!((&json["report"], &json["accuracy"]), (&"model/report.html".into(), &0.9842.into()));
        assert_eq!(json.get("pictures"), None);
    }
}
