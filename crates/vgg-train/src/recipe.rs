//! Recipes: how a network is trained, as records in a table. Each value can be replaced by an
//! option of the run.

use crate::error::TrainError;
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};
use vgg_arch::Initialiser;
use vgg_engine::UpdateRule;

/// Everything about training that is neither the network nor the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the row of [`RECIPES`] that the values started from.
    pub name: String,
    /// How weights start.
    pub initialiser: Initialiser,
    /// The schedule's largest learning rate.
    pub learning_rate: f64,
    /// The course of the learning rate over the run.
    pub schedule: Schedule,
    /// Share of the last step that is kept, in `[0, 1)`.
    pub momentum: f64,
    /// Whether the gradient is taken ahead of the momentum's step.
    pub nesterov: bool,
    /// Pull of weights (not biases) towards zero.
    pub weight_decay: f64,
}

/// A row of the table of recipes.
#[derive(Debug)]
pub struct RecipeRow {
    /// The name used on the command line.
    pub name: &'static str,
    /// One line for help and listings.
    pub summary: &'static str,
    /// Pictures in a step.
    pub batch_size: usize,
    /// Length of the run.
    pub epochs: u64,
    /// See [`Recipe::initialiser`].
    pub initialiser: Initialiser,
    /// See [`Recipe::learning_rate`].
    pub learning_rate: f64,
    /// See [`Recipe::schedule`].
    pub schedule: Schedule,
    /// See [`Recipe::momentum`].
    pub momentum: f64,
    /// See [`Recipe::nesterov`].
    pub nesterov: bool,
    /// See [`Recipe::weight_decay`].
    pub weight_decay: f64,
}

/// Name of the recipe that is taken when none is asked for.
pub const DEFAULT_RECIPE: &str = "fast";

/// The recipes. To add one, add a row.
pub const RECIPES: &[RecipeRow] = &[
    RecipeRow {
        name: "tutorial",
        summary: "plain gradient descent at a constant rate of 0.001 for 100 epochs, as in the 2018 tutorial",
        batch_size: 100,
        epochs: 100,
        initialiser: Initialiser::GlorotUniform,
        learning_rate: 0.001,
        schedule: Schedule::Constant,
        momentum: 0.0,
        nesterov: false,
        weight_decay: 0.0,
    },
    RecipeRow {
        name: "fast",
        summary: "Nesterov momentum with warm-up and decay, over 99 % on MNIST after 2 epochs",
        batch_size: 100,
        epochs: 2,
        initialiser: Initialiser::HeNormal,
        learning_rate: 0.01,
        schedule: Schedule::WarmUpLinear,
        momentum: 0.9,
        nesterov: true,
        weight_decay: 5e-4,
    },
];

/// Values that replace those of a recipe; `None` keeps the recipe's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// See [`Recipe::initialiser`].
    pub initialiser: Option<Initialiser>,
    /// See [`Recipe::learning_rate`].
    pub learning_rate: Option<f64>,
    /// See [`Recipe::schedule`].
    pub schedule: Option<Schedule>,
    /// See [`Recipe::momentum`].
    pub momentum: Option<f64>,
    /// See [`Recipe::nesterov`].
    pub nesterov: Option<bool>,
    /// See [`Recipe::weight_decay`].
    pub weight_decay: Option<f64>,
}

/// Finds a row of [`RECIPES`] by name.
///
/// # Errors
/// When no recipe has this name.
pub fn recipe_row(name: &str) -> Result<&'static RecipeRow, TrainError> {
    RECIPES.iter().find(|row| row.name == name).ok_or_else(|| {
        TrainError::Usage(format!("no recipe is called {name:?}; choose one of {}", recipe_names()))
    })
}

/// The names of all recipes, for messages.
fn recipe_names() -> String {
    RECIPES.iter().map(|row| row.name).collect::<Vec<_>>().join(", ")
}

impl Recipe {
    /// The values of a row of the table.
    pub fn from_row(row: &RecipeRow) -> Self {
        Self {
            name: row.name.to_owned(),
            initialiser: row.initialiser,
            learning_rate: row.learning_rate,
            schedule: row.schedule,
            momentum: row.momentum,
            nesterov: row.nesterov,
            weight_decay: row.weight_decay,
        }
    }

