//! A check on one batch: a network that cannot learn a few pictures by heart will learn nothing else.
//! Wrong labels, a wrong learning rate or a broken layer show in seconds.

use crate::error::TrainError;
use crate::recipe::Recipe;
use std::borrow::Cow;
use vgg_data::{Augmentation, Dataset, Loader};

/// Length of the check when no other is asked for.
pub(crate) const STEPS: u64 = 200;

/// Largest loss, in the mean over the batch, at which it counts as learned by heart: every label has a
/// probability of 98 % or so.
pub const LEARNED: f64 = 0.02;

/// Largest learning rate when no other is asked for: in so few steps there is no time for the warm-up that a
/// larger one needs. (VGG13 on 32 digits: 0.01 ends at a loss of 1.8, 0.003 and 0.001 below 0.001.)
const LEARNING_RATE: f64 = 0.002;

/// The recipe without what keeps a network from learning pictures by heart.
pub(crate) fn recipe(recipe: &Recipe) -> Recipe {
    Recipe {
        name: Cow::clone(&recipe.name),
        learning_rate: recipe.learning_rate.min(LEARNING_RATE),
        weight_decay: 0.0,
        label_smoothing: 0.0,
        averaging: 0.0,
        early_stop: 0,
        plain_finish: 0.0,
        augmentation: Augmentation::NONE,
        ..recipe.clone()
    }
}

/// The first batch of a run as a data set of its own, of which every epoch is one step.
pub(crate) fn batch(data: &Dataset, batch_size: usize, seed: u64) -> Result<Dataset, TrainError> {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    Loader::new(data.len(), batch_size, seed)?.fill(data, 0, &mut images, &mut labels);
    let sizes = [data.height(), data.width(), data.channels()];
    Ok(Dataset::new(images, labels, sizes, data.class_names().to_vec())?)
}
