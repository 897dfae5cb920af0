//! `metrics.jsonl`: what training measured, one JSON object a line.

use crate::error::TrainError;
use crate::evaluate::Evaluation;
use crate::events::{Event, Listener, StepReport};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Name of the file in a model directory.
pub(crate) const METRICS_FILE: &str = "metrics.jsonl";

/// A line of the file.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line<'a> {
    Step {
        global_step: u64,
        epoch: u64,
        loss: f32,
        accuracy: f64,
        examples: usize,
        learning_rate: f32,
        seconds: f64,
    },
    Evaluated {
        split: &'a str,
        #[serde(flatten)]
        evaluation: &'a Evaluation,
    },
}

/// Writes steps and evaluations to the file. Each line is handed to the system at once, so that
/// whoever follows the file sees it, and a killed run leaves whole lines.
pub(crate) struct Metrics {
    path: PathBuf,
    file: File,
    line: Vec<u8>,
}

impl Metrics {
    /// Opens the file of a model directory for a run that goes on from `global_step`. Lines of
    /// later steps, left by a run that was killed after its last checkpoint, are dropped: their
    /// steps will be made again.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub(crate) fn open(model_dir: &Path, global_step: u64) -> Result<Self, TrainError> {
        let path = model_dir.join(METRICS_FILE);
        match fs::read(&path) {
            Ok(old) => {
                let kept = lines_up_to(&old, global_step);
                if kept.len() != old.len() {
                    vgg_formats::replace_file(&path, &kept)?;
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(TrainError::io("read", &path, error)),
        }
        let file = File::options().append(true).create(true).open(&path);
        let file = file.map_err(|source| TrainError::Create { path: path.clone(), source })?;
        Ok(Self { path, file, line: Vec::new() })
    }

    fn write(&mut self, line: &Line<'_>) -> Result<(), TrainError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)
            .map_err(|error| TrainError::io("write", &self.path, error.into()))?;
        self.line.push(b'\n');
        self.file.write_all(&self.line).map_err(|error| TrainError::io("write", &self.path, error))
    }
}

impl Listener for Metrics {
    fn notice(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        match *event {
            Event::Step(step) => self.write(&step_line(step)),
            Event::Evaluated { split, evaluation } => self.write(&Line::Evaluated { split, evaluation }),
            _ => Ok(()),
        }
    }
}

fn step_line(step: &StepReport) -> Line<'static> {
    Line::Step {
        global_step: step.global_step,
        epoch: step.epoch,
        loss: step.loss,
        accuracy: step.correct as f64 / step.examples as f64,
        examples: step.examples,
        learning_rate: step.learning_rate,
        seconds: step.seconds,
    }
}

/// The whole lines of steps up to `global_step`.
fn lines_up_to(old: &[u8], global_step: u64) -> Vec<u8> {
    #[derive(Deserialize)]
    struct Step {
        global_step: u64,
    }
    let is_kept = |line: &&[u8]| {
        line.ends_with(b"\n")
            && serde_json::from_slice::<Step>(line).is_ok_and(|line| line.global_step <= global_step)
    };
    old.split_inclusive(|&byte| byte == b'\n').filter(is_kept).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_objects_with_the_step() {
        let folder = tempfile::tempdir().unwrap();
        let mut metrics = Metrics::open(folder.path(), 0).unwrap();
        let step = StepReport {
            global_step: 1,
            epoch: 0,
            loss: 2.25,
            correct: 3,
            examples: 4,
            learning_rate: 0.5,
            seconds: 0.125,
        };
        metrics.notice(&Event::Step(&step)).unwrap();
        let evaluation = Evaluation { accuracy: 0.75, loss: 0.5, global_step: 1, examples: 8 };
        metrics.notice(&Event::Evaluated { split: "validation", evaluation: &evaluation }).unwrap();
        assert_eq!(
            fs::read_to_string(folder.path().join(METRICS_FILE)).unwrap(),
            "{\"event\":\"step\",\"global_step\":1,\"epoch\":0,\"loss\":2.25,\"accuracy\":0.75,\"examples\":4,\
             \"learning_rate\":0.5,\"seconds\":0.125}\n\
             {\"event\":\"evaluated\",\"split\":\"validation\",\"accuracy\":0.75,\"loss\":0.5,\"global_step\":1,\
             \"examples\":8}\n"
        );
    }

    #[test]
    fn later_and_broken_lines_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(METRICS_FILE);
        let kept = "{\"global_step\":1}\n{\"a\":0,\"global_step\":2}\n";
        fs::write(
            &path,
            format!("{kept}{{\"global_step\":3}}\n{{\"global_st\n\u{fe}\n{{\"global_step\":1}}"),
        )
        .unwrap();
        Metrics::open(folder.path(), 2).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), kept);
    }
}
