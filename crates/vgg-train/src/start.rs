//! How a run begins: first everything that can be refused, then the model directory.
//!
//! [`Prepared::new`] reads and checks, and changes nothing. [`Prepared::train`] takes the lock,
//! loads the newest checkpoint, writes the configuration and trains. What must not stay of a run that ends
//! badly, `remove` takes away again.

use crate::config::{CONFIG_FILE, Config, differences};
use crate::early_stop::{self, Best, best_checkpoint};
use crate::error::TrainError;
use crate::estimator::{Ending, EngineFactory, Estimator, Trained};
use crate::events::{Event, Listener, Listeners, RunInfo};
use crate::init_from::Start;
use crate::metrics::Metrics;
use crate::options::{TrainOptions, precision_named};
use crate::overfit;
use crate::remove::{after_divergence, remove_check, remove_new};
use crate::tensorboard::TensorBoard;
use crate::train::{Run, state_of, train};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use vgg_data::{Splits, stats};
use vgg_engine::{Engine, EngineOptions, State};
use vgg_formats::{Checkpoint, CheckpointError, Entry, LockGuard, ModelDir, TensorSet};

/// A run that can begin.
pub(crate) struct Prepared {
    config: Config,
    /// The configuration in the model directory, if it holds a run to go on with.
    saved: Option<Config>,
    /// That of a check in the model directory that gives way.
    replaced: Option<Config>,
    splits: Splits,
    engine: Box<dyn Engine>,
    /// Whether the engine has weights to start with.
    has_weights: bool,
    /// What the user should know before it begins.
    notes: Vec<String>,
    /// What is amiss with the network that it starts from.
    warnings: Vec<String>,
}

/// What is known once the model directory is locked.
struct Begun {
    metrics: Metrics,
    global_step: u64,
    best: Option<Best>,
    warnings: Vec<String>,
}

impl Prepared {
    /// Checks the options against a present run, opens the data and makes the engine.
    pub(crate) fn new(options: &TrainOptions, make_engine: EngineFactory<'_>) -> Result<Self, TrainError> {
        let present = present_run(&options.model_dir)?;
        let gives_way = |present: &Config| options.replace_check && present.run.overfit_batch;
        let (replaced, saved) =
            if present.as_ref().is_some_and(gives_way) { (present, None) } else { (None, present) };
        let start = Start::open(options, saved.as_ref(), make_engine)?;
        let completed = start.as_ref().filter(|_| saved.is_none()).map(|start| start.complete(options));
        let options = completed.as_ref().unwrap_or(options);
        let source = options.source(saved.as_ref())?;
        let mut splits = vgg_data::open(&source, &options.data_options(saved.as_ref()))?;
        let (network, mut config) = options.resolve(saved.as_ref(), &splits, &source)?;
        if let Some(start) = start.as_ref().filter(|_| saved.is_none()) {
            start.normalise_alike(&mut config);
        }
        let mut engine = make_engine(&network, &engine_options(&config, &splits, options.threads)?)?;
        settle_precision(&mut config, saved.as_ref(), engine.info().precision, &options.model_dir)?;
        let mut notes = std::mem::take(&mut splits.notes);
        if replaced.is_some() {
            let directory = options.model_dir.path().display();
            notes.push(format!("the check on one batch that was in {directory} gives way to this one"));
        }
        notes.extend(without_effect(options, &config, &splits));
        if let Some(start) = &start {
            notes.push(start.initialise(engine.as_mut(), &mut config)?);
        }
        options.check_expected(&config)?;
        config.text()?;
        if config.run.overfit_batch {
            splits.train = overfit::batch(&splits.train, config.run.batch_size, config.run.seed)?;
        }
        let warnings = start.as_ref().map(|start| start.warnings().to_vec()).unwrap_or_default();
        let has_weights = start.is_some();
        Ok(Self { config, saved, replaced, splits, engine, has_weights, notes, warnings })
    }

