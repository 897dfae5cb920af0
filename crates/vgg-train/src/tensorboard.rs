//! What TensorBoard draws of a run: event files in the model directory, as TensorFlow's estimator wrote them.
//!
//! Loss, learning rate and speed are in the directory itself, accuracy and loss of the validation split in
//! `eval/`, those of the test split in `eval/test/`. Which steps have values is a function of the step and the
//! run's configuration, so a run has the same ones however often it was stopped. Nobody needs these files to
//! go on: what cannot be written costs a warning, and `metrics.jsonl` has it.

use crate::error::TrainError;
use crate::evaluate::Evaluation;
use crate::events::{Event, RunInfo, StepReport};
use std::path::Path;
use vgg_data::Dataset;
use vgg_formats::events::{Picture, What, has_event_files, remove_event_files};
use vgg_formats::{CheckpointError, EventFile, ModelDir};

/// Steps from one value to the next.
const INTERVAL: u64 = 100;

/// Pictures in a row of the grid, and rows.
const SIDE: usize = 8;

/// Most bytes of pixels in the grid.
const MOST_PIXELS: usize = 1 << 20;

/// Folder of evaluations between steps.
const EVALUATIONS: &str = "eval";

/// Writes what happens to event files.
pub(crate) struct TensorBoard {
    /// Steps that may be the last of the run.
    ends: Ends,
    training: Series,
    evaluations: Series,
    /// The first training pictures, until they are written.
    pictures: Option<Picture>,
    /// Steps and seconds since the last value of the speed.
    since: (u64, f64),
}

/// Where a run may end.
#[derive(Clone, Copy, Default)]
struct Ends {
    /// Its length in steps.
    length: u64,
    /// Steps in an epoch, of a run that may end early: it does so at the end of one.
    steps_per_epoch: Option<u64>,
}

/// The event files in one folder, of which the last is open once there is something to write.
struct Series {
    model_dir: ModelDir,
    folder: &'static str,
    file: Option<EventFile>,
    is_synced: bool,
    /// Whether the last attempt to write failed: one warning is enough.
    is_failing: bool,
}

impl TensorBoard {
    /// For a run in a model directory; `data` are the training pictures when some of them are to be shown.
    pub(crate) fn new(model_dir: &ModelDir, data: Option<&Dataset>) -> Self {
        Self {
            ends: Ends::default(),
            training: Series::new(model_dir, ""),
            evaluations: Series::new(model_dir, EVALUATIONS),
            pictures: data.and_then(grid),
            since: (0, 0.0),
        }
    }

    /// Takes note of an event. Gives a warning when files begin to fail.
    pub(crate) fn notice(&mut self, event: &Event<'_>) -> Option<String> {
        let error = match *event {
            Event::Started(run) | Event::Resumed(run) => {
                self.ends = Ends::of(run);
                None
            }
            Event::Step(report) => self.step(report),
            Event::Evaluated { evaluation, .. } => {
                let values = values_of(evaluation);
                self.evaluations.write(evaluation.global_step, &[What::Scalars(&values)])
            }
            Event::Saving { .. } => self.training.sync().or(self.evaluations.sync()),
            _ => None,
        };
        Some(format!("{}. Training goes on; metrics.jsonl has what TensorBoard will miss", error?))
    }

    /// Writes the values of a step, if it is to have some.
    fn step(&mut self, report: &StepReport) -> Option<CheckpointError> {
        self.since.0 += 1;
        self.since.1 += report.seconds;
        if report.global_step % INTERVAL != 1 && !self.ends.contains(report.global_step) {
            return None;
        }
        let (steps, seconds) = std::mem::take(&mut self.since);
        let speed = steps as f64 / seconds;
        let mut values = vec![("loss", report.loss), ("learning_rate", report.learning_rate)];
        if report.global_step > 1 && speed.is_finite() {
            values.push(("global_step/sec", speed as f32));
        }
        let mut events = vec![What::Scalars(&values)];
        let pictures = self.pictures.take();
        events.extend(pictures.as_ref().map(What::Picture));
        self.training.write(report.global_step, &events)
    }
}

