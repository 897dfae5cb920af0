//! `metrics.jsonl`: what training measured, one JSON object a line.

use crate::error::TrainError;
use crate::evaluate::Evaluation;
use crate::events::{Event, Listener, StepReport};
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind};
use std::time::Instant;
use vgg_formats::{CheckpointError, ModelDir, OutputFile};

/// Name of the file in a model directory.
pub const METRICS_FILE: &str = "metrics.jsonl";

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
        seconds_since_start: f64,
    },
}

/// Writes steps and evaluations to the file. Each line is handed to the system at once, so that
/// whoever follows the file sees it. A line that cannot be written then waits for the next; all of
/// them must be on the disk before a checkpoint is, so that no power cut leaves a checkpoint whose
/// steps have no lines.
pub(crate) struct Metrics {
    model_dir: ModelDir,
    file: Box<dyn OutputFile>,
    /// When training was asked for.
    start: Instant,
    /// Whether a sync has failed: what was written before may then be lost, whatever a later one
    /// says.
    is_unsure: bool,
    /// What is still to be written.
    pending: Vec<u8>,
}

impl Metrics {
    /// Opens the file of a model directory for a run that goes on from `global_step`. Lines of
    /// later steps, left by a run that was killed after its last checkpoint, are dropped: their
    /// steps will be made again. Evaluations are told with the seconds since `start`.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub(crate) fn open(model_dir: &ModelDir, global_step: u64, start: Instant) -> Result<Self, TrainError> {
        let old = model_dir.read(METRICS_FILE, u64::MAX).map_err(|error| match error {
            CheckpointError::Damaged { path, cause } => {
                TrainError::io("read", &path, io::Error::other(cause))
            }
            error => error.into(),
        })?;
        if let Some(old) = old {
            let kept = lines_up_to(&old, global_step);
            if kept.len() != old.len() {
                model_dir.replace(METRICS_FILE, &kept)?;
            }
        }
        let file = model_dir.append(METRICS_FILE)?;
        Ok(Self { model_dir: model_dir.clone(), file, start, is_unsure: false, pending: Vec::new() })
    }

    fn write(&mut self, line: &Line<'_>) -> Result<(), TrainError> {
        serde_json::to_writer(&mut self.pending, line).map_err(|error| self.not_written(error.into()))?;
        self.pending.push(b'\n');
        // Whoever saves will hear of it, if it is still so by then.
        let _ = self.hand_over();
        Ok(())
    }

    fn not_written(&self, error: io::Error) -> TrainError {
        TrainError::io("write", &self.model_dir.path().join(METRICS_FILE), error)
    }

    /// Hands what is pending to the system.
    fn hand_over(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.file.write(&self.pending) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => drop(self.pending.drain(..written)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes every line survive a power cut.
    fn sync(&mut self) -> Result<(), TrainError> {
        if self.is_unsure {
            let lines = self.model_dir.read(METRICS_FILE, u64::MAX)?.unwrap_or_default();
            self.model_dir.replace(METRICS_FILE, &lines)?;
            self.file = self.model_dir.append(METRICS_FILE)?;
            self.is_unsure = false;
        }
        let handed_over = self.hand_over();
        let result = handed_over.and_then(|()| self.file.sync().inspect_err(|_| self.is_unsure = true));
        result.map_err(|error| self.not_written(error))
    }
}

impl Listener for Metrics {
    fn notice(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        match *event {
            Event::Step(step) => self.write(&step_line(step)),
            Event::Evaluated { split, evaluation } => {
                let seconds_since_start = self.start.elapsed().as_secs_f64();
                self.write(&Line::Evaluated { split, evaluation, seconds_since_start })
            }
            Event::Saving { .. } | Event::Finished { .. } | Event::Interrupted { .. } => self.sync(),
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
    use std::fs;

    #[test]
    fn lines_are_objects_with_the_step() {
        let folder = tempfile::tempdir().unwrap();
        let mut metrics = Metrics::open(&folder.path().into(), 0, Instant::now()).unwrap();
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
        let evaluation =
            Evaluation { accuracy: 0.75, interval: [0.5, 1.0], loss: 0.5, global_step: 1, examples: 8 };
        metrics.notice(&Event::Evaluated { split: "validation", evaluation: &evaluation }).unwrap();
        let lines = fs::read_to_string(folder.path().join(METRICS_FILE)).unwrap();
        let (lines, since_start) = lines.rsplit_once(",\"seconds_since_start\":").unwrap();
        assert!((0.0..60.0).contains(&since_start.trim_end_matches("}\n").parse().unwrap()), "{since_start}");
        assert_eq!(
            lines,
            "{\"event\":\"step\",\"global_step\":1,\"epoch\":0,\"loss\":2.25,\"accuracy\":0.75,\"examples\":4,\
             \"learning_rate\":0.5,\"seconds\":0.125}\n\
             {\"event\":\"evaluated\",\"split\":\"validation\",\"accuracy\":0.75,\"interval\":[0.5,1.0],\"loss\":0.5,\
             \"global_step\":1,\"examples\":8"
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
        Metrics::open(&folder.path().into(), 2, Instant::now()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), kept);
    }
}
