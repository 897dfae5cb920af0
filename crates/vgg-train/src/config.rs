//! Everything that a run is, and its file `config.toml` in the model directory.

use crate::error::TrainError;
use crate::options::precision_named;
use crate::overrides::before;
use crate::recipe::Recipe;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use vgg_arch::text::one_line;
use vgg_arch::{Layer, Network, Shape};
use vgg_data::{DataOptions, SeededSplit, Source};
use vgg_engine::Normalisation;
use vgg_formats::{CheckpointError, ModelDir, TensorSet};

/// Name of the file in a model directory.
pub const CONFIG_FILE: &str = "config.toml";

/// Version of the file's layout, raised when a program could misread the file of another.
pub(crate) const VERSION: u32 = 2;

/// Longest run: more steps than time would allow, and few enough for every random stream.
const MAX_STEPS: u64 = 1 << 40;

/// Longest file that is written or read; the names of a thousand classes take some ten thousand bytes.
const LONGEST: u64 = 1 << 20;

/// Characters of what a file is cited with in a message.
const LONGEST_PART: usize = 600;

/// Everything that a run is. Two runs with equal configurations compute the same bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of the file's layout.
    pub version: u32,
    /// The network.
    pub network: NetworkConfig,
    /// The pictures.
    pub data: DataConfig,
    /// The way of training.
    pub recipe: Recipe,
    /// The run's own numbers.
    pub run: RunConfig,
}

/// The network of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Name of the configuration, such as `vgg13`.
    pub name: String,
    /// Name of the head, such as `tutorial`.
    pub head: String,
    /// Number of classes.
    pub classes: usize,
    /// Shape of one picture.
    pub input: Shape,
}

/// The data of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Where the pictures come from: a name such as `mnist`, or a folder.
    pub source: String,
    /// A hash of all pictures and labels.
    pub fingerprint: String,
    /// Name of each class, in the order of the labels.
    pub class_names: Vec<String>,
    /// Most pictures of each split, when not all of them are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Mean of each channel of the training pictures, where a byte of 255 is 1, when pixels are normalised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f64>>,
    /// Standard deviation, in the same way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation: Option<Vec<f64>>,
    /// How validation and test were taken from the training pictures, where that was by chance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<SeededSplit>,
}

/// The numbers of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Seed of all random numbers.
    pub seed: u64,
    /// Pictures in a step.
    pub batch_size: usize,
    /// Length of the whole run; the schedule is laid over it.
    pub steps: u64,
    /// Format of the operands of products, such as `f32`.
    pub precision: String,
    /// The first so many convolutions and dense layers keep their weights.
    pub freeze: usize,
    /// Whether the run is a check on one batch that is trained on again and again.
    pub overfit_batch: bool,
    /// The trained network from which weights were taken at the start, if any were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_from: Option<InitFrom>,
}

/// A trained network from which the weights of another run start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitFrom {
    /// Where it is kept.
    pub model_dir: String,
    /// Updates that made it.
    pub step: u64,
    /// SHA-256 of the file of its weights.
    pub weights: String,
}

impl Config {
    /// A configuration from its parts, in the version that this program writes.
    pub fn new(network: &Network, data: DataConfig, recipe: Recipe, run: RunConfig) -> Self {
        let network = NetworkConfig {
            name: network.name.clone(),
            head: network.head.clone(),
            classes: network.classes,
            input: network.input,
        };
        Self { version: VERSION, network, data, recipe, run }
    }

