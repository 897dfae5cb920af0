//! Recipes: how a network is trained, as records in a table. Each value can be replaced by an
//! option of the run.

use crate::error::TrainError;
use crate::overrides::Overrides;
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use vgg_arch::Initialiser;
use vgg_data::Augmentation;
use vgg_engine::UpdateRule;

/// Everything about training that is neither the network nor the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the row of [`RECIPES`] that the values started from.
    pub name: Cow<'static, str>,
    /// How weights start.
    pub initialiser: Initialiser,
    /// The schedule's largest learning rate.
    pub learning_rate: f64,
    /// The course of the learning rate over the run.
    pub schedule: Schedule,
    /// Share of the run in which the learning rate rises, in `[0, 1)`.
    pub warm_up: f64,
    /// Share of the last step that is kept, in `[0, 1)`.
    pub momentum: f64,
    /// Whether the gradient is taken ahead of the momentum's step.
    pub nesterov: bool,
    /// Pull of weights (not biases) towards zero.
    pub weight_decay: f64,
    /// Largest magnitude of each value of a gradient; larger ones are cut down to it (Mikolov 2012). A deep
    /// network without normalisation layers then bears several times the learning rate in its first hundred
    /// steps. 0: they are left as they are.
    #[serde(default)]
    pub gradient_clip: f64,
    /// Share of each label that is spread over all classes, in `[0, 1)`.
    pub label_smoothing: f64,
    /// How much the pictures of each class count.
    pub class_weights: ClassWeights,
    /// Whether the engine sees pixels with the mean and deviation of the training pictures taken out.
    pub normalise: bool,
    /// Share of the weights in each new mean of them, in `[0, 1]`; see [`Recipe::average_share`]. With 0
    /// there is no mean; otherwise it is what evaluation and prediction use.
    pub averaging: f64,
    /// Steps from one mean of the weights to the next.
    pub averaging_interval: u64,
    /// Training ends when validation accuracy has not risen for so many epochs, and the checkpoint of the
    /// best one is used. 0: it does not.
    pub early_stop: u64,
    /// Share of the run, at its end, in which the training pictures are left as they are, in `[0, 1)`: what
    /// is learned last is then learned from such pictures as the network is for (He et al., "Data
    /// Augmentation Revisited", 2019). 0: they are changed to the end.
    #[serde(default)]
    pub plain_finish: f64,
    /// What is done to the training pictures.
    pub augmentation: Augmentation,
}

/// How much the pictures of each class count in the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassWeights {
    /// All the same.
    None,
    /// Each class the same in all: a picture counts `pictures / (classes · pictures of its class)`, from
    /// the training split.
    Balanced,
}

impl ClassWeights {
    /// What a picture of each class counts, where `counts` pictures of each are trained on; `None` when all
    /// count the same. A class without pictures gets 1, which nothing uses.
    pub fn of(self, counts: &[usize]) -> Option<Vec<f32>> {
        let (pictures, classes) = (counts.iter().sum::<usize>() as f64, counts.len() as f64);
        let weight = |&count: &usize| if count == 0 { 1.0 } else { pictures / (classes * count as f64) };
        match self {
            Self::None => None,
            Self::Balanced => Some(counts.iter().map(|count| weight(count) as f32).collect()),
        }
    }
}

/// The names of all ways to weigh classes, as in files.
pub const CLASS_WEIGHTS: &[&str] = &["none", "balanced"];

/// A row of the table of recipes.
#[derive(Debug)]
pub struct RecipeRow {
    /// One line for help and listings.
    pub summary: &'static str,
    /// Pictures in a step.
    pub batch_size: usize,
    /// Length of the run, in passes over the training pictures.
    pub epochs: u64,
    /// Its values; their name is the one used on the command line.
    pub recipe: Recipe,
}

/// Name of the recipe that is taken when none is asked for.
pub const DEFAULT_RECIPE: &str = "fast";