impl Ends {
    fn of(run: &RunInfo<'_>) -> Self {
        let may_end_early = run.config.recipe.early_stop > 0;
        Self { length: run.config.run.steps, steps_per_epoch: may_end_early.then_some(run.steps_per_epoch) }
    }

    fn contains(self, step: u64) -> bool {
        step == self.length || self.steps_per_epoch.is_some_and(|steps| step.is_multiple_of(steps))
    }
}

impl Series {
    fn new(model_dir: &ModelDir, folder: &'static str) -> Self {
        Self { model_dir: model_dir.clone(), folder, file: None, is_synced: true, is_failing: false }
    }

    /// Writes what happened after `step` updates; gives the error with which that begins to fail.
    fn write(&mut self, step: u64, events: &[What<'_>]) -> Option<CheckpointError> {
        let result = self.try_write(step, events);
        let failed_before = std::mem::replace(&mut self.is_failing, result.is_err());
        result.err().filter(|_| !failed_before)
    }

    /// A file that fails is left behind: the next time begins another.
    fn try_write(&mut self, step: u64, events: &[What<'_>]) -> Result<(), CheckpointError> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => EventFile::create(&self.model_dir, self.folder, step)?,
        };
        events.iter().try_for_each(|what| file.write(step, *what))?;
        self.is_synced = false;
        self.file = Some(file);
        Ok(())
    }

    /// Makes what was written survive a power cut; gives the error when that fails.
    fn sync(&mut self) -> Option<CheckpointError> {
        if std::mem::replace(&mut self.is_synced, true) {
            return None;
        }
        let mut file = self.file.take()?;
        let result = file.sync();
        self.file = result.is_ok().then_some(file);
        result.err()
    }
}

/// Records an evaluation of a finished network on the test split, once: another one would find the same.
///
/// # Errors
/// When the files cannot be read or written.
pub fn record_test(model_dir: &ModelDir, evaluation: &Evaluation) -> Result<(), TrainError> {
    let (folder, step) = (format!("{EVALUATIONS}/test"), evaluation.global_step);
    if has_event_files(model_dir, &folder)? {
        return Ok(());
    }
    let write = || {
        let mut file = EventFile::create(model_dir, &folder, step)?;
        file.write(step, What::Scalars(&values_of(evaluation)))?;
        file.sync()
    };
    Ok(write().inspect_err(|_| remove_event_files(model_dir, &folder))?)
}

/// Removes what a run that is taken back has written.
pub(crate) fn remove(model_dir: &ModelDir) {
    remove_event_files(model_dir, EVALUATIONS);
    remove_event_files(model_dir, "");
}

fn values_of(evaluation: &Evaluation) -> [(&'static str, f32); 2] {
    [("accuracy", evaluation.accuracy as f32), ("loss", evaluation.loss as f32)]
}

/// Pictures from all over a data set, side by side; `None` for those that are too large to be shown.
fn grid(data: &Dataset) -> Option<Picture> {
    let (height, width, channels) = (data.height(), data.width(), data.channels());
    let side = (1..=SIDE).rev().find(|side| side * side * data.image_size() <= MOST_PIXELS)?;
    let mut pixels = vec![0; side * side * data.image_size()];
    let row_size = width * channels;
    for place in 0..(side * side).min(data.len()) {
        let image = data.image(place * data.len() / (side * side).min(data.len()));
        let (top, left) = (place / side * height, place % side);
        for (y, row) in image.chunks_exact(row_size).enumerate() {
            let start = ((top + y) * side + left) * row_size;
            pixels[start..start + row_size].copy_from_slice(row);
        }
    }
    let (height, width) = (side * height, side * width);
    let png = vgg_data::png(Path::new("pictures"), &pixels, height, width, channels).ok()?;
    Some(Picture { tag: "pictures".to_owned(), height, width, channels, png })
}
