//! A file of settings for a run, in the form of its configuration: what is in it need not be given as
//! options.
//!
//! Its keys are those of `config.toml`, and any of them may be missing; so the configuration of one run is
//! a file of settings for another. What follows from the data cannot be set: where it is in the file, it is
//! compared with what comes out.

use crate::config::{VERSION, flatten, with_line};
use crate::error::TrainError;
use crate::options::{Freeze, Length, TrainOptions, absolute_path, precision_named};
use crate::overrides::{Overrides, SETTINGS};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};
use vgg_arch::text::one_line;
use vgg_data::{SeededSplit, Source};
use vgg_formats::{CheckpointError, ModelDir};

/// Longest file that is read.
const LONGEST: u64 = 1 << 20;

/// Characters of what a file is cited with in a message.
const LONGEST_PART: usize = 600;

/// The keys besides those of [`SETTINGS`], which are in the table `recipe`.
const OTHERS: &[&str] = &[
    "version",
    "network.name",
    "network.head",
    "network.input.height",
    "network.input.width",
    "data.source",
    "data.limit",
    "data.split.seed",
    "data.split.validation",
    "data.split.test",
    "recipe.name",
    "run.seed",
    "run.batch_size",
    "run.steps",
    "run.epochs",
    "run.precision",
    "run.freeze",
    "run.overfit_batch",
    "run.init_from.model_dir",
];

/// Keys of a configuration that follow from the others and from the data.
const FOLLOWING: &[&str] = &[
    "network.classes",
    "network.input.channels",
    "data.fingerprint",
    "data.class_names",
    "data.mean",
    "data.deviation",
    "run.init_from.step",
    "run.init_from.weights",
];

/// What a file of settings says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    version: Option<u32>,
    network: NetworkPart,
    data: DataPart,
    recipe: Overrides,
    run: RunPart,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NetworkPart {
    name: Option<String>,
    head: Option<String>,
    input: Option<InputPart>,
}

#[derive(Debug, Deserialize)]
struct InputPart {
    height: usize,
    width: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DataPart {
    source: Option<String>,
    limit: Option<usize>,
    split: Option<SplitPart>,
}

/// What is not given is as by default.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct SplitPart {
    seed: u64,
    validation: f64,
    test: f64,
}

