//! The estimator: trains, evaluates and predicts, and keeps what it learned in a model directory.
//!
//! Read in this order: [`recipe`] and [`schedule`] (how to train, as data), [`overrides`] and
//! `settings` (its values as options and in files), [`options`] and [`config`] (what a user asks, and
//! what a run is), `start` (how a run begins: nothing is touched before everything is known to be
//! good; `remove` undoes what must not stay), `train` (the loop, on one page) with `early_stop`,
//! `init_from` and [`overfit`], [`events`] with the listeners [`log`], `metrics` and [`tensorboard`],
//! [`mod@evaluate`] and [`mod@predict`] (both may look at a picture several times: `views`), and
//! [`estimator`], which ties them together.
#![forbid(unsafe_code)]

pub mod config;
mod early_stop;
mod error;
pub mod estimator;
pub mod evaluate;
pub mod events;
mod init_from;
pub mod log;
mod metrics;
pub mod options;
pub mod overfit;
pub mod overrides;
pub mod predict;
pub mod recipe;
mod remove;
pub mod schedule;
mod settings;
mod start;
pub mod tensorboard;
mod train;
mod views;

pub use config::Config;
pub use error::TrainError;
pub use estimator::{Ending, EngineFactory, Estimator, OpenOptions, Trained, train};
pub use evaluate::Evaluation;
pub use events::{Event, Listener, RunInfo, StepReport};
pub use log::Log;
pub use metrics::METRICS_FILE;
pub use options::{Freeze, Length, PRECISIONS, TrainOptions, precision_named};
pub use overrides::{AugmentationOverrides, Overrides, SETTINGS, Setting, SettingKind};
pub use predict::Prediction;
pub use recipe::{ClassWeights, DEFAULT_RECIPE, RECIPES, Recipe, RecipeRow};
pub use schedule::Schedule;
pub use views::Views;