    /// Locks the model directory and trains. When a new run cannot begin after all, ends before its
    /// first step, or diverges without a good checkpoint, the folders made for it are removed again.
    /// Times count from `start`.
    pub(crate) fn train(
        mut self,
        options: &TrainOptions,
        listeners: &mut [&mut dyn Listener],
        stop: &AtomicBool,
        start: Instant,
    ) -> Result<Trained, TrainError> {
        let model_dir = &options.model_dir;
        let missing = model_dir.missing();
        let mut lock = vgg_formats::lock(model_dir)?;
        // What was checked before the lock must still be so.
        if Config::load(model_dir)?.as_ref() != self.replaced.as_ref().or(self.saved.as_ref()) {
            return Err(TrainError::Busy { path: model_dir.path().join(CONFIG_FILE) });
        }
        if self.replaced.is_some() {
            remove_check(model_dir)?;
        }
        let begun =
            self.begin(model_dir, &mut lock, start).inspect_err(|_| remove_new(model_dir, &missing))?;
        // What a run that goes on was shown at its start is there already.
        let data = (begun.global_step == 0).then_some(&self.splits.train);
        let tensorboard = TensorBoard::new(model_dir, data);
        let mut listeners = Listeners { metrics: begun.metrics, others: listeners, tensorboard };
        let result =
            self.run(options, (begun.global_step, begun.best), &begun.warnings, &mut listeners, stop);
        let (global_step, best, ending) =
            result.map_err(|error| after_divergence(error, model_dir, &missing))?;
        if ending == Ending::Interrupted && global_step == 0 {
            remove_new(model_dir, &missing);
        }
        let steps_per_epoch = steps_per_epoch(&self.config, &self.splits);
        let patience = self.config.recipe.early_stop;
        let complete = global_step >= self.config.run.steps
            || early_stop::is_over(best, global_step, patience, steps_per_epoch);
        let (best_step, warning) = self.use_best(model_dir, global_step, best)?;
        let estimator = Estimator::new(self.config, self.engine, best_step, warning.into_iter().collect());
        Ok(Trained { estimator, splits: self.splits, ending, complete, global_step })
    }

    /// Leaves in the engine what evaluation and prediction are to use: the weights of the best evaluation
    /// where a run may end early, and the mean of the weights where there is one. Gives the updates that
    /// made them, and a warning when the best ones cannot be had.
    fn use_best(
        &mut self,
        model_dir: &ModelDir,
        global_step: u64,
        best: Option<Best>,
    ) -> Result<(u64, Option<String>), TrainError> {
        let (config, engine) = (&self.config, self.engine.as_mut());
        // One that cannot be used is no reason to lose what was trained after it.
        let warning = match best_checkpoint(
            model_dir,
            best,
            global_step,
            engine.network(),
            &[config.evaluated_set()],
        ) {
            Ok(Some(checkpoint)) => {
                read_weights(engine, config, &checkpoint)?;
                return Ok((checkpoint.state.global_step, None));
            }
            Ok(None) => None,
            Err(warning) => Some(warning),
        };
        if config.recipe.has_average() {
            engine.swap_average()?;
        }
        Ok((global_step, warning))
    }