/// Plain gradient descent, from which the rows of the table differ.
const PLAIN: Recipe = Recipe {
    name: Cow::Borrowed("plain"),
    initialiser: Initialiser::GlorotUniform,
    learning_rate: 0.001,
    schedule: Schedule::Constant,
    warm_up: 0.0,
    momentum: 0.0,
    nesterov: false,
    weight_decay: 0.0,
    gradient_clip: 0.0,
    label_smoothing: 0.0,
    class_weights: ClassWeights::None,
    normalise: false,
    averaging: 0.0,
    averaging_interval: 10,
    early_stop: 0,
    plain_finish: 0.0,
    augmentation: Augmentation::NONE,
};

/// What trains a deep network without normalisation layers soon and well. Its values were chosen by the
/// validation accuracy of `fast` on MNIST; docs/results.md has the trials.
const ONE_CYCLE: Recipe = Recipe {
    initialiser: Initialiser::HeNormal,
    learning_rate: 0.04,
    schedule: Schedule::OneCycle,
    warm_up: 0.1,
    momentum: 0.9,
    nesterov: true,
    weight_decay: 5e-4,
    gradient_clip: 0.003,
    label_smoothing: 0.1,
    normalise: true,
    ..PLAIN
};

/// The recipes. To add one, add a row.
pub const RECIPES: &[RecipeRow] = &[
    RecipeRow {
        summary: "plain gradient descent at a constant rate of 0.001 for 100 epochs, as in the 2018 tutorial",
        batch_size: 100,
        epochs: 100,
        recipe: Recipe { name: Cow::Borrowed("tutorial"), ..PLAIN },
    },
    RecipeRow {
        summary: "one cycle of Nesterov momentum on pictures that are moved a little, and a mean of the last \
                  weights: 99.4 % on MNIST after 2 epochs",
        batch_size: 128,
        epochs: 2,
        recipe: Recipe {
            name: Cow::Borrowed("fast"),
            averaging: 0.2,
            averaging_interval: 5,
            augmentation: Augmentation { shift: 1.0, rotation: 8.0, scale: 0.08, ..Augmentation::NONE },
            ..ONE_CYCLE
        },
    },
    RecipeRow {
        summary: "the same for 36 epochs on digits that are moved and bent more, and in the last fifth of them \
                  on digits as they are",
        batch_size: 128,
        epochs: 36,
        recipe: Recipe {
            name: Cow::Borrowed("best"),
            averaging: 0.05,
            plain_finish: 0.2,
            augmentation: Augmentation::DIGITS,
            ..ONE_CYCLE
        },
    },
];

/// Finds a row of [`RECIPES`] by name.
///
/// # Errors
/// When no recipe has this name.
pub fn recipe_row(name: &str) -> Result<&'static RecipeRow, TrainError> {
    RECIPES.iter().find(|row| row.recipe.name == name).ok_or_else(|| {
        TrainError::Usage(format!("no recipe is called {name:?}; choose one of {}", recipe_names()))
    })
}

/// The names of all recipes, for messages.
fn recipe_names() -> String {
    RECIPES.iter().map(|row| &*row.recipe.name).collect::<Vec<_>>().join(", ")
}

impl Recipe {
    /// The recipe with the values that `overrides` gives.
    pub fn with(mut self, overrides: &Overrides) -> Self {
        overrides.apply(&mut self);
        self
    }

    /// The update after `step` updates in a run of `total_steps`.
    pub fn update_rule(&self, step: u64, total_steps: u64) -> UpdateRule {
        UpdateRule {
            learning_rate: self.schedule.learning_rate(self.learning_rate, self.warm_up, step, total_steps)
                as f32,
            momentum: self.momentum as f32,
            nesterov: self.nesterov,
            weight_decay: self.weight_decay as f32,
            gradient_clip: if self.gradient_clip > 0.0 { self.gradient_clip as f32 } else { f32::INFINITY },
        }
    }