    /// The recipe with the values that `overrides` gives.
    pub fn with(self, overrides: &Overrides) -> Self {
        Self {
            name: self.name,
            initialiser: overrides.initialiser.unwrap_or(self.initialiser),
            learning_rate: overrides.learning_rate.unwrap_or(self.learning_rate),
            schedule: overrides.schedule.unwrap_or(self.schedule),
            momentum: overrides.momentum.unwrap_or(self.momentum),
            nesterov: overrides.nesterov.unwrap_or(self.nesterov),
            weight_decay: overrides.weight_decay.unwrap_or(self.weight_decay),
        }
    }

    /// The update after `step` updates in a run of `total_steps`.
    pub fn update_rule(&self, step: u64, total_steps: u64) -> UpdateRule {
        UpdateRule {
            learning_rate: self.schedule.learning_rate(self.learning_rate, step, total_steps) as f32,
            momentum: self.momentum as f32,
            nesterov: self.nesterov,
            weight_decay: self.weight_decay as f32,
        }
    }

    /// Refuses values that no run can be made with.
    ///
    /// # Errors
    /// [`TrainError::Usage`] that names the value.
    pub fn check(&self) -> Result<(), TrainError> {
        check_rate("learning rate", self.learning_rate)?;
        check_rate("weight decay", self.weight_decay)?;
        // In `f32`, which the update computes in: 0.99999999 would be 1.
        if !(0.0..1.0).contains(&(self.momentum as f32)) {
            return Err(TrainError::Usage(format!(
                "the momentum is {}, but must be at least 0 and below 1; give one such as 0.9",
                self.momentum
            )));
        }
        Ok(())
    }
}

/// Rates are finite in `f32`, which the update computes in, and not negative.
fn check_rate(name: &str, value: f64) -> Result<(), TrainError> {
    if value >= 0.0 && (value as f32).is_finite() {
        return Ok(());
    }
    Err(TrainError::Usage(format!(
        "the {name} is {value}, but must be a finite number of at least 0; give one such as 0.001"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_passes_its_own_check() {
        for row in RECIPES {
            Recipe::from_row(row).check().unwrap();
        }
        recipe_row(DEFAULT_RECIPE).unwrap();
    }

    #[test]
    fn the_tutorial_is_plain_gradient_descent() {
        let row = recipe_row("tutorial").unwrap();
        assert_eq!((row.batch_size, row.epochs), (100, 100));
        let recipe = Recipe::from_row(row);
        assert_eq!(recipe.initialiser, Initialiser::GlorotUniform);
        assert_eq!((recipe.learning_rate, recipe.schedule), (0.001, Schedule::Constant));
        assert_eq!((recipe.momentum, recipe.nesterov, recipe.weight_decay), (0.0, false, 0.0));
    }

    #[test]
    fn overrides_replace_single_values() {
        let overrides = Overrides { momentum: Some(0.5), ..Overrides::default() };
        let recipe = Recipe::from_row(recipe_row("fast").unwrap()).with(&overrides);
        assert_eq!((recipe.momentum, recipe.learning_rate), (0.5, 0.01));
    }

    #[test]
    fn values_that_cannot_train_are_refused() {
        let row = recipe_row("fast").unwrap();
        for rate in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1, 1e39] {
            for overrides in [
                Overrides { learning_rate: Some(rate), ..Overrides::default() },
                Overrides { weight_decay: Some(rate), ..Overrides::default() },
                Overrides { momentum: Some(rate), ..Overrides::default() },
            ] {
                let message = Recipe::from_row(row).with(&overrides).check().unwrap_err().to_string();
                assert!(message.contains(&rate.to_string()), "{message}");
            }
        }
        let overrides = Overrides { momentum: Some(1.0), ..Overrides::default() };
        assert!(Recipe::from_row(row).with(&overrides).check().is_err());
        assert!(recipe_row("slow").unwrap_err().to_string().contains("tutorial, fast"));
    }
}