    /// Says how the run begins, and trains; gives the number of updates made by now, and the best
    /// evaluation where a run may end early.
    fn run(
        &mut self,
        options: &TrainOptions,
        (global_step, best): (u64, Option<Best>),
        warnings: &[String],
        listeners: &mut Listeners<'_, '_>,
        stop: &AtomicBool,
    ) -> Result<(u64, Option<Best>, Ending), TrainError> {
        let steps = self.config.run.steps;
        let end = options.stop_at.map_or(steps, |step| step.min(steps));
        let info = self.engine.info();
        let run_info = RunInfo {
            model_dir: options.model_dir.path(),
            config: &self.config,
            engine: &info,
            global_step,
            end,
            steps_per_epoch: steps_per_epoch(&self.config, &self.splits),
        };
        for warning in self.warnings.iter().chain(warnings) {
            listeners.tell(&Event::Warning(warning))?;
        }
        let event = if self.saved.is_some() { Event::Resumed(&run_info) } else { Event::Started(&run_info) };
        listeners.tell(&event)?;
        for note in &self.notes {
            listeners.tell(&Event::Note(note))?;
        }
        let mut run = Run {
            model_dir: &options.model_dir,
            config: &self.config,
            splits: &self.splits,
            engine: self.engine.as_mut(),
            global_step,
            end,
            save_every: options.save_every,
            evaluate_epochs: options.evaluate_epochs && !self.config.run.overfit_batch,
            evaluate_every: options.evaluate_every.filter(|_| !self.config.run.overfit_batch),
            best,
            better: None,
        };
        let ending = train(&mut run, listeners, stop)?;
        Ok((run.global_step, run.best, ending))
    }

    /// Brings engine and files of the locked model directory to where the run stands.
    fn begin(
        &mut self,
        model_dir: &ModelDir,
        lock: &mut LockGuard,
        start: Instant,
    ) -> Result<Begun, TrainError> {
        let (config, engine) = (&self.config, self.engine.as_mut());
        let (mut global_step, mut best, mut skipped) = (0, None, Vec::new());
        match vgg_formats::load_newest(model_dir, engine.network(), &TensorSet::ALL)? {
            None if self.has_weights => {}
            None => engine.initialise(config.recipe.initialiser, config.run.seed),
            Some(newest) => {
                skipped = newest.skipped;
                // A disk that cannot be read now may be well again: that is no reason to put aside what is on it.
                let unreadable =
                    |(_, error): &(_, CheckpointError)| error.kind() == vgg_formats::ErrorKind::Io;
                if let Some(at) = skipped.iter().position(unreadable) {
                    return Err(skipped.swap_remove(at).1.into());
                }
                global_step = restore(engine, config, &newest.checkpoint)?;
                best = Best::from_progress(&newest.checkpoint.state.progress);
            }
        }
        // Nothing can be refused any more: from here on the directory is changed.
        lock.write_holder()?;
        let mut warnings = Vec::new();
        for (path, error) in skipped {
            // It would count as the newest, and as one of those to be kept.
            let aside = vgg_formats::set_aside(model_dir, &path)?;
            warnings.push(format!(
                "{error}. It is kept as {}; going on from step {global_step}, what was learned after it is lost",
                aside.display()
            ));
        }
        if self.saved.as_ref() != Some(config) {
            config.save(model_dir)?;
        }
        vgg_formats::sweep(model_dir)?;
        let metrics = Metrics::open(model_dir, global_step, start)?;
        Ok(Begun { metrics, global_step, best, warnings })
    }
}

/// The configuration of the run in a model directory, if there is one.
fn present_run(model_dir: &ModelDir) -> Result<Option<Config>, TrainError> {
    // A file in place of the directory, or of one above it.
    let is_in_the_way = |path: &&Path| model_dir.entry(path).is_some_and(|entry| entry != Entry::Directory);
    if let Some(present) = model_dir.path().ancestors().find(is_in_the_way) {
        let source = ErrorKind::NotADirectory.into();
        return Err(TrainError::Create { path: present.to_owned(), source });
    }
    let saved = Config::load(model_dir)?;
    if saved.is_none() && !vgg_formats::list(model_dir)?.is_empty() {
        return Err(TrainError::Incompatible(format!(
            "{} holds checkpoints but no {CONFIG_FILE}, which says how they came about; restore the file, or give \
             another --model-dir",
            model_dir.path().display()
        )));
    }
    Ok(saved)
}

/// Lets the run keep the precision that it begins with, where that was `auto`. A saved run must have its own.
fn settle_precision(
    config: &mut Config,
    saved: Option<&Config>,
    precision: String,
    model_dir: &ModelDir,
) -> Result<(), TrainError> {
    if saved.is_some() && precision != config.run.precision {
        return Err(TrainError::Incompatible(format!(
            "the run in {} computes in {}, which this machine does not: it would compute in {precision}; \
             give another --model-dir",
            model_dir.path().display(),
            config.run.precision
        )));
    }
    config.run.precision = precision;
    Ok(())
}

