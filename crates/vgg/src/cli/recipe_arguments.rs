//! The options that replace values of a recipe, made from the table of settings.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use vgg::TrainError;
use vgg::train::{Overrides, SETTINGS, Setting, SettingKind};

/// The heading of these options in help.
const HEADING: &str = "Values of the recipe (what is left out is the recipe's)";

/// Place of the first of these options in help: after the others.
const FIRST_PLACE: usize = 50;

/// What was given of the values of a recipe.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecipeArguments {
    texts: Vec<(&'static Setting, String)>,
}

impl RecipeArguments {
    /// The values.
    ///
    /// # Errors
    /// When a text is no value of its kind.
    pub(super) fn overrides(&self) -> Result<Overrides, TrainError> {
        Overrides::from_texts(self.texts.iter().map(|(setting, text)| (*setting, text.as_str())))
    }
}

fn argument(position: usize, setting: &'static Setting) -> Arg {
    let argument = Arg::new(setting.key)
        .long(setting.option())
        .help(setting.help)
        .help_heading(HEADING)
        .display_order(FIRST_PLACE + position)
        .allow_hyphen_values(true);
    match setting.kind {
        SettingKind::Number => argument.value_name("X").value_parser(number),
        SettingKind::Count => argument.value_name("N").value_parser(count),
        SettingKind::Switch => argument.value_name("true|false").value_parser(switch),
        SettingKind::Name(names) => argument
            .value_name("NAME")
            .value_parser(names.to_vec())
            .hide_possible_values(true)
            .help(format!("{}: {}", setting.help, names.join(", "))),
    }
}

/// A text that stands for a number.
fn number(text: &str) -> Result<String, String> {
    super::number(text).map(|_| text.to_owned())
}

fn count(text: &str) -> Result<String, String> {
    super::count(text).map(|_| text.to_owned())
}

fn switch(text: &str) -> Result<String, String> {
    match text {
        "true" | "false" => Ok(text.to_owned()),
        _ => Err("expected true or false".to_owned()),
    }
}

impl Args for RecipeArguments {
    fn augment_args(command: Command) -> Command {
        command.args(SETTINGS.iter().enumerate().map(|(position, setting)| argument(position, setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for RecipeArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let text =
            |setting: &'static Setting| Some((setting, matches.get_one::<String>(setting.key)?.clone()));
        Ok(Self { texts: SETTINGS.iter().filter_map(text).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
