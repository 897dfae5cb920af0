//! The training loop.
//!
//! Everything that a step does is a function of the run's configuration, the number of the step
//! and the weights with their momentum. So a run that goes on from a checkpoint computes the same
//! bits as one that was never interrupted.

use crate::config::Config;
use crate::early_stop::{self, Best};
use crate::error::TrainError;
use crate::estimator::Ending;
use crate::evaluate::{Evaluation, evaluate};
use crate::events::{Event, Listeners, StepReport};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use vgg_data::{Loader, Splits, TrainingBatch, prefetch};
use vgg_engine::{Dropout, Engine, EngineError, Outcome, State};
use vgg_formats::{CheckpointError, CheckpointState, ModelDir, TensorSet};

/// Time from one checkpoint to the next when no number of steps is given.
const SAVE_INTERVAL: Duration = Duration::from_secs(600);

/// Number of checkpoints that are kept.
const KEEP: usize = 5;

/// Checkpoints in a row that may fail to be written before training ends.
const MOST_FAILED_SAVES: u32 = 2;

/// A run under way.
pub(crate) struct Run<'a> {
    pub(crate) model_dir: &'a ModelDir,
    pub(crate) config: &'a Config,
    pub(crate) splits: &'a Splits,
    pub(crate) engine: &'a mut dyn Engine,
    /// Updates made.
    pub(crate) global_step: u64,
    /// Updates at which to end.
    pub(crate) end: u64,
    pub(crate) save_every: Option<u64>,
    pub(crate) evaluate_epochs: bool,
    pub(crate) evaluate_every: Option<u64>,
    /// The best evaluation so far that has a checkpoint, where the run may end early.
    pub(crate) best: Option<Best>,
    /// A better one, which takes its place if it is saved before the next step.
    pub(crate) better: Option<Best>,
}

/// Trains until the run's end, or until `stop` is set, and saves.
pub(crate) fn train(
    run: &mut Run<'_>,
    listeners: &mut Listeners<'_, '_>,
    stop: &AtomicBool,
) -> Result<Ending, TrainError> {
    let (recipe, total, seed, splits) =
        (&run.config.recipe, run.config.run.steps, run.config.run.seed, run.splits);
    let loader = Loader::new(splits.train.len(), run.config.run.batch_size, seed)?.with_augmentation(
        &recipe.augmentation,
        recipe.augmented_steps(total),
        &splits.train,
    );
    let steps_per_epoch = loader.steps_per_epoch();
    let mut saves = Saves { step: run.global_step, time: Instant::now(), failed: 0 };
    let mut last_loss = None;
    prefetch(loader, &splits.train, run.global_step..run.end, |batches| {
        while !stop.load(Ordering::Relaxed) && !run.is_over(steps_per_epoch) {
            let begin = Instant::now();
            let Some(&TrainingBatch { step, ref images, ref labels }) = batches.next_batch() else { break };
            let rule = recipe.update_rule(step, total);
            let outcome = run.engine.train_step(images, labels, Dropout { seed, step }, &rule);
            let outcome = unless_diverged(outcome, step)?;
            run.global_step += 1;
            run.average()?;
            last_loss = Some(outcome.loss);
            listeners.tell(&Event::Step(&StepReport {
                global_step: run.global_step,
                epoch: step / steps_per_epoch,
                loss: outcome.loss,
                correct: outcome.correct,
                examples: labels.len(),
                learning_rate: rule.learning_rate,
                seconds: begin.elapsed().as_secs_f64(),
            }))?;
            let is_best = run.evaluate(steps_per_epoch, listeners)?;
            if is_best || is_save_due(run.save_every, run.global_step, saves.time.elapsed()) {
                saves.save_or_warn(run, listeners)?;
            }
        }
        saves.save(run, listeners)?;
        conclude(run, last_loss, steps_per_epoch, listeners)
    })?
}

impl Run<'_> {
    /// Whether the run is to end before its length.
    fn is_over(&self, steps_per_epoch: u64) -> bool {
        early_stop::is_over(self.best, self.global_step, self.config.recipe.early_stop, steps_per_epoch)
    }

    /// Takes the new weights into their mean, where there is one and it is time.
    fn average(&mut self) -> Result<(), TrainError> {
        let Some(share) = self.config.recipe.average_share(self.global_step) else { return Ok(()) };
        self.engine.average(share).map_err(|error| match error {
            EngineError::Diverged => TrainError::diverged(error.to_string(), self.global_step),
            error => error.into(),
        })
    }

    /// Evaluates the validation split when it is time. Says whether it is the best so far, and so to be kept,
    /// of a run that may end early; only the ends of epochs, and of the run, count there, however often else it
    /// is evaluated.
    fn evaluate(
        &mut self,
        steps_per_epoch: u64,
        listeners: &mut Listeners<'_, '_>,
    ) -> Result<bool, TrainError> {
        let step = self.global_step;
        let ends_epoch =
            self.evaluate_epochs && (step.is_multiple_of(steps_per_epoch) || step == self.config.run.steps);
        if !ends_epoch && !self.evaluate_every.is_some_and(|steps| step.is_multiple_of(steps)) {
            return Ok(false);
        }
        let accuracy = evaluate_validation(self, listeners)?.accuracy;
        if !ends_epoch || self.config.recipe.early_stop == 0 {
            return Ok(false);
        }
        self.better = early_stop::note(&mut self.best, step, accuracy);
        Ok(self.better.is_some())
    }

    /// The best evaluation once the network is saved as it is now.
    fn best_when_saved(&self) -> Option<Best> {
        self.better.filter(|better| better.step == self.global_step).or(self.best)
    }
}

