//! Where pictures come from: a data set with its three splits, single picture files, and the
//! loader that hands out shuffled batches.
//!
//! Read in this order: [`dataset`] (pictures with labels, and the splits), [`source`] (which data
//! sets can be opened), [`options`] (how), [`idx`] (IDX files), [`loader`]
//! (batches in the order of an epoch's permutation), [`augment`] (their pictures changed a little),
//! [`mod@prefetch`] (the next batch made on a thread of its own), [`mod@shift`] (pictures moved),
//! [`picture`] (PNG and JPEG files), [`ascii`] (a picture in the terminal), [`stats`]
//! (what a data set looks like in numbers), [`mod@check`] (what spoils training). Private: `files` (what
//! is at a path), and a reader for each kind: `idx_folder`, `cifar` with `tar`, `picture_folder` with
//! `resize` and `jpeg` (what a JPEG file's header says); `known` and `download` (data sets from the
//! network).
//!
//! Pixels are bytes everywhere in this crate, rows first and channels last: `[picture][y][x][channel]`.
#![forbid(unsafe_code)]

pub mod ascii;
pub mod augment;
pub mod check;
mod cifar;
pub mod dataset;
mod download;
mod error;
mod files;
pub mod idx;
mod idx_folder;
mod jpeg;
mod known;
mod listing;
pub mod loader;
mod memory;
mod mnist;
mod names;
pub mod options;
pub mod picture;
mod picture_folder;
pub mod prefetch;
mod resize;
pub mod shift;
pub mod source;
pub mod stats;
mod tar;

pub use augment::{Augmentation, Augmenter};
pub use dataset::{Dataset, Split, Splits};
pub use error::{DataError, ErrorKind};
pub use loader::{Batch, Loader, batches};
pub use options::{DataOptions, Loading, Progress, SeededSplit, Unit};
pub use picture::{png, read_picture, read_picture_from, write_png};
pub use prefetch::{Prefetched, TrainingBatch, prefetch};
pub use source::{Source, open};