    /// Reads the configuration of a model directory; `None` when it has none.
    ///
    /// # Errors
    /// When the file cannot be read, is not a configuration that this program understands, or
    /// holds values that no run can have.
    pub fn load(model_dir: &ModelDir) -> Result<Option<Self>, TrainError> {
        let path = model_dir.path().join(CONFIG_FILE);
        let bytes = match model_dir.read(CONFIG_FILE, LONGEST) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(CheckpointError::Damaged { cause, .. }) => return Err(damaged(&path, &cause)),
            Err(error) => return Err(error.into()),
        };
        let text = String::from_utf8(bytes).map_err(|_| damaged(&path, "it is not text in UTF-8"))?;
        check_version(&path, &text)?;
        let config: Self =
            toml::from_str(&text).map_err(|error| damaged(&path, &with_line(&error, &text)))?;
        config.check().map_err(|error| damaged(&path, &error.to_string()))?;
        if config.run.precision == "auto" {
            return Err(damaged(&path, "its precision is auto, but a run keeps the one that it began with"));
        }
        Ok(Some(config))
    }

    /// Writes the configuration into an existing model directory: complete, or not at all.
    ///
    /// # Errors
    /// When the file cannot be written, or would be too long to be read again.
    pub fn save(&self, model_dir: &ModelDir) -> Result<(), TrainError> {
        Ok(model_dir.replace(CONFIG_FILE, self.text()?.as_bytes())?)
    }

    /// The text of the file.
    ///
    /// # Errors
    /// A value that TOML cannot hold, or more text than [`Config::load`] reads.
    pub(crate) fn text(&self) -> Result<String, TrainError> {
        let text = toml::to_string(self).map_err(not_written)?;
        if text.len() as u64 > LONGEST {
            return Err(TrainError::Incompatible(format!(
                "{CONFIG_FILE} would have {} bytes with the names of {} classes, but at most {LONGEST} are read again; \
                 give the classes shorter names, or join some of them",
                text.len(),
                self.network.classes
            )));
        }
        Ok(text)
    }

    /// Whether updates have momentum.
    pub(crate) fn has_momentum(&self) -> bool {
        self.recipe.momentum > 0.0
    }

    /// How the data of this run are opened, so that its pictures are those of the network.
    pub fn data_options(&self) -> DataOptions {
        let Shape { height, width, channels } = self.network.input;
        DataOptions {
            image_size: Some([height, width]),
            channels: Some(channels),
            limit: self.data.limit,
            split: self.data.split.unwrap_or_default(),
            ..DataOptions::default()
        }
    }

    /// What pixels become before the first layer, in training, evaluation and prediction alike.
    pub(crate) fn normalisation(&self) -> Option<Normalisation> {
        let single = |values: &Option<Vec<f64>>| {
            values.as_ref().map(|values| values.iter().map(|&value| value as f32).collect())
        };
        Some(Normalisation { mean: single(&self.data.mean)?, deviation: single(&self.data.deviation)? })
    }

    /// The tensors that a checkpoint of this run holds.
    pub(crate) fn tensor_sets(&self) -> &'static [TensorSet] {
        match (self.has_momentum(), self.recipe.has_average()) {
            (true, true) => &[TensorSet::Weights, TensorSet::Momentum, TensorSet::Average],
            (true, false) => &[TensorSet::Weights, TensorSet::Momentum],
            (false, true) => &[TensorSet::Weights, TensorSet::Average],
            (false, false) => &[TensorSet::Weights],
        }
    }

    /// The set of tensors that evaluation and prediction use.
    pub(crate) fn evaluated_set(&self) -> TensorSet {
        if self.recipe.has_average() { TensorSet::Average } else { TensorSet::Weights }
    }

    /// Builds the network.
    ///
    /// # Errors
    /// When this program knows no such network.
    pub fn build_network(&self) -> Result<Network, TrainError> {
        let NetworkConfig { name, head, classes, input } = &self.network;
        Ok(Network::new(name, head, *input, *classes)?)
    }

    /// Refuses values that no run can be made with.
    ///
    /// # Errors
    /// [`TrainError::Usage`], or that of a name that nothing has; both name the value.
    pub fn check(&self) -> Result<(), TrainError> {
        self.recipe.check()?;
        let network = self.build_network()?;
        precision_named(&self.run.precision)?;
        self.data.source.parse::<Source>()?;
        let RunConfig { seed, batch_size, steps, .. } = self.run;
        if batch_size == 0 {
            return Err(TrainError::Usage("the batch size is 0; give one of at least 1".to_owned()));
        }
        if steps == 0 || steps > MAX_STEPS {
            return Err(TrainError::Usage(format!(
                "the length of the run is {steps} steps, but must be 1 to {MAX_STEPS}; give --steps or --epochs"
            )));
        }
        // TOML's integers are signed.
        if i64::try_from(seed).is_err() {
            return Err(TrainError::Usage(format!("the seed is {seed}; give one of at most {}", i64::MAX)));
        }
        self.check_freeze(&network)?;
        self.check_normalisation()?;
        if self.run.overfit_batch && self.recipe.early_stop > 0 {
            return Err(TrainError::Usage(
                "a check on one batch has no validation accuracy that could end it early; leave out the early stop"
                    .to_owned(),
            ));
        }
        if self.data.class_names.len() != self.network.classes {
            return Err(TrainError::Usage(format!(
                "there are {} class names for {} classes; give each class one name",
                self.data.class_names.len(),
                self.network.classes
            )));
        }
        Ok(())
    }

    /// Something must be left to train.
    fn check_freeze(&self, network: &Network) -> Result<(), TrainError> {
        let layers = trained_layers(network);
        if self.run.freeze < layers {
            return Ok(());
        }
        Err(TrainError::Usage(format!(
            "{} layers are frozen, but {} has {layers} with weights, of which one at least must learn; freeze fewer",
            self.run.freeze, network.name
        )))
    }

    /// The constants are there when pixels are normalised, and can be divided by.
    fn check_normalisation(&self) -> Result<(), TrainError> {
        let DataConfig { mean, deviation, .. } = &self.data;
        let channels = self.network.input.channels;
        let fits = |values: &Option<Vec<f64>>, least: f64| {
            values.as_ref().is_some_and(|values| {
                values.len() == channels && values.iter().all(|value| (least..=1.0).contains(value))
            })
        };
        let (has_none, has_both) =
            (mean.is_none() && deviation.is_none(), fits(mean, 0.0) && fits(deviation, 1e-6));
        if if self.recipe.normalise { has_both } else { has_none } {
            return Ok(());
        }
        Err(TrainError::Usage(format!(
            "with recipe.normalise {}, {}",
            self.recipe.normalise,
            if self.recipe.normalise {
                "data.mean and data.deviation must have one number from 0 to 1 for every channel, and no deviation 0"
            } else {
                "there must be no data.mean and no data.deviation"
            }
        )))
    }

    /// What differs between this saved configuration and the one asked for, as
    /// `key (saved …, asked …)`; `None` when nothing does.
    ///
    /// # Errors
    /// When one of them has a value that its file cannot hold.
    pub fn differences(&self, asked: &Self) -> Result<Option<String>, TrainError> {
        let (mut saved_values, mut asked_values) = (self.identity()?, asked.identity()?);
        // What follows from something that differs need not be said.
        if self.data.fingerprint != asked.data.fingerprint || self.recipe.normalise != asked.recipe.normalise
        {
            for values in [&mut saved_values, &mut asked_values] {
                values.retain(|key, _| key != "data.mean" && key != "data.deviation");
            }
        }
        if self.data.fingerprint != asked.data.fingerprint {
            for (values, config) in [(&mut saved_values, self), (&mut asked_values, asked)] {
                values.insert("data.source".to_owned(), config.data.source.clone());
            }
        }
        Ok(differences(&saved_values, &asked_values))
    }

    /// Every value that makes the run what it is, by its key in the file. The source of the data
    /// does not: the fingerprint tells whether they are the same, and a folder may move.
    ///
    /// # Errors
    /// When a value cannot be written as TOML; whatever has passed [`Config::check`] can.
    pub(crate) fn identity(&self) -> Result<BTreeMap<String, String>, TrainError> {
        let value = toml::Value::try_from(self).map_err(not_written)?;
        let mut values = BTreeMap::new();
        flatten("", &value, &mut values);
        values.remove("data.source");
        Ok(values)
    }
}

