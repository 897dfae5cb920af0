//! Values that replace those of a recipe: as a record, as the keys of a file, and as options of a
//! command line, all from one table.

use crate::error::TrainError;
use crate::recipe::{CLASS_WEIGHTS, ClassWeights, Recipe};
use crate::schedule::{SCHEDULES, Schedule};
use serde::Deserialize;
use vgg_arch::Initialiser;
use vgg_data::Augmentation;

/// Declares a record of values that may be given, for a record of values that must be.
macro_rules! overrides {
    (
        $(#[$about:meta])*
        $name:ident of $record:ident { $($field:ident: $type:ty,)* }
        and { $($part:ident: $parts:ty,)* }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(default)]
        pub struct $name {
            $(
                #[doc = concat!("See [`", stringify!($record), "::", stringify!($field), "`].")]
                pub $field: Option<$type>,
            )*
            $(
                #[doc = concat!("See [`", stringify!($record), "::", stringify!($part), "`].")]
                pub $part: $parts,
            )*
        }

        impl $name {
            /// These values, and where there is none, that of `other`.
            pub fn or(self, other: Self) -> Self {
                Self {
                    $($field: self.$field.or(other.$field),)*
                    $($part: self.$part.or(other.$part),)*
                }
            }

            /// Puts the values into `record`.
            pub fn apply(&self, record: &mut $record) {
                $(if let Some(value) = self.$field {
                    record.$field = value;
                })*
                $(self.$part.apply(&mut record.$part);)*
            }
        }
    };
}

overrides! {
    /// Values that replace those of a recipe; `None` keeps the recipe's.
    Overrides of Recipe {
        initialiser: Initialiser,
        learning_rate: f64,
        schedule: Schedule,
        warm_up: f64,
        momentum: f64,
        nesterov: bool,
        weight_decay: f64,
        gradient_clip: f64,
        label_smoothing: f64,
        class_weights: ClassWeights,
        normalise: bool,
        averaging: f64,
        averaging_interval: u64,
        early_stop: u64,
        plain_finish: f64,
    }
    and { augmentation: AugmentationOverrides, }
}

overrides! {
    /// Values that replace those of a recipe's augmentation; `None` keeps the recipe's.
    AugmentationOverrides of Augmentation {
        shift: f64,
        rotation: f64,
        scale: f64,
        shear: f64,
        elastic: f64,
        flip: bool,
    }
    and {}
}

/// A value of a recipe, as files and command lines know it.
#[derive(Debug)]
pub struct Setting {
    /// Its key in the table `[recipe]` of a file. Its option is the same with hyphens.
    pub key: &'static str,
    /// What it may be.
    pub kind: SettingKind,
    /// One line for help.
    pub help: &'static str,
}

/// What a [`Setting`] may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    /// Any number; which ones make sense, [`Recipe::check`] says.
    Number,
    /// A whole number.
    Count,
    /// `true` or `false`.
    Switch,
    /// One of these.
    Name(&'static [&'static str]),
}

