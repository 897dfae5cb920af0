//! What happens while a network trains, and who listens: logs, files, progress bars.
//!
//! The training loop knows none of its listeners; it only tells them what it did.

use crate::config::Config;
use crate::error::TrainError;
use crate::evaluate::Evaluation;
use crate::metrics::Metrics;
use crate::tensorboard::TensorBoard;
use std::path::Path;
use vgg_engine::EngineInfo;

/// Something that has happened, or is about to.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A new run begins. Its model directory exists and is locked.
    Started(&'a RunInfo<'a>),
    /// A run goes on from a checkpoint (or from its start, when it was ended before the first).
    Resumed(&'a RunInfo<'a>),
    /// A step has been made.
    Step(&'a StepReport),
    /// A checkpoint is about to be written.
    Saving {
        /// Updates made.
        global_step: u64,
    },
    /// A checkpoint is complete.
    Saved {
        /// Updates made.
        global_step: u64,
        /// The checkpoint's folder.
        path: &'a Path,
    },
    /// Pictures of the split that is being evaluated have been seen.
    Evaluating {
        /// Name of the split, such as `validation`.
        split: &'a str,
        /// Pictures seen.
        done: usize,
        /// Pictures of the split.
        total: usize,
    },
    /// A split has been evaluated between steps.
    Evaluated {
        /// Name of the split, such as `validation`.
        split: &'a str,
        /// What was found.
        evaluation: &'a Evaluation,
    },
    /// Training has reached its end (or the step it was to stop at) and is saved.
    Finished {
        /// Updates made.
        global_step: u64,
        /// Loss of the last step; `None` when the run was already at its end and no step was made.
        loss: Option<f32>,
    },
    /// Training was asked to stop, and is saved.
    Interrupted {
        /// Updates made.
        global_step: u64,
    },
    /// Something that the user should know of how the run begins.
    Note(&'a str),
    /// Something that the user should know, but that does not stop the run.
    Warning(&'a str),
}

/// A run at its beginning.
#[derive(Clone, Debug)]
pub struct RunInfo<'a> {
    /// Where the run is kept.
    pub model_dir: &'a Path,
    /// Everything that the run is.
    pub config: &'a Config,
    /// What it runs on.
    pub engine: &'a EngineInfo,
    /// Updates made before.
    pub global_step: u64,
    /// Updates that will have been made when this call ends: the run's length, or less when it
    /// is to stop earlier.
    pub end: u64,
    /// Steps in an epoch.
    pub steps_per_epoch: u64,
}

/// One step of training.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// Updates made, this one included.
    pub global_step: u64,
    /// Number of whole epochs before this step.
    pub epoch: u64,
    /// What training makes small, of the batch before the update: the mean softmax cross-entropy, with the
    /// recipe's label smoothing and class weights. (That of an [`Evaluation`] has neither.)
    pub loss: f32,
    /// Pictures of the batch whose label had the largest logit.
    pub correct: usize,
    /// Pictures in the batch.
    pub examples: usize,
    /// Learning rate of the update.
    pub learning_rate: f32,
    /// Wall-clock seconds that the step took.
    pub seconds: f64,
}

/// Somebody who is told what happens.
pub trait Listener {
    /// Takes note of an event.
    ///
    /// # Errors
    /// An error ends training without saving. A listener that only shows things to a person should
    /// not return one.
    fn notice(&mut self, event: &Event<'_>) -> Result<(), TrainError>;
}

/// The listeners of a run: its own file of metrics first, then those of the caller in order, then its event files.
pub(crate) struct Listeners<'a, 'b> {
    pub(crate) metrics: Metrics,
    pub(crate) others: &'a mut [&'b mut dyn Listener],
    pub(crate) tensorboard: TensorBoard,
}

impl Listeners<'_, '_> {
    pub(crate) fn tell(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        self.metrics.notice(event)?;
        self.tell_others(event)?;
        match self.tensorboard.notice(event) {
            Some(warning) => self.tell_others(&Event::Warning(&warning)),
            None => Ok(()),
        }
    }

    fn tell_others(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        self.others.iter_mut().try_for_each(|listener| listener.notice(event))
    }
}
