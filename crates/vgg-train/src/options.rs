//! What a user asks of a training run, and how it becomes the run's configuration.

use crate::config::{CONFIG_FILE, Config, DataConfig, RunConfig};
use crate::error::TrainError;
use crate::init_from::check_freeze;
use crate::overfit;
use crate::overrides::Overrides;
use crate::recipe::{DEFAULT_RECIPE, Recipe, RecipeRow, recipe_row};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use vgg_arch::{ArchError, Layer, Network, Shape};
use vgg_data::{DataOptions, Loader, SeededSplit, Source, Splits, stats};
use vgg_engine::Precision;
use vgg_formats::ModelDir;

/// What a user asks of a training run. `None` takes the value that the run in the model directory
/// was started with, or the default when there is none.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Where the run is kept.
    pub model_dir: ModelDir,
    /// Where the pictures come from; MNIST by default.
    pub data: Option<Source>,
    /// Height and width of the network's input; by default what the data say.
    pub image_size: Option<[usize; 2]>,
    /// Most pictures of each split; all by default.
    pub limit: Option<usize>,
    /// How validation and test are taken from a picture folder that has none.
    pub split: Option<SeededSplit>,
    /// Who is told how far reading the data has come.
    pub loading: vgg_data::options::Progress,
    /// Name or letter of the network; that of [`TrainOptions::init_from`], or else `vgg13`, by default.
    pub arch: Option<String>,
    /// Name of the network's head; that of [`TrainOptions::init_from`], or else `tutorial`, by default.
    pub head: Option<String>,
    /// Name of the recipe; [`DEFAULT_RECIPE`] by default.
    pub recipe: Option<String>,
    /// Values that replace the recipe's.
    pub overrides: Overrides,
    /// Pictures in a step; the recipe's by default.
    pub batch_size: Option<usize>,
    /// Length of the whole run; the recipe's number of epochs by default.
    pub length: Option<Length>,
    /// Seed of all random numbers; [`DEFAULT_SEED`] by default.
    pub seed: Option<u64>,
    /// Format of the operands of products; the processor's fastest by default.
    pub precision: Option<Precision>,
    /// The layers that keep their weights; none by default.
    pub freeze: Option<Freeze>,
    /// Whether the run is a check on one batch that is trained on again and again; it is not by default.
    pub overfit_batch: Option<bool>,
    /// The model directory of a trained network from which weights are taken at the start.
    pub init_from: Option<PathBuf>,
    /// Whether a check on one batch that is in the model directory gives way to this run. Nothing else ever does.
    pub replace_check: bool,
    /// Values that the run must come to have by itself, by their key in the run's configuration: those of
    /// another run that is to be repeated.
    pub expected: BTreeMap<String, String>,
    /// Number of threads; 0 takes one for each core. May change when a run goes on.
    pub threads: usize,
    /// Steps from one checkpoint to the next; every 600 seconds when there is no number.
    pub save_every: Option<u64>,
    /// Step at which to save and end, to go on another time.
    pub stop_at: Option<u64>,
    /// Whether the validation split is evaluated at the end of every epoch, and of the run.
    pub evaluate_epochs: bool,
    /// Steps from one more evaluation of the validation split to the next; none when there is no number.
    pub evaluate_every: Option<u64>,
}

/// Length of a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// In steps.
    Steps(u64),
    /// In passes over the training pictures.
    Epochs(u64),
}

/// The first layers of a network, which keep their weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freeze {
    /// So many convolutions and dense layers.
    Layers(usize),
    /// All convolutions.
    Features,
}

impl Freeze {
    /// The number of layers, in a network.
    fn layers(self, network: &Network) -> usize {
        let is_convolution = |layer: &&Layer| matches!(layer, Layer::Convolution { .. });
        match self {
            Self::Layers(layers) => layers,
            Self::Features => network.layers.iter().filter(is_convolution).count(),
        }
    }
}

impl FromStr for Freeze {
    type Err = TrainError;

    fn from_str(text: &str) -> Result<Self, TrainError> {
        match (text, text.parse()) {
            ("features", _) => Ok(Self::Features),
            (_, Ok(layers)) => Ok(Self::Layers(layers)),
            _ => Err(TrainError::Usage("expected a number of layers, or features".to_owned())),
        }
    }
}

