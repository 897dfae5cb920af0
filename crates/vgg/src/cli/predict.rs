//! `vgg predict`: the class of picture files.

use super::output;
use super::{BATCH_SIZE, MODEL_DIR};
use clap::Args;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use vgg::{Prediction, Shape, TrainError, read_picture};

pub(super) const EXAMPLES: &str = "\
Examples:
  vgg predict digit.png
  vgg predict --model-dir model --json *.png

MNIST shows white digits on black; a picture of another size is resized.";

/// What `vgg predict` takes.
#[derive(Args)]
pub(crate) struct PredictArguments {
    /// Where the trained network is kept
    #[arg(long, value_name = "DIR", default_value = MODEL_DIR)]
    model_dir: PathBuf,
    /// PNG or JPEG files
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
}

/// The whole answer.
#[derive(Serialize)]
struct Report {
    predictions: Vec<Line>,
}

/// What the network says of one picture.
#[derive(Serialize)]
struct Line {
    file: String,
    class: usize,
    class_name: String,
    probabilities: Vec<f64>,
    #[serde(skip)]
    text: String,
}

/// Prints what the newest checkpoint says of every picture that can be read. The others are named
/// on standard error, and then the exit code is that of bad input.
///
/// # Errors
/// No trained network; a standard output that cannot be written.
pub(crate) fn run(arguments: &PredictArguments, json: bool) -> Result<ExitCode, TrainError> {
    // Memory is taken for no more pictures than there are.
    let batch_size = arguments.images.len().min(BATCH_SIZE);
    let mut estimator = super::open_estimator(&arguments.model_dir, batch_size, 0)?;
    let class_names = estimator.config().data.class_names.clone();
    let input = estimator.network().input;
    let (mut predictions, mut failure) = (Vec::new(), None);
    for paths in arguments.images.chunks(BATCH_SIZE) {
        let (files, pixels, first_error) = read_pictures(paths, input);
        let found = estimator.predict(&pixels)?;
        predictions.extend(files.into_iter().zip(found).map(|(file, p)| Line::new(file, p, &class_names)));
        failure = failure.or(first_error);
    }
    output::answer(&Report { predictions }, json)?;
    Ok(failure.map_or(ExitCode::SUCCESS, |error| ExitCode::from(error.exit_code())))
}

/// The names and pixels of the pictures that can be read, and the first error of those that cannot. Notes
/// and errors are printed.
fn read_pictures(paths: &[PathBuf], input: Shape) -> (Vec<String>, Vec<u8>, Option<TrainError>) {
    let (mut files, mut pixels, mut failure) = (Vec::new(), Vec::new(), None);
    for path in paths {
        match read_picture(path, input.height, input.width, input.channels) {
            Ok((picture, note)) => {
                note.into_iter().for_each(|note| output::note(format_args!("note: {note}")));
                files.push(path.display().to_string());
                pixels.extend(picture);
            }
            Err(error) => {
                let error = TrainError::from(error);
                output::note(format_args!("error: {error}"));
                failure.get_or_insert(error);
            }
        }
    }
    (files, pixels, failure)
}

impl Line {
    fn new(file: String, prediction: Prediction, class_names: &[String]) -> Self {
        let mut ranking: Vec<usize> = (0..prediction.probabilities.len()).collect();
        // A stable sort: of equal probabilities the first class wins, as in the prediction.
        ranking.sort_by(|&a, &b| prediction.probabilities[b].total_cmp(&prediction.probabilities[a]));
        let shares: Vec<String> = ranking
            .iter()
            .take(3)
            .map(|&class| {
                format!("{} ({:.2} %)", class_names[class], 100.0 * prediction.probabilities[class])
            })
            .collect();
        Self {
            text: format!("{file}: {}", shares.join(", ")),
            file,
            class: prediction.class,
            class_name: prediction.class_name,
            probabilities: prediction.probabilities,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.predictions.iter().try_for_each(|line| writeln!(f, "{}", line.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_the_three_most_probable_classes() {
        let prediction =
            Prediction { class: 2, class_name: "c".into(), probabilities: vec![0.1, 0.05, 0.7, 0.15] };
        let names = ["a", "b", "c", "d"].map(String::from);
        let line = Line::new("x.png".into(), prediction, &names);
        assert_eq!(line.text, "x.png: c (70.00 %), d (15.00 %), a (10.00 %)");
        let json = serde_json::to_value(Report { predictions: vec![line] }).unwrap();
        assert_eq!(json["predictions"][0]["class"], 2);
        assert_eq!(json["predictions"][0]["file"], "x.png");
        assert_eq!(json["predictions"][0]["probabilities"][3], 0.15);
    }
}