    /// The share with which the weights after `global_step` updates go into their mean; `None` after an
    /// update that no mean is taken after. The first means are plain ones, in which all weights so far
    /// count the same, until that share falls below [`Recipe::averaging`]: what the weights were at the
    /// start is then forgotten soon.
    pub fn average_share(&self, global_step: u64) -> Option<f32> {
        let step = global_step.checked_sub(1)?;
        if !self.has_average() || !step.is_multiple_of(self.averaging_interval) {
            return None;
        }
        let means = step / self.averaging_interval;
        Some(self.averaging.max(1.0 / (means + 1) as f64) as f32)
    }

    /// Whether a mean of the weights is what evaluation and prediction use.
    pub fn has_average(&self) -> bool {
        self.averaging > 0.0
    }

    /// Steps, from the first on, of a run of `total_steps` whose pictures are changed.
    pub fn augmented_steps(&self, total_steps: u64) -> u64 {
        total_steps - (total_steps as f64 * self.plain_finish).floor() as u64
    }

    /// Refuses values that no run can be made with.
    ///
    /// # Errors
    /// [`TrainError::Usage`] that names the value.
    pub fn check(&self) -> Result<(), TrainError> {
        check_rate("learning rate", self.learning_rate)?;
        check_rate("weight decay", self.weight_decay)?;
        check_rate("gradient clip", self.gradient_clip)?;
        if self.gradient_clip != 0.0 && self.gradient_clip as f32 == 0.0 {
            return Err(TrainError::Usage(format!(
                "the gradient clip is {}, with which nothing would be learned; give one such as 0.003, or 0 for none",
                self.gradient_clip
            )));
        }
        check_share("momentum", self.momentum, 0.9)?;
        check_share("warm-up", self.warm_up, 0.2)?;
        check_share("label smoothing", self.label_smoothing, 0.1)?;
        check_share("plain finish", self.plain_finish, 0.2)?;
        // A share that is no number in `f32` above 0 would average nothing.
        if self.averaging != 0.0 && !(f32::MIN_POSITIVE..=1.0).contains(&(self.averaging as f32)) {
            return Err(TrainError::Usage(format!(
                "the share of averaging is {}, but must be 0, or above 0 and at most 1; give one such as 0.01",
                self.averaging
            )));
        }
        if self.averaging_interval == 0 {
            return Err(TrainError::Usage(
                "the interval of averaging is 0 steps; give one of at least 1".to_owned(),
            ));
        }
        Ok(self.augmentation.check()?)
    }
}