/// The outcome of a step that began after `step` updates, unless there are numbers that are not finite:
/// the loss, which those updates have spoilt, or the weights, which this step's has.
fn unless_diverged(outcome: Result<Outcome, EngineError>, step: u64) -> Result<Outcome, TrainError> {
    match outcome {
        Ok(outcome) if outcome.loss.is_finite() => Ok(outcome),
        Ok(outcome) => Err(TrainError::diverged(format!("the loss is {}", outcome.loss), step)),
        Err(error @ EngineError::Diverged) => Err(TrainError::diverged(error.to_string(), step + 1)),
        Err(error) => Err(error.into()),
    }
}

/// Says how training ended.
fn conclude(
    run: &Run<'_>,
    loss: Option<f32>,
    steps_per_epoch: u64,
    listeners: &mut Listeners<'_, '_>,
) -> Result<Ending, TrainError> {
    let (global_step, is_over) = (run.global_step, run.is_over(steps_per_epoch));
    if global_step < run.end && !is_over {
        listeners.tell(&Event::Interrupted { global_step })?;
        return Ok(Ending::Interrupted);
    }
    listeners.tell(&Event::Finished { global_step, loss })?;
    Ok(match loss {
        None => Ending::NothingToDo,
        Some(_) if global_step >= run.config.run.steps => Ending::Finished,
        Some(_) if is_over => Ending::EndedEarly,
        Some(_) => Ending::Stopped,
    })
}

/// Evaluates the validation split with what will be used of the network: the mean of its weights, where
/// there is one. To its end even when training is to stop: a run that goes on would not come back to it.
fn evaluate_validation(
    run: &mut Run<'_>,
    listeners: &mut Listeners<'_, '_>,
) -> Result<Evaluation, TrainError> {
    let split = "validation";
    let mut told = Ok(());
    let mut progress = |done, total| {
        if told.is_ok() {
            told = listeners.tell(&Event::Evaluating { split, done, total });
        }
    };
    let (data, stop) = (&run.splits.validation, AtomicBool::new(false));
    let has_average = run.config.recipe.has_average();
    if has_average {
        run.engine.swap_average()?;
    }
    let result = evaluate(run.engine, data, run.global_step, &stop, &mut progress);
    if has_average {
        run.engine.swap_average()?;
    }
    told?;
    let evaluation = result?;
    listeners.tell(&Event::Evaluated { split, evaluation: &evaluation })?;
    Ok(evaluation)
}

/// When the last checkpoint was written, or loaded, and how many could not be written since.
struct Saves {
    step: u64,
    time: Instant,
    failed: u32,
}

/// Whether it is time for a checkpoint, so long after the last one.
fn is_save_due(save_every: Option<u64>, global_step: u64, elapsed: Duration) -> bool {
    match save_every {
        Some(steps) => global_step.is_multiple_of(steps),
        None => elapsed >= SAVE_INTERVAL,
    }
}

impl Saves {
    /// Saves, and goes on when the files do not let it: the disk may have room again by the time of
    /// the next checkpoint. Training ends when that has happened too often in a row.
    fn save_or_warn(
        &mut self,
        run: &mut Run<'_>,
        listeners: &mut Listeners<'_, '_>,
    ) -> Result<(), TrainError> {
        match self.save(run, listeners) {
            Err(error) if error.is_of_files() && self.failed < MOST_FAILED_SAVES => {
                self.failed += 1;
                self.time = Instant::now();
                let step = run.global_step;
                let warning =
                    format!("step {step} is not saved: {error}. Training goes on and will save again");
                listeners.tell(&Event::Warning(&warning))
            }
            result => result,
        }
    }

    /// Saves what is not saved yet, and deletes the checkpoints that are too many.
    fn save(&mut self, run: &mut Run<'_>, listeners: &mut Listeners<'_, '_>) -> Result<(), TrainError> {
        let global_step = run.global_step;
        if self.step == global_step {
            return Ok(());
        }
        listeners.tell(&Event::Saving { global_step })?;
        let network = run.engine.network();
        let mut state = CheckpointState::new(network, global_step, run.config.run.seed);
        state.run = run.config.identity()?;
        let best = run.best_when_saved();
        state.progress = best.map(Best::to_progress).unwrap_or_default();
        let sets = run.config.tensor_sets();
        let path = vgg_formats::save(run.model_dir, &state, network, sets, |set, parameter, values| {
            run.engine.read(state_of(set), parameter, values)
        });
        let path = path.map_err(|error| match error {
            CheckpointError::NonFinite { parameter, position, value, .. } => {
                let cause = format!("value {position} of {parameter} is {value}");
                TrainError::diverged(cause, global_step)
            }
            error => error.into(),
        })?;
        run.best = best;
        *self = Self { step: global_step, time: Instant::now(), failed: 0 };
        listeners.tell(&Event::Saved { global_step, path: &path })?;
        match vgg_formats::prune(run.model_dir, KEEP, early_stop::spared(run.model_dir, KEEP, best)) {
            Ok(_) => Ok(()),
            Err(error) => listeners.tell(&Event::Warning(&format!("old checkpoints are kept: {error}"))),
        }
    }
}

/// The engine's name for a set of tensors.
pub(crate) fn state_of(set: TensorSet) -> State {
    match set {
        TensorSet::Weights => State::Weight,
        TensorSet::Momentum => State::Momentum,
        TensorSet::Average => State::Average,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_due_after_steps_or_else_after_ten_minutes() {
        let seconds = Duration::from_secs;
        assert!(!is_save_due(None, 100, seconds(599)));
        assert!(is_save_due(None, 101, seconds(600)));
        assert!(!is_save_due(Some(3), 5, seconds(6000)), "a number of steps takes the place of time");
        assert!(is_save_due(Some(3), 6, seconds(0)));
    }
}
