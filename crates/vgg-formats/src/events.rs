//! TensorBoard's event files: what a run measured, for programs that draw it.
//!
//! A file is a sequence of records ([`record`]), each of which is one message `Event` of protocol buffers
//! ([`Event`]). Values are written in the form of TensorFlow 1 (`simple_value`, `image`), which TensorBoard
//! of every version reads. [`EventFile`] is such a file in a model directory, by the name and in the place
//! where TensorBoard looks for it.

mod file;
mod message;
mod record;

pub use file::{EventFile, has_event_files, remove_event_files};
pub use message::{Event, Picture, What};
pub use record::record;