/// What differs between two [identities](Config::identity).
pub(crate) fn differences(
    saved: &BTreeMap<String, String>,
    asked: &BTreeMap<String, String>,
) -> Option<String> {
    let mut keys: Vec<&String> = saved.keys().chain(asked.keys()).collect();
    keys.sort();
    keys.dedup();
    let is_as_before = |side: &BTreeMap<String, String>, key: &str| {
        let before = key.strip_prefix("recipe.").and_then(before);
        before.is_some_and(|before| side.get(key).is_none_or(|value| value == before))
    };
    let value = |side: &BTreeMap<String, String>, key: &str| match side.get(key) {
        None => "none".to_owned(),
        // Eight digits, after a quotation mark, tell two hashes apart as well as all 64 would.
        Some(hash) if key == "data.fingerprint" => hash.chars().skip(1).take(8).chain(['…']).collect(),
        Some(value) => value.clone(),
    };
    let differing: Vec<String> = keys
        .into_iter()
        .filter(|key| saved.get(*key) != asked.get(*key))
        .filter(|key| !is_as_before(saved, key) || !is_as_before(asked, key))
        .map(|key| format!("{key} (saved {}, asked {})", value(saved, key), value(asked, key)))
        .collect();
    (!differing.is_empty()).then(|| differing.join(", "))
}