impl<'de> Deserialize<'de> for Freeze {
    /// A number, or `features`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a number of layers, or \"features\"")]
        enum Either {
            Number(usize),
            Name(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(layers) => Ok(Self::Layers(layers)),
            Either::Name(name) => name.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// The seed of a run that is given none.
pub const DEFAULT_SEED: u64 = 1;

/// The formats of operands by name, for options and messages.
pub const PRECISIONS: &[(&str, Precision)] =
    &[("auto", Precision::Auto), ("f32", Precision::F32), ("bf16", Precision::Bf16)];

const DEFAULT_ARCH: &str = "vgg13";
const DEFAULT_HEAD: &str = "tutorial";

/// The precision called `name` in [`PRECISIONS`].
///
/// # Errors
/// When there is none.
pub fn precision_named(name: &str) -> Result<Precision, TrainError> {
    PRECISIONS.iter().find(|(known, _)| *known == name).map(|&(_, precision)| precision).ok_or_else(|| {
        let known = PRECISIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        TrainError::Usage(format!("no precision is called {name:?}; choose one of {known}"))
    })
}

impl TrainOptions {
    /// The defaults, for a run in `model_dir`.
    pub fn new(model_dir: impl Into<ModelDir>) -> Self {
        Self {
            model_dir: model_dir.into(),
            data: None,
            image_size: None,
            limit: None,
            split: None,
            loading: vgg_data::options::Progress::default(),
            arch: None,
            head: None,
            recipe: None,
            overrides: Overrides::default(),
            batch_size: None,
            length: None,
            seed: None,
            precision: None,
            freeze: None,
            overfit_batch: None,
            init_from: None,
            replace_check: false,
            expected: BTreeMap::new(),
            threads: 0,
            save_every: None,
            stop_at: None,
            evaluate_epochs: true,
            evaluate_every: None,
        }
    }

    /// Where the pictures come from, given the configuration of a run that is there already.
    ///
    /// # Errors
    /// When the saved source cannot be one.
    pub(crate) fn source(&self, saved: Option<&Config>) -> Result<Source, TrainError> {
        match (&self.data, saved) {
            (Some(source), _) => Ok(absolute(source)),
            (None, Some(saved)) => Ok(saved.data.source.parse()?),
            (None, None) => Ok(Source::Mnist),
        }
    }

    /// How the data are opened, given the configuration of a run that is there already.
    pub(crate) fn data_options(&self, saved: Option<&Config>) -> DataOptions {
        let saved = saved.map(Config::data_options).unwrap_or_default();
        DataOptions {
            image_size: self.image_size.or(saved.image_size),
            limit: self.limit.or(saved.limit),
            split: self.split.unwrap_or(saved.split),
            progress: self.loading.clone(),
            ..saved
        }
    }

    /// The network and the configuration that these options, a saved run and the data ask for.
    /// Precision is a name of [`PRECISIONS`], possibly `auto` in a new run.
    ///
    /// # Errors
    /// Values that cannot be used, and values that differ from those saved.
    pub(crate) fn resolve(
        &self,
        saved: Option<&Config>,
        splits: &Splits,
        source: &Source,
    ) -> Result<(Network, Config), TrainError> {
        self.check()?;
        let network = self.network(saved, splits)?;
        let row = recipe_row(self.recipe.as_deref().unwrap_or(DEFAULT_RECIPE))?;
        let run = self.run(saved, row, &network, splits.train.len())?;
        let recipe = match saved {
            Some(saved) if self.recipe.as_ref().is_none_or(|name| *name == saved.recipe.name) => {
                saved.recipe.clone()
            }
            _ if run.overfit_batch => overfit::recipe(&row.recipe),
            _ => row.recipe.clone(),
        };
        let recipe = recipe.with(&self.overrides);
        // The constants can be relied on to have a meaning only when the recipe has passed its check.
        recipe.check()?;
        let data = self.data(saved, &recipe, splits, source);
        let config = Config::new(&network, data, recipe, run);
        config.check()?;
        match saved {
            Some(saved) => self.compare(saved, &config)?,
            None if self.init_from.is_none() => check_freeze(&network, config.run.freeze)?,
            None => {}
        }
        if config.recipe.early_stop > 0 && !self.evaluate_epochs {
            return Err(TrainError::Usage(
                "an early stop needs an evaluation after every epoch; ask for both, or for neither"
                    .to_owned(),
            ));
        }
        Ok((network, config))
    }

    /// What is kept of the data.
    fn data(&self, saved: Option<&Config>, recipe: &Recipe, splits: &Splits, source: &Source) -> DataConfig {
        let fingerprint = splits.fingerprint();
        let known = saved.filter(|saved| saved.data.fingerprint == fingerprint && saved.recipe.normalise);
        let (mean, deviation) = match known {
            _ if !recipe.normalise => (None, None),
            Some(saved) => (saved.data.mean.clone(), saved.data.deviation.clone()),
            None => {
                let (mean, deviation) = stats::normalisation(&splits.train);
                (Some(mean), Some(deviation))
            }
        };
        DataConfig {
            source: source.to_string(),
            fingerprint,
            class_names: splits.train.class_names().to_vec(),
            limit: self.limit.or(saved.and_then(|saved| saved.data.limit)),
            mean,
            deviation,
            split: splits.seeded,
        }
    }

    /// The run's own numbers, for so many training pictures.
    fn run(
        &self,
        saved: Option<&Config>,
        row: &RecipeRow,
        network: &Network,
        examples: usize,
    ) -> Result<RunConfig, TrainError> {
        let saved = saved.map(|saved| &saved.run);
        let usual = row.batch_size.min(examples);
        let batch_size = self.batch_size.or(saved.map(|run| run.batch_size)).unwrap_or(usual);
        let overfit_batch = self.overfit_batch.or(saved.map(|run| run.overfit_batch)).unwrap_or(false);
        let steps_per_epoch = Loader::new(examples, batch_size, 0)?.steps_per_epoch();
        let steps = match (self.length, saved) {
            (Some(Length::Epochs(_)), _) if overfit_batch => {
                return Err(TrainError::Usage(
                    "a check on one batch has no epochs, only steps on the same pictures; give --steps"
                        .to_owned(),
                ));
            }
            (Some(Length::Steps(steps)), _) => steps,
            // Too many epochs become too many steps, which the check of the configuration refuses.
            (Some(Length::Epochs(epochs)), _) => epochs.saturating_mul(steps_per_epoch),
            (None, Some(run)) => run.steps,
            (None, None) if overfit_batch => overfit::STEPS,
            (None, None) => row.epochs.saturating_mul(steps_per_epoch),
        };
        let seed = self.seed.or(saved.map(|run| run.seed)).unwrap_or(DEFAULT_SEED);
        let freeze = self.freeze.map(|freeze| freeze.layers(network));
        Ok(RunConfig {
            seed,
            batch_size,
            steps,
            precision: self.precision_name(saved),
            freeze: freeze.or(saved.map(|run| run.freeze)).unwrap_or(0),
            overfit_batch,
            init_from: saved.and_then(|run| run.init_from.clone()),
        })
    }

    /// Refuses a configuration that is not that of the run in the model directory.
    fn compare(&self, saved: &Config, config: &Config) -> Result<(), TrainError> {
        let path = self.model_dir.path().join(CONFIG_FILE);
        let is_opened_alike = saved.data.source == config.data.source
            && saved.data.limit == config.data.limit
            && saved.data.split == config.data.split
            && saved.network.input == config.network.input;
        if is_opened_alike && saved.data.fingerprint != config.data.fingerprint {
            return Err(TrainError::Incompatible(format!(
                "the pictures or labels in {} are no longer those that the run of {} was started with; restore \
                 them, or give another --model-dir",
                config.data.source,
                path.display()
            )));
        }
        let start = saved.run.init_from.as_ref().map(|start| start.model_dir.clone());
        let asked = self.init_from.as_ref().map(|asked| absolute_path(asked).display().to_string());
        let differences = match saved.differences(config)? {
            None if asked.is_some() && asked != start => Some(format!(
                "run.init_from (saved {}, asked {})",
                start.as_deref().unwrap_or("none"),
                asked.as_deref().unwrap_or("none")
            )),
            differences => differences,
        };
        differences.map_or(Ok(()), |differences| Err(TrainError::Differs { path, differences }))
    }

    /// Refuses a configuration that has not come to have the values of [`TrainOptions::expected`].
    pub(crate) fn check_expected(&self, config: &Config) -> Result<(), TrainError> {
        let found = config.identity()?;
        let differs = |(key, value): &(&String, &String)| found.get(*key) != Some(*value);
        self.expected.iter().find(differs).map_or(Ok(()), |(key, value)| {
            Err(TrainError::Usage(format!(
                "{key} is to be {value}, but these data and options make it {}; give those that belong to it, or \
                 leave it out",
                found.get(key).map_or("none", String::as_str)
            )))
        })
    }

    fn network(&self, saved: Option<&Config>, splits: &Splits) -> Result<Network, TrainError> {
        let saved = saved.map(|saved| (saved.network.name.as_str(), saved.network.head.as_str()));
        let (arch, head) = saved.unwrap_or((DEFAULT_ARCH, DEFAULT_HEAD));
        let data = &splits.train;
        let input = Shape::new(data.height(), data.width(), data.channels());
        let arch = self.arch.as_deref().unwrap_or(arch);
        let network = Network::new(arch, self.head.as_deref().unwrap_or(head), input, data.classes());
        network.map_err(|error| match error {
            ArchError::InputShape(_) | ArchError::Classes(_) => {
                TrainError::Incompatible(format!("{}: {error}; give other --data", splits.name))
            }
            error => error.into(),
        })
    }

    /// `auto` leaves a saved run its precision.
    fn precision_name(&self, saved: Option<&RunConfig>) -> String {
        let asked = self.precision.unwrap_or(Precision::Auto);
        match saved {
            Some(saved) if asked == Precision::Auto => saved.precision.clone(),
            _ => name_of(asked).to_owned(),
        }
    }

    fn check(&self) -> Result<(), TrainError> {
        let intervals = [
            ("--save-every", self.save_every),
            ("--stop-at", self.stop_at),
            ("--evaluate-every", self.evaluate_every),
        ];
        for (name, value) in intervals {
            if value == Some(0) {
                return Err(TrainError::Usage(format!(
                    "{name} is 0 steps; give at least 1, or leave it out"
                )));
            }
        }
        Ok(())
    }
}

fn name_of(precision: Precision) -> &'static str {
    PRECISIONS.iter().find(|(_, known)| *known == precision).map_or("auto", |(name, _)| name)
}

/// A folder by its whole path, so that the run can be resumed from anywhere.
fn absolute(source: &Source) -> Source {
    match source {
        Source::Folder(path) => Source::Folder(absolute_path(path)),
        named => named.clone(),
    }
}

pub(crate) fn absolute_path(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vgg_data::Dataset;

    #[test]
    fn a_new_run_takes_its_numbers_from_the_recipe() {
        let splits = vgg_data::open(&Source::Mnist, &vgg_data::DataOptions::default()).unwrap();
        let resolve = |options: TrainOptions| options.resolve(None, &splits, &Source::Mnist).unwrap();
        let (network, config) = resolve(TrainOptions::new("model"));
        assert_eq!((network.name.as_str(), network.head.as_str()), ("vgg13", "tutorial"));
        assert_eq!((&*config.recipe.name, config.run.steps), ("fast", 860));
        assert_eq!((config.data.source.as_str(), config.run.precision.as_str()), ("mnist", "auto"));
        let tutorial = TrainOptions { recipe: Some("tutorial".into()), ..TrainOptions::new("model") };
        assert_eq!(resolve(tutorial.clone()).1.run.steps, 55_000);
        let short = TrainOptions { length: Some(Length::Epochs(3)), batch_size: Some(1_000), ..tutorial };
        assert_eq!(resolve(short).1.run.steps, 165);
    }

    #[test]
    fn constants_of_the_pixels_come_with_normalising() {
        let splits = vgg_data::open(&Source::Mnist, &vgg_data::DataOptions::default()).unwrap();
        let resolve = |normalise| {
            let overrides = Overrides { normalise: Some(normalise), ..Overrides::default() };
            let options = TrainOptions { overrides, ..TrainOptions::new("model") };
            options.resolve(None, &splits, &Source::Mnist).unwrap().1
        };
        assert_eq!((resolve(false).data.mean, resolve(false).normalisation()), (None, None));
        let config = resolve(true);
        assert!((config.data.mean.as_ref().unwrap()[0] - 0.1307).abs() < 0.0003);
        assert!((config.normalisation().unwrap().deviation[0] - 0.3081).abs() < 0.0003);
    }

    #[test]
    fn the_features_are_all_convolutions() {
        let network = Network::new("vgg13", "tutorial", Shape::new(28, 28, 1), 10).unwrap();
        assert_eq!("features".parse::<Freeze>().unwrap().layers(&network), 10);
        assert_eq!("3".parse::<Freeze>().unwrap().layers(&network), 3);
        for wrong in ["-1", "all", ""] {
            assert!(wrong.parse::<Freeze>().is_err(), "{wrong}");
        }
    }

    /// A number that comes from the data is bad data, not bad usage.
    #[test]
    fn pictures_that_no_network_takes_are_bad_data() {
        let data = Dataset::new(vec![0; 15_000], vec![0], [5_000, 3, 1], vec!["a".into(), "b".into()]);
        let data = data.unwrap();
        let splits = Splits::new("photos", data.clone(), data.clone(), data);
        let error = TrainOptions::new("model").resolve(None, &splits, &Source::Mnist).unwrap_err();
        assert_eq!(error.exit_code(), 65);
        let message = error.to_string();
        assert!(message.starts_with("photos: pictures of 5000×3×1 cannot be used"), "{message}");
        assert!(message.ends_with("; give other --data"), "{message}");
    }

    #[test]
    fn precisions_have_names() {
        for (name, precision) in PRECISIONS {
            assert_eq!(precision_named(name).unwrap(), *precision);
            assert_eq!(name_of(*precision), *name);
        }
        assert!(precision_named("f16").unwrap_err().to_string().contains("auto, f32"));
    }
}