/// What is asked for and does nothing in this run, a line each.
fn without_effect(options: &TrainOptions, config: &Config, splits: &Splits) -> Vec<String> {
    let mut notes = Vec::new();
    if options.split.is_some() && splits.seeded.is_none() {
        notes.push(format!(
            "data.split has no effect: the validation and test pictures of {} are not taken by chance",
            splits.name
        ));
    }
    if config.run.overfit_batch && options.evaluate_every.is_some() {
        notes.push(
            "--evaluate-every has no effect: a check on one batch evaluates no other pictures".to_owned(),
        );
    }
    if options.overrides.plain_finish.is_some_and(|share| share > 0.0) && config.recipe.augmentation.is_none()
    {
        notes.push("recipe.plain_finish has no effect: this run has no augmentation to end".to_owned());
    }
    let (patience, steps) = (config.recipe.early_stop, config.run.steps);
    let steps_per_epoch = steps_per_epoch(config, splits);
    // The first epoch is the first that can be the best.
    if patience > 0 && patience.saturating_add(1).saturating_mul(steps_per_epoch) >= steps {
        notes.push(format!(
            "an early stop after {patience} epochs without a better one cannot end this run of {} any earlier; what \
             it changes is that the best epoch is used, not the last",
            steps.div_ceil(steps_per_epoch)
        ));
    }
    notes
}

fn steps_per_epoch(config: &Config, splits: &Splits) -> u64 {
    splits.train.len().div_ceil(config.run.batch_size) as u64
}

fn engine_options(config: &Config, splits: &Splits, threads: usize) -> Result<EngineOptions, TrainError> {
    Ok(EngineOptions {
        batch_size: config.run.batch_size,
        threads,
        precision: precision_named(&config.run.precision)?,
        training: true,
        gradients: false,
        momentum: config.has_momentum(),
        averaging: config.recipe.has_average(),
        normalisation: config.normalisation(),
        label_smoothing: config.recipe.label_smoothing as f32,
        class_weights: config.recipe.class_weights.of(&stats::class_counts(&splits.train)),
        frozen: config.run.freeze,
    })
}

/// Loads all that a run goes on with into an engine, and gives the number of updates that made it.
///
/// # Errors
/// When the checkpoint was made by a run with another configuration, or cannot be read.
pub(crate) fn restore(
    engine: &mut dyn Engine,
    config: &Config,
    checkpoint: &Checkpoint,
) -> Result<u64, TrainError> {
    check_identity(config, checkpoint)?;
    for &set in config.tensor_sets() {
        checkpoint.read(set, |parameter, values| engine.write(state_of(set), parameter, values))?;
    }
    Ok(checkpoint.state.global_step)
}

/// Loads what evaluation and prediction use as the weights of an engine, and gives the SHA-256 of its file.
///
/// # Errors
/// As [`restore`].
pub(crate) fn read_weights(
    engine: &mut dyn Engine,
    config: &Config,
    checkpoint: &Checkpoint,
) -> Result<String, TrainError> {
    check_identity(config, checkpoint)?;
    let set = config.evaluated_set();
    checkpoint.read(set, |parameter, values| engine.write(State::Weight, parameter, values))?;
    Ok(checkpoint.hash(set).unwrap_or_default().to_owned())
}

/// Refuses a checkpoint of another configuration.
fn check_identity(config: &Config, checkpoint: &Checkpoint) -> Result<(), TrainError> {
    if let Some(differences) = differences(&checkpoint.state.run, &config.identity()?) {
        return Err(TrainError::Incompatible(format!(
            "{} was made by a run with other options than {CONFIG_FILE} says: {differences}; restore the file",
            checkpoint.path.display()
        )));
    }
    Ok(())
}
