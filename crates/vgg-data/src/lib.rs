//! Where pictures come from: a data set with its three splits, single picture files, and the
//! loader that hands out shuffled batches.
//!
//! Read in this order: [`dataset`] (pictures with labels, and the splits), [`source`] (which data
//! sets can be opened), [`idx`] (the files of a data folder), [`loader`]
//! (batches in the order of an epoch's permutation), [`augment`] (their pictures changed a little),
//! [`mod@prefetch`] (the next batch made on a thread of its own), [`mod@shift`] (pictures moved), [`picture`] (PNG and JPEG files), [`ascii`] (a picture in the terminal), [`stats`]
//! (what a data set looks like in numbers). Private: `resize` and `jpeg` (what a JPEG file's header
//! says), for picture files.
//!
//! Pixels are bytes everywhere in this crate, rows first and channels last: `[picture][y][x][channel]`.
#![forbid(unsafe_code)]

pub mod ascii;
pub mod augment;
pub mod dataset;
mod error;
mod folder;
pub mod idx;
mod jpeg;
pub mod loader;
mod mnist;
pub mod options;
pub mod picture;
pub mod prefetch;
mod resize;
pub mod shift;
pub mod source;
pub mod stats;

pub use augment::{Augmentation, Augmenter};
pub use dataset::{Dataset, Split, Splits};
pub use error::{DataError, ErrorKind};
pub use loader::{Batch, Loader, batches};
pub use options::{DataOptions, Loading, Progress, SeededSplit, Unit};
pub use picture::{png, read_picture, read_picture_from, write_png};
pub use prefetch::{Prefetched, TrainingBatch, prefetch};
pub use source::{Source, open};
