//! A folder of pictures: one folder for each class, PNG and JPEG files in it.
//!
//! ```text
//! train/CLASS/*.png    optional: val/CLASS/*.png    test/CLASS/*.png
//! CLASS/*.png          the same without train, val and test
//! ```
//!
//! `training`, `valid`, `validation` and `testing` mean the same, in small letters or capitals; another folder
//! beside `train` is left out with a note.
//!
//! Classes are in the order of the bytes of their names, the pictures of a class in that of theirs. Hidden
//! files are left out; so are, with a note, files with other endings than `.png`, `.jpg` and `.jpeg`, and
//! folders within classes. What has no folder for validation or test gets them from the training
//! pictures, by [`SeededSplit`].
//!
//! Pictures are grey when the headers of all say so, else colour, unless the user says. They have the size that
//! is wanted; by default their own when it is the same for all and at most [`LARGEST_SIDE`] on a side,
//! else [`USUAL_SIZE`].

mod plan;
mod read;

pub(crate) use plan::{Plan, is_one};
pub(crate) use read::open;

#[cfg(doc)]
use crate::SeededSplit;

/// Pictures of one size that are larger than this on a side are brought to [`USUAL_SIZE`]: few people can
/// wait for a network that looks at larger ones.
pub(crate) const LARGEST_SIDE: usize = 256;

/// Height and width that pictures are brought to when neither they nor the user say.
pub(crate) const USUAL_SIZE: [usize; 2] = [64, 64];