impl Default for SplitPart {
    fn default() -> Self {
        let SeededSplit { seed, validation, test } = SeededSplit::default();
        Self { seed, validation, test }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RunPart {
    seed: Option<u64>,
    batch_size: Option<usize>,
    steps: Option<u64>,
    epochs: Option<u64>,
    precision: Option<String>,
    freeze: Option<Freeze>,
    overfit_batch: Option<bool>,
    init_from: Option<InitPart>,
}

#[derive(Debug, Deserialize)]
struct InitPart {
    model_dir: PathBuf,
}

/// The name of the recipe, which is beside its values.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Names {
    recipe: NamePart,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamePart {
    name: Option<String>,
}

impl TrainOptions {
    /// These options, and where they say nothing, what the file of settings at `path` says.
    ///
    /// # Errors
    /// [`TrainError::Incompatible`] when the file cannot be read, is no TOML, has a key that no setting has
    /// or a value of the wrong kind; it names the file, and the line where one can be told.
    pub fn with_settings_of(self, path: &Path) -> Result<Self, TrainError> {
        let text = read(path)?;
        self.with_settings(&text).map_err(|cause| wrong(path, &cause))
    }

    /// The same from the text of the file; the error is the cause alone.
    fn with_settings(self, text: &str) -> Result<Self, String> {
        let of_toml = |error: toml::de::Error| with_line(&error, text);
        check_keys(text)?;
        let mut file: File = toml::from_str(text).map_err(of_toml)?;
        if file.version.is_some() {
            // That of a run from before there were such values does not have them.
            file.recipe = file.recipe.or(Overrides::earlier().map_err(|error| error.to_string())?);
        }
        let names: Names = toml::from_str(text).map_err(of_toml)?;
        let table: toml::Value = toml::from_str(text).map_err(of_toml)?;
        if let Some(version) = file.version.filter(|&version| version != VERSION) {
            return Err(format!("its version is {version}, this program understands {VERSION}"));
        }
        let length = match (file.run.steps, file.run.epochs) {
            (Some(_), Some(_)) => return Err("it gives both run.steps and run.epochs".to_owned()),
            (steps, epochs) => steps.map(Length::Steps).or(epochs.map(Length::Epochs)),
        };
        let source = file.data.source.map(|source| source.parse::<Source>()).transpose();
        let precision = file.run.precision.as_deref().map(precision_named).transpose();
        let source = source.map_err(|error| error.to_string())?;
        let image_size = file.network.input.map(|input| [input.height, input.width]);
        let split = file.data.split;
        let split = split.map(|SplitPart { seed, validation, test }| SeededSplit { seed, validation, test });
        // The file of a run has every value of its recipe: they do not belong to another one, nor to a check
        // on one batch that the file does not ask for.
        let is_another =
            self.recipe.is_some() && names.recipe.name.is_some() && self.recipe != names.recipe.name;
        let is_check = self.overfit_batch == Some(true) && file.run.overfit_batch != Some(true);
        let keeps = !is_another && !is_check;
        let mut expected = BTreeMap::new();
        flatten("", &table, &mut expected);
        expected.retain(|key, _| FOLLOWING.contains(&key.as_str()));
        // What follows from something need not come out when an option puts another in its place.
        let other_data = (source.is_some() && is_other(&self.data, &source))
            || is_other(&self.limit, &file.data.limit)
            || is_other(&self.image_size, &image_size)
            || is_other(&self.split, &split);
        let init_from = file.run.init_from.map(|start| start.model_dir);
        let asked = self.init_from.as_deref().map(absolute_path);
        let other_start = is_other(&asked, &init_from.as_deref().map(absolute_path));
        let other_pixels = other_start || !keeps || self.overrides.normalise.is_some();
        expected.retain(|key, _| match key.as_str() {
            "run.init_from.step" | "run.init_from.weights" => !other_start,
            "data.mean" | "data.deviation" => !other_data && !other_pixels,
            _ => !other_data,
        });
        Ok(Self {
            data: self.data.or(source),
            image_size: self.image_size.or(image_size),
            limit: self.limit.or(file.data.limit),
            split: self.split.or(split),
            arch: self.arch.or(file.network.name),
            head: self.head.or(file.network.head),
            recipe: self.recipe.or(names.recipe.name),
            overrides: if keeps { self.overrides.or(file.recipe) } else { self.overrides },
            batch_size: self.batch_size.or(file.run.batch_size.filter(|_| keeps)),
            length: self.length.or(length.filter(|_| keeps)),
            seed: self.seed.or(file.run.seed),
            precision: self.precision.or(precision.map_err(|error| error.to_string())?),
            freeze: self.freeze.or(file.run.freeze),
            overfit_batch: self.overfit_batch.or(file.run.overfit_batch),
            init_from: self.init_from.or(init_from),
            expected,
            ..self
        })
    }
}

/// Whether an option is given, and is not what the file says.
fn is_other<T: PartialEq>(option: &Option<T>, file: &Option<T>) -> bool {
    option.is_some() && option != file
}

/// The text of the file, which must be an ordinary one of a size that settings can have.
fn read(path: &Path) -> Result<String, TrainError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().and_then(|name| name.to_str());
    let bytes = match name.map(|name| ModelDir::new(folder).read(name, LONGEST)) {
        Some(Ok(Some(bytes))) => bytes,
        Some(Ok(None)) | None => return Err(wrong(path, "there is no such file")),
        Some(Err(CheckpointError::Damaged { cause, .. })) => return Err(wrong(path, &cause)),
        Some(Err(error)) => return Err(error.into()),
    };
    String::from_utf8(bytes).map_err(|_| wrong(path, "it is not text in UTF-8"))
}

/// Refuses keys that no setting has, with the nearest that one has.
fn check_keys(text: &str) -> Result<(), String> {
    let table = DeTable::parse(text).map_err(|error| with_line(&error, text))?;
    let of_recipes = SETTINGS.iter().map(|setting| format!("recipe.{}", setting.key));
    let known: Vec<String> =
        OTHERS.iter().chain(FOLLOWING).map(|key| (*key).to_owned()).chain(of_recipes).collect();
    check_table("", table.get_ref(), &known, text)
}

fn check_table(prefix: &str, table: &DeTable<'_>, known: &[String], text: &str) -> Result<(), String> {
    for (key, value) in table {
        // In quotation marks, a key with points is one key, and no setting has it.
        let name = match key.get_ref().contains('.') {
            true => format!("{:?}", key.get_ref()),
            false => key.get_ref().to_string(),
        };
        let dotted = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        let is_known = known.contains(&dotted);
        let cause = match value.get_ref() {
            DeValue::Table(inner) if known.iter().any(|known| is_below(known, &dotted)) => {
                check_table(&dotted, inner, known, text)?;
                continue;
            }
            DeValue::Table(_) if is_known => format!("{dotted} is a value, not a table"),
            _ if is_known => continue,
            _ => unknown(&dotted, known),
        };
        let before = text.get(..key.span().start).unwrap_or_default();
        return Err(format!("line {}: {cause}", before.matches('\n').count() + 1));
    }
    Ok(())
}

/// What to do about a key that no setting has.
fn unknown(dotted: &str, known: &[String]) -> String {
    let unquoted = dotted.replace('"', "");
    let is_setting = known.iter().any(|known| *known == unquoted || is_below(known, &unquoted));
    let hint = match unquoted != dotted && is_setting {
        true => format!("write {unquoted} without quotation marks"),
        false => format!("the nearest is {}", nearest(dotted, known)),
    };
    format!("there is no setting {dotted}; {hint}")
}

/// Whether the key is one of the table, or of a table in it.
fn is_below(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'))
}

/// The known key most like `key`, as a whole or in its last part: it may be in the wrong table.
fn nearest<'a>(key: &str, known: &'a [String]) -> &'a str {
    // A hostile key may be long, and the comparison takes the product of both lengths.
    let key: String = key.chars().take(100).collect();
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let alike = |known: &String| {
        let parts = strsim::normalized_damerau_levenshtein(&last(&key), &last(known));
        parts + strsim::normalized_damerau_levenshtein(&key, known)
    };
    known.iter().max_by(|a, b| alike(a).total_cmp(&alike(b))).map_or("", String::as_str)
}

