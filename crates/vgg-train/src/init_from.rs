//! A run that starts from the weights of another: what is learned of some pictures helps with others.

use crate::config::{CONFIG_FILE, Config, InitFrom};
use crate::error::TrainError;
use crate::estimator::{EngineFactory, Estimator, OpenOptions};
use crate::options::{TrainOptions, absolute_path};
use vgg_arch::{Network, Parameter};
use vgg_engine::{Engine, State};

/// The network that weights are taken from.
pub(crate) struct Start {
    estimator: Estimator,
    record: InitFrom,
}

impl Start {
    /// Opens the network that `options`, or those of a saved run, start from; `None` when there is none,
    /// or the run has a checkpoint to go on from.
    ///
    /// # Errors
    /// When it cannot be opened, or is no longer the one that a saved run started from.
    pub(crate) fn open(
        options: &TrainOptions,
        saved: Option<&Config>,
        make_engine: EngineFactory<'_>,
    ) -> Result<Option<Self>, TrainError> {
        let saved = saved.map(|saved| saved.run.init_from.as_ref());
        let path = match (saved, &options.init_from) {
            (None, Some(asked)) => absolute_path(asked),
            (Some(Some(start)), _) => start.model_dir.clone().into(),
            _ => return Ok(None),
        };
        if saved.is_some() && !vgg_formats::list(&options.model_dir)?.is_empty() {
            return Ok(None);
        }
        // The mean of weights and the best checkpoint are its affair.
        let open = OpenOptions { model_dir: path.as_path().into(), batch_size: 1, threads: 1 };
        let estimator = Estimator::open(&open, make_engine)?;
        let record = InitFrom {
            model_dir: path.display().to_string(),
            step: estimator.global_step(),
            weights: estimator.weights_hash().to_owned(),
        };
        if saved.flatten().is_some_and(|saved| *saved != record) {
            return Err(TrainError::Incompatible(format!(
                "the network in {} is no longer the one that the run of {} started from; restore it, or give \
                 another --model-dir",
                path.display(),
                options.model_dir.path().join(CONFIG_FILE).display()
            )));
        }
        Ok(Some(Self { estimator, record }))
    }

    /// What the user should know of it, such as that it is not the newest of its run.
    pub(crate) fn warnings(&self) -> &[String] {
        self.estimator.warnings()
    }

    /// Lets pixels be normalised with the constants that its own were, where both are: its layers learned
    /// their weights with these, and those that are frozen cannot learn others. With another number of
    /// channels there is no layer that saw pixels to be taken.
    pub(crate) fn normalise_alike(&self, config: &mut Config) {
        let theirs = self.estimator.config();
        if config.recipe.normalise
            && theirs.recipe.normalise
            && config.network.input.channels == theirs.network.input.channels
        {
            config.data.mean.clone_from(&theirs.data.mean);
            config.data.deviation.clone_from(&theirs.data.deviation);
        }
    }

    /// The options with its network where they name none, and with pixels normalised where its were: its
    /// layers know no others.
    pub(crate) fn complete(&self, options: &TrainOptions) -> TrainOptions {
        let network = self.estimator.network();
        let mut overrides = options.overrides.clone();
        overrides.normalise = overrides.normalise.or(Some(self.estimator.config().recipe.normalise));
        TrainOptions {
            overrides,
            arch: options.arch.clone().or_else(|| Some(network.name.clone())),
            head: options.head.clone().or_else(|| Some(network.head.clone())),
            ..options.clone()
        }
    }

    /// Gives an engine its weights, with those of this network in all layers that fit, and the run a record of
    /// that. Gives what is to be said of it.
    ///
    /// # Errors
    /// When no layer fits, or one does not that is never to be trained.
    pub(crate) fn initialise(
        &self,
        engine: &mut dyn Engine,
        config: &mut Config,
    ) -> Result<String, TrainError> {
        config.run.init_from = Some(self.record.clone());
        engine.initialise(config.recipe.initialiser, config.run.seed);
        let said = self.copy_into(engine, &config.data.class_names, config.run.freeze)?;
        if config.recipe.has_average() {
            engine.average(1.0)?;
        }
        Ok(said)
    }

    /// Copies the layers whose names and shapes are the same; the last one only when it tells the same
    /// classes apart. The first `freeze` must be among them.
    fn copy_into(
        &self,
        engine: &mut dyn Engine,
        class_names: &[String],
        freeze: usize,
    ) -> Result<String, TrainError> {
        let (ours, theirs) = (engine.network().parameters(), self.estimator.network().parameters());
        let same_classes = self.estimator.config().data.class_names == class_names;
        let (mut taken, mut fresh) = (0, Vec::new());
        // Weight and bias of a layer follow each other.
        for (layer, pair) in ours.chunks_exact(2).enumerate() {
            let first = 2 * layer;
            let fits =
                |other: &&[Parameter]| is_same(pair, other) && (same_classes || first + 2 < ours.len());
            match theirs.chunks_exact(2).position(|other| fits(&other)) {
                Some(source) => {
                    self.copy_layer(engine, 2 * source, first, pair)?;
                    taken += 1;
                }
                None if layer < freeze => return Err(self.frozen(&pair[0], freeze)),
                None => fresh.push(layer_name(&pair[0]).to_owned()),
            }
        }
        let InitFrom { model_dir, step, .. } = &self.record;
        let layers = ours.len() / 2;
        match fresh.len() {
            0 => Ok(format!("the weights of all {layers} layers come from {model_dir}, step {step}")),
            _ if taken > 0 => Ok(format!(
                "the weights of {taken} of {layers} layers come from {model_dir}, step {step}; these start anew: {}",
                fresh.join(", ")
            )),
            _ => Err(TrainError::Incompatible(format!(
                "no layer of {} has the shape that the network to be trained needs; give another --init-from, or \
                 the --arch and --head of that network",
                self.record.model_dir
            ))),
        }
    }

    fn frozen(&self, weight: &Parameter, freeze: usize) -> TrainError {
        TrainError::Usage(format!(
            "the first {freeze} layers are frozen, but {} has none that fits {} of them, which would keep random \
             weights; freeze fewer layers, or give another --init-from",
            self.record.model_dir,
            layer_name(weight)
        ))
    }

    /// Copies weight and bias from the parameters at `source` to those at `target`.
    fn copy_layer(
        &self,
        engine: &mut dyn Engine,
        source: usize,
        target: usize,
        pair: &[Parameter],
    ) -> Result<(), TrainError> {
        for offset in 0..pair.len() {
            let values = self.estimator.parameter(source + offset)?;
            engine.write(State::Weight, target + offset, &values)?;
        }
        Ok(())
    }
}

/// Refuses frozen layers that nothing gives weights.
///
/// # Errors
/// When the first `freeze` layers of `network`, which starts from no other, are to stay as they are.
pub(crate) fn check_freeze(network: &Network, freeze: usize) -> Result<(), TrainError> {
    match network.parameters().first() {
        Some(first) if freeze > 0 => Err(TrainError::Usage(format!(
            "the first {freeze} layers, from {} on, are frozen and would keep random weights; give a trained \
             network with --init-from, or leave out --freeze",
            layer_name(first)
        ))),
        _ => Ok(()),
    }
}

/// Name of the layer that a weight belongs to.
fn layer_name(weight: &Parameter) -> &str {
    weight.name.trim_end_matches(".weight")
}

/// Whether two layers have parameters of the same names and shapes.
fn is_same(ours: &[Parameter], theirs: &[Parameter]) -> bool {
    ours.iter().zip(theirs).all(|(our, their)| our.name == their.name && our.shape == their.shape)
}