/// Every value of a recipe but its name. To add one, add it to [`Recipe`], to [`Overrides`] and here; and for
/// the runs from before there was one, to `LATER` below.
pub const SETTINGS: &[Setting] = &[
    setting("initialiser", SettingKind::Name(INITIALISERS), "How weights start"),
    setting("learning_rate", SettingKind::Number, "Largest learning rate of the run"),
    setting("schedule", SettingKind::Name(SCHEDULES), "How the learning rate goes on after the warm-up"),
    setting("warm_up", SettingKind::Number, "Share of the run in which the learning rate rises"),
    setting("momentum", SettingKind::Number, "Share of the last step that is kept"),
    setting("nesterov", SettingKind::Switch, "Take the gradient ahead of the momentum's step"),
    setting("weight_decay", SettingKind::Number, "Pull of weights towards zero"),
    setting(
        "gradient_clip",
        SettingKind::Number,
        "Largest magnitude of each value of a gradient; 0: as they are",
    ),
    setting("label_smoothing", SettingKind::Number, "Share of a label spread over all classes"),
    setting(
        "class_weights",
        SettingKind::Name(CLASS_WEIGHTS),
        "With balanced, rare classes count as much as common ones",
    ),
    setting(
        "normalise",
        SettingKind::Switch,
        "Shift and scale pixels to mean 0 and deviation 1 of the training pictures",
    ),
    setting(
        "averaging",
        SettingKind::Number,
        "Share of the weights in each new mean of them, which is then used; 0: the weights as they are",
    ),
    setting("averaging_interval", SettingKind::Count, "Steps from one mean of the weights to the next"),
    setting(
        "early_stop",
        SettingKind::Count,
        "End when validation accuracy has not risen for so many epochs, and use the best checkpoint; 0: never",
    ),
    setting(
        "plain_finish",
        SettingKind::Number,
        "Share of the run, at its end, in which pictures are no longer changed by augmentation",
    ),
    setting("augmentation.shift", SettingKind::Number, "Move pictures by up to so many pixels"),
    setting("augmentation.rotation", SettingKind::Number, "Turn pictures by up to so many degrees"),
    setting("augmentation.scale", SettingKind::Number, "Resize pictures by up to this share"),
    setting("augmentation.shear", SettingKind::Number, "Slant pictures by up to so many pixels a row"),
    setting(
        "augmentation.elastic",
        SettingKind::Number,
        "Bend pictures, by so many pixels in the root mean square",
    ),
    setting("augmentation.flip", SettingKind::Switch, "Mirror half of the pictures, left to right"),
];

const INITIALISERS: &[&str] = &["glorot-uniform", "he-normal"];

const fn setting(key: &'static str, kind: SettingKind, help: &'static str) -> Setting {
    Setting { key, kind, help }
}

impl Setting {
    /// Its name as an option, without the leading hyphens.
    pub fn option(&self) -> String {
        self.key.replace(['_', '.'], "-")
    }

    /// Its value in a recipe, as the text that its option takes.
    pub fn text(&self, recipe: &Recipe) -> String {
        let keys = self.key.split('.');
        // A recipe can always be written: it has no maps, and no numbers beyond those of TOML.
        let recipe = toml::Value::try_from(recipe).ok();
        let value = keys.fold(recipe.as_ref(), |value, key| value?.get(key));
        value
            .map_or_else(String::new, |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// The value that `text` stands for.
    fn parse(&self, text: &str) -> Option<toml::Value> {
        Some(match self.kind {
            SettingKind::Number => toml::Value::Float(text.parse().ok()?),
            SettingKind::Count => toml::Value::Integer(text.parse().ok()?),
            SettingKind::Switch => toml::Value::Boolean(text.parse().ok()?),
            SettingKind::Name(_) => toml::Value::String(text.to_owned()),
        })
    }
}

/// Values that the first runs did not know, by their keys in the table `[recipe]`, and what they are in such
/// runs, whose files and checkpoints lack them. The same are the defaults of [`Recipe`]'s fields.
pub(crate) const LATER: [(&str, &str); 2] = [("gradient_clip", "0.0"), ("plain_finish", "0.0")];

/// What the value of this key is in runs from before there was one; `None` for one that every run has.
pub(crate) fn before(key: &str) -> Option<&'static str> {
    LATER.iter().find(|(later, _)| *later == key).map(|&(_, before)| before)
}

impl Overrides {
    /// What the values that came [later](LATER) are in runs from before.
    pub(crate) fn earlier() -> Result<Self, TrainError> {
        Self::from_texts(SETTINGS.iter().filter_map(|setting| Some((setting, before(setting.key)?))))
    }