/// Collects the values of a table under their dotted keys.
pub(crate) fn flatten(prefix: &str, value: &toml::Value, into: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let dotted = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&dotted, value, into);
            }
        }
        value => {
            into.insert(prefix.to_owned(), value.to_string());
        }
    }
}

/// How many convolutions and dense layers a network has.
pub(crate) fn trained_layers(network: &Network) -> usize {
    network
        .layers
        .iter()
        .filter(|layer| matches!(layer, Layer::Convolution { .. } | Layer::Dense { .. }))
        .count()
}

/// Refuses the file of another version before its keys are looked at: they may be others.
fn check_version(path: &Path, text: &str) -> Result<(), TrainError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    match toml::from_str::<Versioned>(text) {
        Ok(Versioned { version }) if version < VERSION => Err(TrainError::Incompatible(format!(
            "{} is of version {version}, which an earlier program wrote and this one cannot go on with: it \
             understands {VERSION}; train anew in another --model-dir",
            one_line(&path.display().to_string(), LONGEST_PART)
        ))),
        Ok(Versioned { version }) if version > VERSION => {
            Err(damaged(path, &format!("its version is {version}, this program understands {VERSION}")))
        }
        // A file without a version, or that is no TOML at all, gets the message of the whole.
        _ => Ok(()),
    }
}

fn not_written(error: toml::ser::Error) -> TrainError {
    TrainError::Usage(format!("the options of this run cannot be written to {CONFIG_FILE}: {error}"))
}

fn damaged(path: &Path, reason: &str) -> TrainError {
    TrainError::Incompatible(format!(
        "{} cannot be used: {}; restore the file, or give another --model-dir",
        one_line(&path.display().to_string(), LONGEST_PART),
        one_line(reason, LONGEST_PART)
    ))
}

