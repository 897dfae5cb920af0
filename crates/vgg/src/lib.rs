//! Trains the VGG family of convolutional networks on the machine you have: VGG13 on MNIST as in
//! the well-known tutorial, and every network of the paper's table on your own pictures.
//!
//! # Quick start
//! ```no_run
//! use std::sync::atomic::AtomicBool;
//! use vgg::{Log, TrainOptions, cpu_engine, train};
//!
//! let stop = AtomicBool::new(false); // Set it to end early: what was learned is saved.
//! let mut log = Log::new(std::io::stderr());
//! let options = TrainOptions::new("model");
//! let mut trained = train(&options, &cpu_engine, &mut [&mut log], &stop)?;
//!
//! let test = trained.estimator.evaluate(&trained.splits.test, &stop, &mut |_, _| ())?;
//! println!("accuracy {:.2} %, loss {:.4}", 100.0 * test.accuracy, test.loss);
//! # Ok::<(), vgg::TrainError>(())
//! ```
//!
//! Another time, from the model directory:
//! ```no_run
//! use std::path::Path;
//! use vgg::{Estimator, OpenOptions, cpu_engine, read_picture};
//!
//! let open = OpenOptions { model_dir: "model".into(), batch_size: 1, threads: 0 };
//! let mut estimator = Estimator::open(&open, &cpu_engine)?;
//! let (pixels, _note) = read_picture(Path::new("digit.png"), 28, 28, 1)?;
//! for prediction in estimator.predict(&pixels)? {
//!     println!("{} ({:.1} %)", prediction.class_name, 100.0 * prediction.probabilities[prediction.class]);
//! }
//! # Ok::<(), vgg::TrainError>(())
//! ```
//!
//! What a network is and costs needs no data and no training:
//! ```
//! use vgg::{Network, Shape};
//!
//! let network = Network::new("vgg13", "tutorial", Shape::new(28, 28, 1), 10)?;
//! assert_eq!(network.parameter_count(), 32_393_410);
//! # Ok::<(), vgg::arch::ArchError>(())
//! ```
//!
//! # Where things are
//! The names that most programs need are here at the top. Everything else is in the part that it
//! belongs to: [`arch`] (what a network is), [`data`] (pictures), [`engine`] (running a network),
//! [`formats`] (checkpoints), [`mod@train`] (recipes, events, the estimator), [`report`] (a run as a page).
#![forbid(unsafe_code)]

pub mod report;

pub use vgg_arch as arch;
pub use vgg_data as data;
pub use vgg_engine as engine;
pub use vgg_formats as formats;
pub use vgg_train as train;

pub use vgg_arch::{Network, Shape};
pub use vgg_data::{DataOptions, Dataset, Source, Split, Splits, open, read_picture, write_png};
pub use vgg_engine::{Engine, EngineOptions, Precision, cpu_engine};
pub use vgg_train::{
    Ending, Estimator, Evaluation, Event, Length, Listener, Log, OpenOptions, Prediction, TrainError,
    TrainOptions, Trained, train,
};
