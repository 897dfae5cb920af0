//! What a user asks of a training run, and how it becomes the run's configuration.

use crate::config::{CONFIG_FILE, Config, DataConfig, RunConfig};
use crate::error::TrainError;
use crate::recipe::{DEFAULT_RECIPE, Overrides, Recipe, RecipeRow, recipe_row};
use vgg_arch::{ArchError, Network, Shape};
use vgg_data::{Loader, Source, Splits};
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
    /// Name or letter of the network; `vgg13` by default.
    pub arch: Option<String>,
    /// Name of the network's head; `tutorial` by default.
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
    /// Number of threads; 0 takes one for each core. May change when a run goes on.
    pub threads: usize,
    /// Steps from one checkpoint to the next; every 600 seconds when there is no number.
    pub save_every: Option<u64>,
    /// Step at which to save and end, to go on another time.
    pub stop_at: Option<u64>,
    /// Whether the validation split is evaluated at the end of every epoch.
    pub evaluate_epochs: bool,
}

/// Length of a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// In steps.
    Steps(u64),
    /// In passes over the training pictures.
    Epochs(u64),
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
            arch: None,
            head: None,
            recipe: None,
            overrides: Overrides::default(),
            batch_size: None,
            length: None,
            seed: None,
            precision: None,
            threads: 0,
            save_every: None,
            stop_at: None,
            evaluate_epochs: true,
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
        let recipe = match saved {
            Some(saved) if self.recipe.as_ref().is_none_or(|name| *name == saved.recipe.name) => {
                saved.recipe.clone()
            }
            _ => Recipe::from_row(row),
        };
        let run = self.run(saved, row, splits.train.len())?;
        let data = DataConfig {
            source: source.to_string(),
            fingerprint: splits.fingerprint(),
            class_names: splits.train.class_names().to_vec(),
        };
        let config = Config::new(&network, data, recipe.with(&self.overrides), run);
        config.check()?;
        if let Some(saved) = saved {
            self.compare(saved, &config)?;
        }
        Ok((network, config))
    }

    /// The run's own numbers, for so many training pictures.
    fn run(&self, saved: Option<&Config>, row: &RecipeRow, examples: usize) -> Result<RunConfig, TrainError> {
        let saved = saved.map(|saved| &saved.run);
        let batch_size = self.batch_size.or(saved.map(|run| run.batch_size)).unwrap_or(row.batch_size);
        let steps_per_epoch = Loader::new(examples, batch_size, 0)?.steps_per_epoch();
        let steps = match (self.length, saved) {
            (Some(Length::Steps(steps)), _) => steps,
            // Too many epochs become too many steps, which the check of the configuration refuses.
            (Some(Length::Epochs(epochs)), _) => epochs.saturating_mul(steps_per_epoch),
            (None, Some(run)) => run.steps,
            (None, None) => row.epochs.saturating_mul(steps_per_epoch),
        };
        let seed = self.seed.or(saved.map(|run| run.seed)).unwrap_or(DEFAULT_SEED);
        Ok(RunConfig { seed, batch_size, steps, precision: self.precision_name(saved) })
    }

    /// Refuses a configuration that is not that of the run in the model directory.
    fn compare(&self, saved: &Config, config: &Config) -> Result<(), TrainError> {
        let path = self.model_dir.path().join(CONFIG_FILE);
        if saved.data.source == config.data.source && saved.data.fingerprint != config.data.fingerprint {
            return Err(TrainError::Incompatible(format!(
                "the pictures or labels in {} are no longer those that the run of {} was started with; restore \
                 them, or give another --model-dir",
                config.data.source,
                path.display()
            )));
        }
        match saved.differences(config)? {
            None => Ok(()),
            Some(differences) => Err(TrainError::Differs { path, differences }),
        }
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
        for (name, value) in [("--save-every", self.save_every), ("--stop-at", self.stop_at)] {
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
        Source::Folder(path) => Source::Folder(std::path::absolute(path).unwrap_or_else(|_| path.clone())),
        named => named.clone(),
    }
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
        assert_eq!((config.recipe.name.as_str(), config.run.steps), ("fast", 1_100));
        assert_eq!((config.data.source.as_str(), config.run.precision.as_str()), ("mnist", "auto"));
        let tutorial = TrainOptions { recipe: Some("tutorial".into()), ..TrainOptions::new("model") };
        assert_eq!(resolve(tutorial.clone()).1.run.steps, 55_000);
        let short = TrainOptions { length: Some(Length::Epochs(3)), batch_size: Some(1_000), ..tutorial };
        assert_eq!(resolve(short).1.run.steps, 165);
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
