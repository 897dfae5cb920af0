//! The estimator: a network with a model directory, ready to evaluate and predict, and the way
//! there, [`train`].

use crate::config::Config;
use crate::early_stop::{Best, best_checkpoint};
use crate::error::TrainError;
use crate::evaluate::{Evaluation, evaluate_each};
use crate::events::Listener;
use crate::options::{TrainOptions, precision_named};
use crate::predict::{Prediction, predict_views};
use crate::start::{Prepared, read_weights};
use crate::views::Views;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use vgg_arch::text::one_line;
use vgg_arch::{Network, Parameter};
use vgg_data::{Dataset, Splits};
use vgg_engine::{Engine, EngineError, EngineInfo, EngineOptions, Precision, State};
use vgg_formats::{CheckpointError, ModelDir};

/// Makes an engine for a network; `&vgg_engine::cpu_engine` is one.
pub type EngineFactory<'a> = &'a dyn Fn(&Network, &EngineOptions) -> Result<Box<dyn Engine>, EngineError>;

/// Characters of a class's name in a message.
const LONGEST_NAME: usize = 60;

/// A trained network, ready to evaluate and predict.
pub struct Estimator {
    config: Config,
    engine: Box<dyn Engine>,
    global_step: u64,
    weights_hash: String,
    warnings: Vec<String>,
    views: Views,
}

/// How to open a model directory.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Where the run is kept.
    pub model_dir: ModelDir,
    /// Largest number of pictures that are computed at once.
    pub batch_size: usize,
    /// Number of threads; 0 takes one for each core.
    pub threads: usize,
}

/// A run of training that has ended well.
pub struct Trained {
    /// The network as it is now.
    pub estimator: Estimator,
    /// The data it was trained with.
    pub splits: Splits,
    /// Why training ended.
    pub ending: Ending,
    /// Updates made by now. The estimator may be an earlier and better one.
    pub global_step: u64,
    /// Whether there is nothing left to train: the run has its whole length, or ended early.
    pub complete: bool,
}

/// Why training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The run has its whole length.
    Finished,
    /// Validation accuracy has not risen for as many epochs as [`Recipe::early_stop`](crate::Recipe::early_stop)
    /// says.
    EndedEarly,
    /// The step of [`TrainOptions::stop_at`] is reached.
    Stopped,
    /// The stop flag was set.
    Interrupted,
    /// The run was already as far as it was to go; no step was made.
    NothingToDo,
}

/// Trains: a new run, or the run in the model directory from its newest checkpoint on. Nothing in
/// the model directory is changed, and none is made, before every option, the data and a present
/// run's configuration are known to be good. Setting `stop` ends training after the present step
/// (and the evaluation that follows it); what has been learned is saved.
///
/// # Errors
/// Whatever [`TrainError`] says; see [`TrainError::exit_code`].
pub fn train(
    options: &TrainOptions,
    make_engine: EngineFactory<'_>,
    listeners: &mut [&mut dyn Listener],
    stop: &AtomicBool,
) -> Result<Trained, TrainError> {
    let start = Instant::now();
    Prepared::new(options, make_engine)?.train(options, listeners, stop, start)
}

impl Estimator {
    /// A network whose weights are in an engine already.
    pub(crate) fn new(
        config: Config,
        engine: Box<dyn Engine>,
        global_step: u64,
        warnings: Vec<String>,
    ) -> Self {
        let (weights_hash, views) = (String::new(), Views::AsTheyAre);
        Self { config, engine, global_step, weights_hash, warnings, views }
    }

    /// Opens the newest checkpoint of a model directory whose weights are intact, or for a run that may end
    /// early the one with the best validation accuracy. Where there is a mean of the weights, that is what is
    /// used. Nothing in the directory is changed.
    ///
    /// # Errors
    /// When there is no run or no intact checkpoint, or the engine cannot be made.
    pub fn open(options: &OpenOptions, make_engine: EngineFactory<'_>) -> Result<Self, TrainError> {
        let model_dir = &options.model_dir;
        let untrained = || {
            TrainError::Incompatible(format!(
                "{} holds no trained network; train one first, or give the --model-dir of one",
                model_dir.path().display()
            ))
        };
        if options.batch_size == 0 {
            return Err(TrainError::Usage("the batch size is 0; give one of at least 1".to_owned()));
        }
        let config = Config::load(model_dir)?.ok_or_else(untrained)?;
        let engine_options = EngineOptions {
            batch_size: options.batch_size,
            threads: options.threads,
            precision: precision_for_prediction(precision_named(&config.run.precision)?),
            training: false,
            gradients: false,
            momentum: false,
            normalisation: config.normalisation(),
            ..EngineOptions::default()
        };
        let mut engine = make_engine(&config.build_network()?, &engine_options)?;
        let used = [config.evaluated_set()];
        let newest = vgg_formats::load_newest(model_dir, engine.network(), &used)?.ok_or_else(untrained)?;
        let global_step = newest.checkpoint.state.global_step;
        let warning = |error: &CheckpointError| {
            format!("{error}. Using step {global_step}; what was learned after it is lost")
        };
        let mut warnings: Vec<String> = newest.skipped.iter().map(|(_, error)| warning(error)).collect();
        let best = Best::from_progress(&newest.checkpoint.state.progress);
        let best = best_checkpoint(model_dir, best, global_step, engine.network(), &used);
        let best = best.unwrap_or_else(|warning| {
            warnings.push(warning);
            None
        });
        let checkpoint = best.unwrap_or(newest.checkpoint);
        let weights_hash = read_weights(engine.as_mut(), &config, &checkpoint)?;
        let (global_step, views) = (checkpoint.state.global_step, Views::AsTheyAre);
        Ok(Self { config, engine, global_step, weights_hash, warnings, views })
    }