fn wrong(path: &Path, cause: &str) -> TrainError {
    TrainError::Incompatible(format!(
        "the settings in {} cannot be used: {}; correct the file, or leave out --config",
        one_line(&path.display().to_string(), LONGEST_PART),
        one_line(cause, LONGEST_PART)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CONFIG_FILE, tests::full_config};
    use crate::schedule::Schedule;
    use std::fs;

    fn options() -> TrainOptions {
        TrainOptions::new("model")
    }

    #[test]
    fn options_win_over_the_file() {
        let text = "
            network.name = 'vgg11'
            [data]
            source = 'mnist'
            limit = 40
            [recipe]
            name = 'best'
            momentum = 0.5
            schedule = 'constant'
            augmentation.shift = 3
            [run]
            epochs = 7
            freeze = 'features'
            init_from.model_dir = 'a'
        ";
        let overrides = Overrides { momentum: Some(0.25), ..Overrides::default() };
        let given = TrainOptions { limit: Some(20), overrides, seed: Some(9), ..options() };
        let options = given.with_settings(text).unwrap();
        assert_eq!((options.limit, options.seed, options.data), (Some(20), Some(9), Some(Source::Mnist)));
        assert_eq!((options.arch.as_deref(), options.recipe.as_deref()), (Some("vgg11"), Some("best")));
        assert_eq!((options.length, options.freeze), (Some(Length::Epochs(7)), Some(Freeze::Features)));
        assert_eq!(options.init_from, Some("a".into()));
        let overrides = options.overrides;
        assert_eq!((overrides.momentum, overrides.schedule), (Some(0.25), Some(Schedule::Constant)));
        assert_eq!((overrides.augmentation.shift, overrides.augmentation.rotation), (Some(3.0), None));
    }

    /// Every key of a configuration is a setting, or is compared with what comes out.
    #[test]
    fn a_configuration_is_a_file_of_settings() {
        let folder = tempfile::tempdir().unwrap();
        let config = full_config();
        config.save(&folder.path().into()).unwrap();
        let options = options().with_settings_of(&folder.path().join(CONFIG_FILE)).unwrap();
        assert_eq!(config.recipe.clone().with(&options.overrides), config.recipe);
        assert_eq!(options.expected.keys().collect::<Vec<_>>().len(), FOLLOWING.len());
        options.check_expected(&config).unwrap();
        let mut other = config.clone();
        other.data.fingerprint = "0".repeat(64);
        let message = options.check_expected(&other).unwrap_err().to_string();
        assert!(message.starts_with("data.fingerprint is to be \"0123456"), "{message}");
    }

    /// What follows from the data, or from another network, need not come out as in the file once an option puts
    /// others in their place; what is given in the same way must.
    #[test]
    fn an_option_sets_what_follows_from_it_free() {
        let text = full_config().text().unwrap();
        let data = [
            "data.class_names",
            "data.deviation",
            "data.fingerprint",
            "data.mean",
            "network.classes",
            "network.input.channels",
        ];
        let start = ["run.init_from.step", "run.init_from.weights"];
        let pixels = ["data.deviation", "data.mean"];
        let freed = |options: TrainOptions| {
            let expected = options.with_settings(&text).unwrap().expected;
            FOLLOWING.iter().filter(|key| !expected.contains_key(**key)).copied().collect::<Vec<_>>()
        };
        let sorted = |options| {
            let mut keys = freed(options);
            keys.sort_unstable();
            keys
        };
        assert_eq!(sorted(TrainOptions { data: Some(Source::Folder("/a".into())), ..options() }), data);
        assert_eq!(sorted(TrainOptions { limit: Some(20), ..options() }), data);
        assert_eq!(sorted(TrainOptions { image_size: Some([32, 32]), ..options() }), data);
        assert_eq!(sorted(TrainOptions { split: Some(SeededSplit::default()), ..options() }), data);
        let other_start = sorted(TrainOptions { init_from: Some("b".into()), ..options() });
        assert_eq!(other_start, [pixels, start].concat());
        assert_eq!(sorted(TrainOptions { init_from: Some("/a/b".into()), ..options() }), [""; 0]);
        let normalise = Overrides { normalise: Some(false), ..Overrides::default() };
        assert_eq!(sorted(TrainOptions { overrides: normalise, ..options() }), pixels);
        assert_eq!(sorted(TrainOptions { recipe: Some("fast".into()), ..options() }), pixels);
        let same = TrainOptions { data: Some(Source::Mnist), limit: Some(50), seed: Some(3), ..options() };
        assert_eq!(sorted(same), [""; 0]);
    }

    /// What the recipe of its name has today is not what such a run had.
    #[test]
    fn the_file_of_a_run_from_before_there_was_a_value_has_none_of_it() {
        let values = |text| {
            let overrides = options().with_settings(text).unwrap().overrides;
            (overrides.gradient_clip, overrides.plain_finish)
        };
        assert_eq!(values("version = 2\n[recipe]\nname = 'best'"), (Some(0.0), Some(0.0)));
        assert_eq!(values("version = 2\n[recipe]\nplain_finish = 0.5"), (Some(0.0), Some(0.5)));
        assert_eq!(values("[recipe]\nname = 'best'"), (None, None));
    }

    #[test]
    fn what_is_not_given_of_a_split_is_as_by_default() {
        let split = options().with_settings("data.split.validation = 0.25").unwrap().split;
        assert_eq!(split, Some(SeededSplit { validation: 0.25, ..SeededSplit::default() }));
    }

    #[test]
    fn what_is_wrong_has_a_line_and_the_nearest_key() {
        for (text, part) in [
            (
                "[recipe]\nlearing_rate = 1",
                "line 2: there is no setting recipe.learing_rate; the nearest is recipe.learning_rate",
            ),
            ("\nmomentum = 1", "line 2: there is no setting momentum; the nearest is recipe.momentum"),
            ("[recipe.augmentation]\nrotate = 1", "nearest is recipe.augmentation.rotation"),
            ("[run]\nbatchsize = 1", "nearest is run.batch_size"),
            ("[optimizer]\nmomentum = 1", "line 1: there is no setting optimizer;"),
            ("[recipe]\nmomentum = 'fast'", "line 2: invalid type: string \"fast\", expected f64"),
            ("[recipe]\nschedule = 'steps'", "line 2: unknown variant `steps`"),
            ("[recipe]\nearly_stop = -1", "line 2: invalid value: integer `-1`"),
            ("run = 3", "line 1: there is no setting run;"),
            (
                "'recipe.momentum' = 0.5",
                "setting \"recipe.momentum\"; write recipe.momentum without quotation marks",
            ),
            (
                "[run]\n'init_from.model_dir' = 'a'",
                "line 2: there is no setting run.\"init_from.model_dir\"; write",
            ),
            ("['recipe.augmentation']\nshift = 1", "write recipe.augmentation without quotation marks"),
            ("[recipe.momentum]\nx = 1", "line 1: recipe.momentum is a value, not a table"),
            ("[data.fingerprint]\nx = 1", "line 1: data.fingerprint is a value, not a table"),
            ("[data.mean]", "line 1: data.mean is a value, not a table"),
            ("[data.split]\nseeds = 1", "nearest is data.split.seed"),
            ("[run]\nseed = 1\nseed = 2", "line 3: duplicate key"),
            ("[run]\nsteps = 1\nepochs = 2", "both run.steps and run.epochs"),
            ("[run]\nfreeze = 'all'", "line 2: expected a number of layers, or features"),
            ("[run]\nprecision = 'f8'", "no precision is called \"f8\""),
            ("[data]\nsource = ''", "the name is empty"),
            ("version = 1", "its version is 1, this program understands 2"),
            ("recipe = [", "line 1: "),
        ] {
            let message = options().with_settings(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
        // Without quotation marks this would be as wrong.
        let message = options().with_settings("'recipe.momentu' = 0.5").unwrap_err();
        assert!(message.ends_with("the nearest is recipe.momentum"), "{message}");
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        let refused = || options().with_settings_of(&path).unwrap_err();
        assert!(refused().to_string().contains("settings.toml cannot be used: there is no such file"));
        for (bytes, part) in [
            (vec![0xff, 0xfe], "not text in UTF-8"),
            (vec![b'#'; LONGEST as usize + 1], "expected at most 1048576 bytes"),
            (format!("{} = 1", "k".repeat(100_000)).into_bytes(), "there is no setting"),
            (b"\"\\u001b[2J\\r\\n\" = 1".to_vec(), "there is no setting"),
        ] {
            fs::write(&path, bytes).unwrap();
            let message = refused().to_string();
            assert!(message.contains(part) && message.len() < 2_000, "{message}");
            assert!(!message.contains(char::is_control), "{message:?}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(refused().to_string().contains("expected a file"));
        assert_eq!(refused().exit_code(), 65);
    }
}
