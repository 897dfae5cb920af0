//! Named tensors and files: the checkpoints of a network, and what programs draw of its training.
//!
//! Read in this order: [`checkpoint`] (what a checkpoint is, how it is written and found again),
//! [`state`] (what it says besides the tensors), [`error`] (what can go wrong, and with which exit
//! code), [`lock`](mod@lock) (one trainer for each model directory), [`model_dir`] (where all of that
//! is), [`storage`] (every operation on a file system), [`events`] (TensorBoard's files). Private: `manifest` (the hashes), `tensors`
//! (the safetensors format, one parameter at a time), `files` (what is synced, hashed and bounded).
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod error;
pub mod events;
mod files;
pub mod lock;
mod manifest;
pub mod model_dir;
pub mod state;
pub mod storage;
mod tensors;

pub use checkpoint::{
    Checkpoint, Newest, list, load, load_newest, prune, remove, save, set_aside, state_of, sweep,
};
pub use error::{CheckpointError, ErrorKind};
pub use events::EventFile;
pub use lock::{LockGuard, lock};
pub use model_dir::ModelDir;
pub use state::{CheckpointState, FORMAT_VERSION, NetworkId};
pub use storage::{Disk, Entry, Lock, OutputFile, Storage};
pub use tensors::TensorSet;