/// What is wrong with TOML text, and in which line.
pub(crate) fn with_line(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().replace('\n', ", ");
    let before = error.span().and_then(|span| text.get(..span.start));
    before.map_or(message.clone(), |before| format!("line {}: {message}", before.matches('\n').count() + 1))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::overrides::LATER;
    use crate::recipe::RECIPES;
    use std::fs;
    use vgg_data::Augmentation;

    fn config() -> Config {
        let network = Network::new("vgg13", "tutorial", Shape::new(28, 28, 1), 2).unwrap();
        let data = DataConfig {
            source: "mnist".into(),
            fingerprint: "01234567".repeat(8),
            class_names: vec!["a".into(), "\"b\"\n".into()],
            limit: None,
            mean: None,
            deviation: None,
            split: None,
        };
        let run = RunConfig {
            seed: 7,
            batch_size: 100,
            steps: 1100,
            precision: "f32".into(),
            freeze: 0,
            overfit_batch: false,
            init_from: None,
        };
        let recipe = RECIPES[1].recipe.clone();
        let recipe =
            Recipe { learning_rate: 0.01, normalise: false, augmentation: Augmentation::NONE, ..recipe };
        Config::new(&network, data, recipe, run)
    }

    /// One in which everything is given that may be left out.
    pub(crate) fn full_config() -> Config {
        let mut config = config();
        let split = SeededSplit { seed: 3, validation: 0.2, test: 0.1 };
        config.data.limit = Some(50);
        (config.data.mean, config.data.deviation) = (Some(vec![0.1 + 0.2]), Some(vec![1.0 / 3.0]));
        config.data.split = Some(split);
        config.recipe = RECIPES[2].recipe.clone();
        config.run.freeze = 3;
        config.run.init_from =
            Some(InitFrom { model_dir: "/a/b".into(), step: 9, weights: "89abcdef".repeat(8) });
        config
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Config::load(&folder.path().into()).unwrap(), None);
        assert_eq!(Config::load(&folder.path().join("missing").into()).unwrap(), None);
        for config in [full_config(), config()] {
            config.check().unwrap();
            config.save(&folder.path().into()).unwrap();
            assert_eq!(Config::load(&folder.path().into()).unwrap(), Some(config));
        }
        let files: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, [CONFIG_FILE]);
    }

    /// As many names as the file may hold, each byte of which becomes two in JSON.
    #[test]
    fn the_longest_configuration_can_be_kept_and_a_longer_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let model_dir = ModelDir::new(folder.path());
        let mut config = config();
        config.network.classes = 4_000;
        config.data.class_names = vec!["\"".repeat(255); 4_000];
        assert!(config.text().unwrap().len() > 1_000_000);
        config.save(&model_dir).unwrap();
        assert_eq!(Config::load(&model_dir).unwrap().as_ref(), Some(&config));
        let layers = vec![Layer::Dense { outputs: 2, relu: false }];
        let network = Network { layers, ..Network::new("vgg11", "paper", Shape::new(2, 2, 1), 2).unwrap() };
        let mut state = vgg_formats::CheckpointState::new(&network, 1, 7);
        state.run = config.identity().unwrap();
        let none = |_, _: usize, _: &mut [f32]| Ok::<_, std::convert::Infallible>(());
        let path = vgg_formats::save(&model_dir, &state, &network, &[], none).unwrap();
        assert!(fs::metadata(path.join("state.json")).unwrap().len() > 2_000_000);
        assert_eq!(vgg_formats::load(&model_dir, &path, &network, &TensorSet::ALL).unwrap().state, state);

        config.data.class_names = vec!["\"".repeat(300); 4_000];
        for error in [config.text().unwrap_err(), config.save(&model_dir).unwrap_err()] {
            assert_eq!(error.exit_code(), 65);
            assert!(error.to_string().contains("the names of 4000 classes"), "{error}");
        }
    }

    /// A run from before there was a value goes on: neither its file nor its checkpoints have the key. So it
    /// is with every value that the first version of the file, written down here, did not have.
    #[test]
    fn a_run_without_later_values_is_one_with_none_of_them() {
        let first = [
            "name",
            "initialiser",
            "learning_rate",
            "schedule",
            "warm_up",
            "momentum",
            "nesterov",
            "weight_decay",
            "label_smoothing",
            "class_weights",
            "normalise",
            "averaging",
            "averaging_interval",
            "early_stop",
            "augmentation.shift",
            "augmentation.rotation",
            "augmentation.scale",
            "augmentation.shear",
            "augmentation.elastic",
            "augmentation.flip",
        ];
        let folder = tempfile::tempdir().unwrap();
        let mut config = config();
        (config.recipe.gradient_clip, config.recipe.plain_finish) = (0.0, 0.0);
        config.save(&folder.path().into()).unwrap();
        let path = folder.path().join(CONFIG_FILE);
        let text = fs::read_to_string(&path).unwrap();
        let with = config.identity().unwrap();
        let is_later = |key: &str| key.strip_prefix("recipe.").is_some_and(|key| !first.contains(&key));
        let later: Vec<&String> = with.keys().filter(|key| is_later(key)).collect();
        assert_eq!(later, LATER.map(|(key, _)| format!("recipe.{key}")).each_ref());
        let in_file = |line: &str| later.iter().any(|key| line.starts_with(&format!("{} = ", &key[7..])));
        let old: Vec<&str> = text.lines().filter(|line| !in_file(line)).collect();
        assert_eq!(old.len() + later.len(), text.lines().count());
        fs::write(&path, old.join("\n")).unwrap();
        assert_eq!(Config::load(&folder.path().into()).unwrap().unwrap(), config);
        let without = with.clone().into_iter().filter(|(key, _)| !is_later(key)).collect();
        assert_eq!(differences(&without, &with), None);
        assert_eq!(differences(&with, &without), None);
        config.recipe.plain_finish = 0.5;
        let other = config.identity().unwrap();
        let text = "recipe.plain_finish (saved none, asked 0.5)";
        assert_eq!(differences(&without, &other).as_deref(), Some(text));
        assert!(differences(&with, &other).is_some() && differences(&other, &without).is_some());
    }

    #[test]
    fn rates_survive_the_file_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        for rate in [0.1, 1e-3, 1.0 / 3.0, f64::MIN_POSITIVE, 0.0] {
            let mut config = config();
            config.recipe.learning_rate = rate;
            config.save(&folder.path().into()).unwrap();
            let loaded = Config::load(&folder.path().into()).unwrap().unwrap();
            assert_eq!(loaded.recipe.learning_rate.to_bits(), rate.to_bits());
        }
    }

    #[test]
    fn damaged_files_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CONFIG_FILE);
        config().save(&folder.path().into()).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let seed_line = good.lines().position(|line| line == "seed = 7").unwrap() + 1;
        for (bad, part) in [
            (good.replace("seed = 7", "seed = 7\ncolour = 1"), "colour"),
            (good.replace("seed = 7", "seed = -7"), "-7"),
            (good.replace("version = 2", "version = 9"), "version is 9"),
            (good.replace("version = 2", "version = 1"), "train anew in another --model-dir"),
            ("version = 1\n[recipe]\nname = \"fast\"\n".into(), "is of version 1"),
            (good.replace("freeze = 0", "freeze = 14"), "14 layers are frozen"),
            (
                good.replace("normalise = false", "normalise = true"),
                "one number from 0 to 1 for every channel",
            ),
            (good.replace("source =", "mean = [0.5]\nsource ="), "there must be no data.mean"),
            (good.replace("rotation = 0.0", "rotation = nan"), "rotation NaN"),
            (good.replace("rotation = 0.0", "rotations = 0.0"), "rotations"),
            (good.replace("batch_size = 100", "batch_size = 0"), "batch size is 0"),
            (good.replace("steps = 1100", "steps = 0"), "0 steps"),
            (good.replace("learning_rate = 0.01", "learning_rate = nan"), "NaN"),
            (good.replace("classes = 2", "classes = 3"), "2 class names for 3 classes"),
            (good.replace("\"vgg13\"", "\"vgg99\""), "vgg99"),
            (good.replace("\"tutorial\"", "\"lesson\""), "lesson"),
            (good.replace("height = 28", "height = 0"), "0×28×1"),
            (good.replace("precision = \"f32\"", "precision = \"f8\""), "f8"),
            (good.replace("precision = \"f32\"", "precision = \"auto\""), "its precision is auto"),
            (good.replace("source = \"mnist\"", "source = \"\""), "the name is empty"),
            (good.replace("seed = 7", "seed = = 7"), &format!("line {seed_line}: ")),
            (good[..good.len() / 2].to_owned(), "cannot be used"),
        ] {
            assert_ne!(bad, good, "{part}");
            fs::write(&path, bad).unwrap();
            let error = Config::load(&folder.path().into()).unwrap_err();
            assert_eq!(error.exit_code(), 65);
            let message = error.to_string();
            assert!(message.contains(part) && message.contains(CONFIG_FILE), "{message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(Config::load(&folder.path().into()).unwrap_err().to_string().contains("UTF-8"));
        fs::write(&path, vec![b'#'; LONGEST as usize + 1]).unwrap();
        assert!(
            Config::load(&folder.path().into()).unwrap_err().to_string().contains("expected at most 1048576")
        );
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(
            Config::load(&folder.path().into()).unwrap_err().to_string().contains("found something else")
        );
    }

    #[test]
    fn a_message_about_a_hostile_key_is_one_short_line() {
        let folder = tempfile::tempdir().unwrap();
        let keys = ["\"\\u001b[2J\\r\\n\"".to_owned(), "k".repeat(100_000)];
        for key in keys {
            fs::write(folder.path().join(CONFIG_FILE), format!("{key} = 1\n")).unwrap();
            let message = Config::load(&folder.path().into()).unwrap_err().to_string();
            assert!(!message.contains(char::is_control) && message.len() < 2_000, "{message:?}");
        }
    }

    #[test]
    fn a_seed_beyond_the_files_integers_is_refused() {
        let mut config = config();
        config.run.seed = u64::MAX;
        assert!(config.identity().is_err(), "no identity must not pass for an equal one");
        assert!(config.check().unwrap_err().to_string().contains("18446744073709551615"));
    }

    #[test]
    fn differences_have_a_key_and_both_values() {
        let (saved, mut asked) = (config(), config());
        assert_eq!(saved.differences(&asked).unwrap(), None);
        asked.data.source = "elsewhere".into();
        assert_eq!(saved.differences(&asked).unwrap(), None, "the same data elsewhere are the same data");
        asked.data.fingerprint = "89abcdef".repeat(8);
        let text = saved.differences(&asked).unwrap().unwrap();
        assert!(text.contains("data.fingerprint (saved 01234567…, asked 89abcdef…)"), "{text}");
        assert!(text.contains("data.source (saved mnist, asked elsewhere)"), "{text}");
        asked.data.fingerprint = saved.data.fingerprint.clone();
        asked.run.batch_size = 50;
        asked.recipe.learning_rate = 0.5;
        assert_eq!(
            saved.differences(&asked).unwrap().unwrap(),
            "recipe.learning_rate (saved 0.01, asked 0.5), run.batch_size (saved 100, asked 50)"
        );
    }
}