    /// The values that are given as texts, such as the options of a command line.
    ///
    /// # Errors
    /// [`TrainError::Usage`] that names the option whose text is no value of its kind.
    pub fn from_texts<'a>(
        texts: impl IntoIterator<Item = (&'a Setting, &'a str)>,
    ) -> Result<Self, TrainError> {
        let mut overrides = Self::default();
        for (setting, text) in texts {
            let wrong = || {
                let expected = match setting.kind {
                    SettingKind::Number => "a number".to_owned(),
                    SettingKind::Count => "a whole number of at least 0".to_owned(),
                    SettingKind::Switch => "true or false".to_owned(),
                    SettingKind::Name(names) => format!("one of {}", names.join(", ")),
                };
                TrainError::Usage(format!("--{} is {text:?}; give {expected}", setting.option()))
            };
            // The dotted key, from its end on, as tables within tables.
            let value = setting.key.rsplit('.').fold(setting.parse(text).ok_or_else(wrong)?, |value, key| {
                toml::Value::Table([(key.to_owned(), value)].into_iter().collect())
            });
            overrides = Self::deserialize(value).map_err(|_| wrong())?.or(overrides);
        }
        Ok(overrides)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::flatten;
    use crate::recipe::{RECIPES, recipe_row};
    use std::collections::BTreeMap;

    /// The values of a recipe by their keys.
    fn values(recipe: &Recipe) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        flatten("", &toml::Value::try_from(recipe).unwrap(), &mut values);
        values
    }

    #[test]
    fn every_value_of_a_recipe_is_a_setting() {
        for row in RECIPES {
            let mut keys: Vec<String> = values(&row.recipe).into_keys().collect();
            keys.retain(|key| key != "name");
            let mut settings: Vec<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
            settings.sort_unstable();
            assert_eq!(keys, settings, "{}", row.recipe.name);
        }
    }

    /// Each setting alone, as text: it changes its own value to what was said, and no other.
    #[test]
    fn every_setting_replaces_one_value() {
        let row = recipe_row("tutorial").unwrap();
        let before = values(&row.recipe);
        for setting in SETTINGS {
            let texts = match setting.kind {
                SettingKind::Number => vec!["0.375"],
                SettingKind::Count => vec!["7"],
                SettingKind::Switch => vec!["true"],
                SettingKind::Name(names) => names.to_vec(),
            };
            for text in texts {
                let mut recipe = row.recipe.clone();
                Overrides::from_texts([(setting, text)]).unwrap().apply(&mut recipe);
                assert_eq!(setting.text(&recipe), text);
                let mut expected = before.clone();
                let quoted = matches!(setting.kind, SettingKind::Name(_)).then(|| format!("\"{text}\""));
                expected.insert(setting.key.to_owned(), quoted.unwrap_or_else(|| text.to_owned()));
                assert_eq!(values(&recipe), expected, "{} {text}", setting.key);
            }
        }
    }

    #[test]
    fn earlier_values_win_over_others() {
        let first = Overrides { momentum: Some(0.5), ..Overrides::default() };
        let second = Overrides { momentum: Some(0.7), weight_decay: Some(0.1), ..Overrides::default() };
        let both = first.or(second);
        assert_eq!((both.momentum, both.weight_decay, both.learning_rate), (Some(0.5), Some(0.1), None));
    }

    #[test]
    fn texts_that_are_no_values_are_refused_by_option() {
        for (key, text, part) in [
            ("momentum", "fast", "--momentum is \"fast\"; give a number"),
            ("early_stop", "-1", "--early-stop is \"-1\"; give a whole number"),
            ("nesterov", "yes", "--nesterov is \"yes\"; give true or false"),
            ("schedule", "steps", "--schedule is \"steps\"; give one of constant, warm-up-linear"),
            ("augmentation.shift", "far", "--augmentation-shift is \"far\""),
        ] {
            let setting = SETTINGS.iter().find(|setting| setting.key == key).unwrap();
            let message = Overrides::from_texts([(setting, text)]).unwrap_err().to_string();
            assert!(message.starts_with(part), "{message}");
        }
    }
}