    /// What the user should know of: newer checkpoints that are damaged and were passed over, a best one that
    /// cannot be used.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How evaluation and prediction are to look at pictures from now on.
    pub fn set_views(&mut self, views: Views) {
        self.views = views;
    }

    /// Accuracy and loss on a data set. `progress` is told how many pictures are done, of how many.
    ///
    /// # Errors
    /// When the data do not fit the network or have other classes, or `stop` was set
    /// ([`TrainError::Interrupted`]).
    pub fn evaluate(
        &mut self,
        data: &Dataset,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Evaluation, TrainError> {
        self.evaluate_each(data, stop, progress, &mut |_, _| ())
    }

    /// As [`Estimator::evaluate`], and tells `each` the position and the logits of every picture.
    ///
    /// # Errors
    /// As [`Estimator::evaluate`].
    pub fn evaluate_each(
        &mut self,
        data: &Dataset,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(usize, usize),
        each: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Evaluation, TrainError> {
        check_classes(&self.config.data.class_names, data.class_names())?;
        evaluate_each(self.engine.as_mut(), data, self.views, self.global_step, stop, progress, each)
    }

    /// Class and probabilities of each picture of `images` (`[picture][y][x][channel]`, any number
    /// of pictures).
    ///
    /// # Errors
    /// When the bytes are not a whole number of pictures of the network's input shape.
    pub fn predict(&mut self, images: &[u8]) -> Result<Vec<Prediction>, TrainError> {
        predict_views(self.engine.as_mut(), &self.config.data.class_names, self.views, images)
    }

    /// SHA-256 of the file of the weights that are used; empty for a run that has just been trained.
    pub(crate) fn weights_hash(&self) -> &str {
        &self.weights_hash
    }

    /// Everything that the run is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The network.
    pub fn network(&self) -> &Network {
        self.engine.network()
    }

    /// What the network runs on.
    pub fn engine_info(&self) -> EngineInfo {
        self.engine.info()
    }

    /// The values of one parameter, given by its position in [`Network::parameters`].
    ///
    /// # Errors
    /// When the network has no such parameter.
    pub fn parameter(&self, position: usize) -> Result<Vec<f32>, TrainError> {
        let length = self.network().parameters().get(position).map_or(0, Parameter::len);
        let mut values = vec![0.0; length];
        self.engine.read(State::Weight, position, &mut values)?;
        Ok(values)
    }

    /// Updates made.
    pub fn global_step(&self) -> u64 {
        self.global_step
    }
}

/// Refuses data whose classes have other names than those of the network with the same number: their labels
/// would be taken for other things. Classes that are only numbered, on either side, have no names, unless the
/// other side has the same numbers at other places.
fn check_classes(known: &[String], found: &[String]) -> Result<(), TrainError> {
    let is_numbered =
        |names: &[String]| names.iter().enumerate().all(|(class, name)| *name == class.to_string());
    let has_elsewhere = || {
        found.iter().zip(0..).any(|(name, class)| {
            known.iter().position(|known| known == name).is_some_and(|place| place != class)
        })
    };
    let other = known.iter().zip(found).position(|(known, found)| known != found);
    match other {
        Some(class) if has_elsewhere() || (!is_numbered(known) && !is_numbered(found)) => {
            Err(TrainError::Incompatible(format!(
                "class {class} is `{}`, but the network knows it as `{}`; give data with the classes that it was \
             trained with",
                one_line(&found[class], LONGEST_NAME),
                one_line(&known[class], LONGEST_NAME)
            )))
        }
        _ => Ok(()),
    }
}

/// A network trained in bf16 holds its weights in `f32`, so a machine that does not multiply bf16
/// reads them as they are.
fn precision_for_prediction(trained_in: Precision) -> Precision {
    match trained_in {
        Precision::Bf16 => Precision::Auto,
        precision => precision,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_compared_by_name_where_both_have_names() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let known = names(&["cat", "dog", "emu"]);
        for fitting in [&["cat", "dog", "emu"][..], &["cat", "dog"], &["0", "1", "2"]] {
            check_classes(&known, &names(fitting)).unwrap();
            check_classes(&names(fitting), &known).unwrap();
        }
        assert!(check_classes(&names(&["0", "1", "2"]), &names(&["1", "2"])).is_err());
        let error = check_classes(&known, &names(&["cat", "emu"])).unwrap_err();
        assert_eq!(error.exit_code(), 65);
        assert!(
            error.to_string().starts_with("class 1 is `emu`, but the network knows it as `dog`"),
            "{error}"
        );
    }
}