/// Shares are at least 0 and below 1 in `f32`, which the engine computes in: 0.99999999 would be 1.
fn check_share(name: &str, value: f64, example: f64) -> Result<(), TrainError> {
    if (0.0..1.0).contains(&(value as f32)) {
        return Ok(());
    }
    Err(TrainError::Usage(format!(
        "the {name} is {value}, but must be at least 0 and below 1; give one such as {example}"
    )))
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
            row.recipe.check().unwrap();
        }
        recipe_row(DEFAULT_RECIPE).unwrap();
    }

    #[test]
    fn the_tutorial_is_plain_gradient_descent() {
        let row = recipe_row("tutorial").unwrap();
        assert_eq!((row.batch_size, row.epochs), (100, 100));
        let recipe = &row.recipe;
        assert_eq!(recipe.initialiser, Initialiser::GlorotUniform);
        assert_eq!((recipe.learning_rate, recipe.schedule, recipe.warm_up), (0.001, Schedule::Constant, 0.0));
        assert_eq!((recipe.momentum, recipe.nesterov, recipe.weight_decay), (0.0, false, 0.0));
        assert_eq!((recipe.gradient_clip, recipe.label_smoothing), (0.0, 0.0));
        assert_eq!(recipe.class_weights, ClassWeights::None);
        assert_eq!((recipe.normalise, recipe.averaging, recipe.early_stop), (false, 0.0, 0));
        assert!(recipe.augmentation.is_none());
    }

    /// Each class counts the same in all, and a picture counts 1 in the mean.
    #[test]
    fn balanced_weights_make_up_for_counts() {
        assert_eq!(ClassWeights::None.of(&[1, 3]), None);
        let weights = ClassWeights::Balanced.of(&[1, 3, 8, 0]).unwrap();
        assert_eq!(weights, [3.0, 1.0, 0.375, 1.0]);
        assert_eq!(ClassWeights::Balanced.of(&[5, 5]).unwrap(), [1.0, 1.0]);
    }

    #[test]
    fn overrides_replace_single_values() {
        let overrides = Overrides { momentum: Some(0.5), ..Overrides::default() };
        let recipe = recipe_row("fast").unwrap().recipe.clone().with(&overrides);
        assert_eq!((recipe.momentum, recipe.learning_rate), (0.5, 0.04));
    }

    #[test]
    fn values_that_cannot_train_are_refused() {
        let refused = |overrides: Overrides| {
            recipe_row("fast").unwrap().recipe.clone().with(&overrides).check().unwrap_err().to_string()
        };
        let none = Overrides::default;
        for rate in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1, 1e39] {
            for overrides in [
                Overrides { learning_rate: Some(rate), ..none() },
                Overrides { weight_decay: Some(rate), ..none() },
                Overrides { gradient_clip: Some(rate), ..none() },
                Overrides { momentum: Some(rate), ..none() },
                Overrides { warm_up: Some(rate), ..none() },
                Overrides { label_smoothing: Some(rate), ..none() },
                Overrides { averaging: Some(rate), ..none() },
                Overrides { plain_finish: Some(rate), ..none() },
            ] {
                let message = refused(overrides);
                assert!(message.contains(&rate.to_string()), "{message}");
            }
        }
        assert!(refused(Overrides { momentum: Some(1.0), ..none() }).contains("the momentum is 1,"));
        assert!(
            refused(Overrides { label_smoothing: Some(1.0), ..none() }).contains("label smoothing is 1,")
        );
        assert!(refused(Overrides { averaging: Some(1e-50), ..none() }).contains("share of averaging"));
        assert!(
            refused(Overrides { gradient_clip: Some(1e-50), ..none() }).contains("gradient clip is 0.0000")
        );
        assert!(refused(Overrides { plain_finish: Some(1.0), ..none() }).contains("plain finish is 1,"));
        assert!(refused(Overrides { averaging_interval: Some(0), ..none() }).contains("0 steps"));
        assert!(recipe_row("slow").unwrap_err().to_string().contains("tutorial, fast, best"));
    }

    /// Plain means of 1, 2, 3 weights until the share of 0.3 is larger.
    #[test]
    fn means_forget_the_start() {
        let overrides =
            Overrides { averaging: Some(0.3), averaging_interval: Some(4), ..Overrides::default() };
        let recipe = recipe_row("fast").unwrap().recipe.clone().with(&overrides);
        let shares: Vec<_> = (0..18).filter_map(|step| Some((step, recipe.average_share(step)?))).collect();
        assert_eq!(shares, [(1, 1.0), (5, 0.5), (9, 1.0 / 3.0), (13, 0.3), (17, 0.3)]);
        assert_eq!(recipe_row("tutorial").unwrap().recipe.average_share(1), None);
    }

    #[test]
    fn pictures_are_plain_in_the_last_share_of_the_run() {
        let steps = |share, total| Recipe { plain_finish: share, ..PLAIN }.augmented_steps(total);
        assert_eq!([steps(0.0, 10), steps(0.25, 10), steps(0.5, 10), steps(0.99, 10)], [10, 8, 5, 1]);
        assert_eq!([steps(0.5, 0), steps(0.5, 1), steps(0.999, u64::from(u32::MAX))], [0, 1, 4_294_968]);
    }
}
