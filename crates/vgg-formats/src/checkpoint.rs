//! Checkpoints: complete or not at all, and every byte checked.
//!
//! ```text
//! MODEL_DIR/ckpt-000055000/
//!   weights.safetensors    the parameters
//!   optimizer.safetensors  momentum, absent when the recipe has none
//!   average.safetensors    a mean of the parameters, absent when the recipe has none
//!   state.json             network, step, seed, and what the trainer adds
//!   MANIFEST               the SHA-256 of each of these, and of itself; written last
//! ```
//! [`save`] writes them to `.tmp-ckpt-…`, syncs each file and the directory, renames the directory
//! and syncs its parent, so that a crash or a power cut at any moment leaves all checkpoints before
//! it. The newest checkpoint is the one with the largest step whose hashes verify, as far as its files
//! are wanted; no pointer file and no clock can say otherwise. Whoever deletes one renames it to
//! `.trash-ckpt-…` first, so that no half-deleted checkpoint bears a checkpoint's name; and one that
//! cannot be used is set aside as `damaged-ckpt-…`, which is kept for its owner and never looked at again.

use crate::error::{CheckpointError, ErrorKind};
use crate::files::{self, NewFile};
use crate::manifest::Manifest;
use crate::model_dir::ModelDir;
use crate::state::{CheckpointState, FORMAT_VERSION, NetworkId};
use crate::storage::Storage;
use crate::tensors::{self, TensorSet};
use serde::Deserialize;
use std::convert::Infallible;
use std::error::Error;
use std::path::{Path, PathBuf};
use vgg_arch::Network;

const STATE_FILE: &str = "state.json";
const TEMPORARY: &str = ".tmp-ckpt-";
const TRASH: &str = ".trash-ckpt-";
const DAMAGED: &str = "damaged-ckpt-";

/// Largest `state.json` that is read: room for what the trainer compares when it resumes, which is as long as
/// a configuration of 1 MiB and may gain a byte by each escape of JSON.
const LONGEST_STATE: u64 = 1 << 22;

/// A checkpoint of a known network, intact in what it was [loaded](load) for. Its tensors are still on disk;
/// [`Checkpoint::read`] fetches them.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The checkpoint's directory.
    pub path: PathBuf,
    /// What it says besides its tensors.
    pub state: CheckpointState,
    model_dir: ModelDir,
    network: Network,
    manifest: Manifest,
}

/// The newest checkpoint of a model directory that is intact in what it was [loaded](load_newest) for.
#[derive(Debug)]
pub struct Newest {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Newer ones that could not be used, newest first: warn of each, and say from which step the
    /// run goes on.
    pub skipped: Vec<(PathBuf, CheckpointError)>,
}

impl Checkpoint {
    /// Whether the checkpoint has `set`.
    pub fn has(&self, set: TensorSet) -> bool {
        self.manifest.hash_of(set.file_name()).is_some()
    }

    /// The network that the tensors belong to.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The SHA-256 of the file of a set; `None` when the checkpoint does not have it.
    pub fn hash(&self, set: TensorSet) -> Option<&str> {
        self.manifest.hash_of(set.file_name())
    }

    /// Hands every parameter's values to `take`, with the parameter's position in
    /// [`Network::parameters`], in the layout of [`vgg_arch::Parameter::shape`]. Memory for the
    /// largest parameter is all that it needs. The hash is checked again; after an error some
    /// parameters may have been taken and must not be used.
    ///
    /// # Errors
    /// [`CheckpointError::NoSet`]; damage or trouble with the file since it was loaded;
    /// whatever `take` returns, as [`CheckpointError::Values`].
    pub fn read<E: Error + Send + Sync + 'static>(
        &self,
        set: TensorSet,
        take: impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), CheckpointError> {
        let name = set.file_name();
        let hash = self
            .manifest
            .hash_of(name)
            .ok_or_else(|| CheckpointError::NoSet { path: self.path.clone(), set })?;
        tensors::read(self.model_dir.storage(), &self.path.join(name), &self.network.parameters(), hash, take)
    }
}

/// Saves a checkpoint of `network` in `model_dir`, which is created when it does not exist, and
/// gives the checkpoint's directory. `read` fills in the values of the parameter at a position in
/// [`Network::parameters`], in the layout of [`vgg_arch::Parameter::shape`]; it is called for
/// [`TensorSet::Weights`], which every checkpoint has, and for the other sets among `sets`. Equal input
/// gives equal bytes. A checkpoint of the same step is replaced, unless it is intact and equal.
///
/// # Errors
/// Values that are not finite; trouble with a file; whatever `read` returns, as
/// [`CheckpointError::Values`]; a `state` of another network. The checkpoints before are untouched.
pub fn save<E: Error + Send + Sync + 'static>(
    model_dir: &ModelDir,
    state: &CheckpointState,
    network: &Network,
    sets: &[TensorSet],
    read: impl FnMut(TensorSet, usize, &mut [f32]) -> Result<(), E>,
) -> Result<PathBuf, CheckpointError> {
    let (storage, path) = (model_dir.storage(), model_dir.path().join(directory_name(state.global_step)));
    check_network(&path, state, network)?;
    files::create_directories(storage, model_dir.path())?;
    let temporary = sibling(&path, TEMPORARY);
    files::create_empty_directory(storage, &temporary)?;
    let result = write_files(storage, &temporary, state, network, sets, read)
        .and_then(|()| put_in_place(storage, &temporary, &path));
    if result.is_err() {
        // The first error is the one to report; what stays behind is swept later.
        let _ = files::remove_if_there(storage, &temporary);
    }
    result.map(|()| path)
}

/// The checkpoints in `model_dir` with their steps, oldest first, intact or not. Names that
/// [`save`] would not choose are ignored; a directory that does not exist has no checkpoints.
///
/// # Errors
/// The directory cannot be read.
pub fn list(model_dir: &ModelDir) -> Result<Vec<(u64, PathBuf)>, CheckpointError> {
    let names = files::directories_in(model_dir.storage(), model_dir.path())?;
    let mut found: Vec<_> =
        names.iter().filter_map(|name| Some((step_of(name)?, model_dir.path().join(name)))).collect();
    found.sort();
    Ok(found)
}

/// Verifies every byte of the checkpoint `path` of `model_dir` but for the files of tensors that are not in
/// `sets`, which need not be looked at by who does not use them. Of `sets` those count that it has.
///
/// # Errors
/// [`CheckpointError::Damaged`], [`CheckpointError::OtherNetwork`] when it is not one of `network`,
/// [`CheckpointError::NewerFormat`], or trouble with reading.
pub fn load(
    model_dir: &ModelDir,
    path: &Path,
    network: &Network,
    sets: &[TensorSet],
) -> Result<Checkpoint, CheckpointError> {
    let manifest = Manifest::read(model_dir.storage(), path)?;
    let state = read_state(model_dir.storage(), path, &manifest)?;
    check_network(path, &state, network)?;
    let (model_dir, network) = (model_dir.clone(), network.clone());
    let checkpoint = Checkpoint { path: path.to_owned(), state, model_dir, network, manifest };
    if !checkpoint.has(TensorSet::Weights) {
        return Err(CheckpointError::damaged(path, "its manifest lists no weights.safetensors"));
    }
    let ignore = |_: usize, _: &[f32]| Ok::<(), Infallible>(());
    for &set in sets.iter().filter(|&&set| checkpoint.has(set)) {
        checkpoint.read(set, ignore)?;
    }
    Ok(checkpoint)
}

/// What the checkpoint `path` of `model_dir` says besides its tensors, which are not looked at.
///
/// # Errors
/// As [`load`], for the files that are read.
pub fn state_of(model_dir: &ModelDir, path: &Path) -> Result<CheckpointState, CheckpointError> {
    let manifest = Manifest::read(model_dir.storage(), path)?;
    read_state(model_dir.storage(), path, &manifest)
}

/// Loads the newest checkpoint in `model_dir` that is intact as far as [`load`] looks for `sets`, or `None` when
/// there are no checkpoints. Damaged and unreadable ones are passed over and reported in [`Newest::skipped`].
///
/// # Errors
/// [`CheckpointError::NoneIntact`] when there are checkpoints and all are damaged, or
/// [`CheckpointError::Read`] when one of them cannot be read and may be intact: a run must never
/// start anew in silence. An intact checkpoint of another network or of a later format is not
/// damage, so it ends the search as well.
pub fn load_newest(
    model_dir: &ModelDir,
    network: &Network,
    sets: &[TensorSet],
) -> Result<Option<Newest>, CheckpointError> {
    let mut skipped = Vec::new();
    for (_, path) in list(model_dir)?.into_iter().rev() {
        match load(model_dir, &path, network, sets) {
            Ok(checkpoint) => return Ok(Some(Newest { checkpoint, skipped })),
            Err(error @ (CheckpointError::Damaged { .. } | CheckpointError::Read { .. })) => {
                skipped.push((path, error));
            }
            Err(error) => return Err(error),
        }
    }
    // What cannot be read now may be intact.
    if let Some(at) = skipped.iter().position(|(_, error)| error.kind() == ErrorKind::Io) {
        return Err(skipped.swap_remove(at).1);
    }
    let count = skipped.len();
    match skipped.into_iter().next() {
        None => Ok(None),
        Some((_, newest)) => {
            let (model_dir, newest) = (model_dir.path().to_owned(), Box::new(newest));
            Err(CheckpointError::NoneIntact { model_dir, count, newest })
        }
    }
}

/// Deletes all but the newest `keep` checkpoints (at least one) and that of step `spared`, and gives the
/// directories that are gone. Call it while holding the [lock](crate::lock()).
///
/// # Errors
/// The newest does not verify, then nothing is deleted; trouble with renaming or removing.
pub fn prune(
    model_dir: &ModelDir,
    keep: usize,
    spared: Option<u64>,
) -> Result<Vec<PathBuf>, CheckpointError> {
    let (storage, mut surplus) = (model_dir.storage(), list(model_dir)?);
    let newest = surplus.last().map(|(_, path)| path.clone());
    surplus.truncate(surplus.len().saturating_sub(keep.max(1)));
    surplus.retain(|(step, _)| Some(*step) != spared);
    if surplus.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(newest) = newest {
        Manifest::read(storage, &newest)?.check_files(storage, &newest)?;
    }
    surplus.into_iter().map(|(_, path)| discard(storage, &path).map(|()| path)).collect()
}

/// Takes the checkpoint `path` of `model_dir`, which cannot be used, out of the way: it is renamed to
/// `damaged-ckpt-…` and its new path returned. From then on it is neither listed nor counted nor
/// deleted. Call it while holding the [lock](crate::lock()).
///
/// # Errors
/// Trouble with renaming.
pub fn set_aside(model_dir: &ModelDir, path: &Path) -> Result<PathBuf, CheckpointError> {
    let (mut aside, mut number) = (sibling(path, DAMAGED), 1_u64);
    while model_dir.entry(&aside).is_some() {
        number += 1;
        aside = sibling(path, &format!("damaged-{number}-ckpt-"));
    }
    files::rename_directory(model_dir.storage(), path, &aside)?;
    Ok(aside)
}

/// Deletes the checkpoint of `step` if there is one. Call it while holding the
/// [lock](crate::lock()).
///
/// # Errors
/// Trouble with renaming or removing.
pub fn remove(model_dir: &ModelDir, step: u64) -> Result<(), CheckpointError> {
    let path = model_dir.path().join(directory_name(step));
    match files::entry(model_dir.storage(), &path)? {
        None => Ok(()),
        Some(_) => discard(model_dir.storage(), &path),
    }
}

/// Removes what interrupted calls of [`save`] and [`prune`] left in `model_dir`. Call it while
/// holding the [lock](crate::lock()): it would also remove a checkpoint that is being written.
///
/// # Errors
/// Trouble with reading the directory or removing.
pub fn sweep(model_dir: &ModelDir) -> Result<(), CheckpointError> {
    let names = files::directories_in(model_dir.storage(), model_dir.path())?;
    let mut leftovers =
        names.iter().filter(|name| [TEMPORARY, TRASH].iter().any(|prefix| name.starts_with(prefix)));
    leftovers.try_for_each(|name| files::remove_directory(model_dir.storage(), &model_dir.path().join(name)))
}

/// Fills the directory `temporary` with a checkpoint.
fn write_files<E: Error + Send + Sync + 'static>(
    storage: &dyn Storage,
    temporary: &Path,
    state: &CheckpointState,
    network: &Network,
    sets: &[TensorSet],
    mut read: impl FnMut(TensorSet, usize, &mut [f32]) -> Result<(), E>,
) -> Result<(), CheckpointError> {
    let parameters = network.parameters();
    let mut manifest = Manifest::default();
    manifest.push(STATE_FILE, write_state(storage, &temporary.join(STATE_FILE), state)?);
    for set in TensorSet::ALL.into_iter().filter(|set| *set == TensorSet::Weights || sets.contains(set)) {
        let hash = tensors::write(storage, temporary, set, &parameters, |position, values| {
            read(set, position, values)
        })?;
        manifest.push(set.file_name(), hash);
    }
    manifest.write(storage, temporary)?;
    files::sync_directory(storage, temporary)
}

/// Gives a complete checkpoint its name. One that is there already comes from a run that went on
/// from an older checkpoint, mostly because this one is damaged; when it is intact and equal it is
/// left alone, as replacing it would put it at risk for nothing.
fn put_in_place(storage: &dyn Storage, temporary: &Path, path: &Path) -> Result<(), CheckpointError> {
    if files::entry(storage, path)?.is_some() {
        let equal = Manifest::read(storage, path).is_ok_and(|old| {
            Manifest::read(storage, temporary).is_ok_and(|new| new == old)
                && old.check_files(storage, path).is_ok()
        });
        if equal {
            files::remove_directory(storage, temporary)?;
            // The name may be there and not be durable, when syncing it is what failed before.
            return files::sync_parent(storage, path);
        }
        discard(storage, path)?;
    }
    files::rename_directory(storage, temporary, path)
}

/// Takes a checkpoint's name away in one step, then deletes it.
fn discard(storage: &dyn Storage, path: &Path) -> Result<(), CheckpointError> {
    let trash = sibling(path, TRASH);
    files::remove_if_there(storage, &trash)?;
    files::rename_directory(storage, path, &trash)?;
    files::remove_directory(storage, &trash)
}

fn write_state(
    storage: &dyn Storage,
    path: &Path,
    state: &CheckpointState,
) -> Result<String, CheckpointError> {
    let mut json = serde_json::to_vec_pretty(state)
        .map_err(|error| CheckpointError::Write { path: path.to_owned(), source: error.into() })?;
    json.push(b'\n');
    let mut file = NewFile::create(storage, path)?;
    file.write(&json)?;
    file.finish()
}

/// Reads `state.json` of the checkpoint `directory`, and checks its hash, version and step.
fn read_state(
    storage: &dyn Storage,
    directory: &Path,
    manifest: &Manifest,
) -> Result<CheckpointState, CheckpointError> {
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }
    let path = directory.join(STATE_FILE);
    let damaged = |cause: String| CheckpointError::damaged(&path, cause);
    let hash = manifest.hash_of(STATE_FILE).ok_or_else(|| damaged("the manifest does not list it".into()))?;
    let json = files::read_small(storage, &path, LONGEST_STATE)?;
    files::check_hash(&path, &files::hash(&json), hash)?;
    let invalid = |error: serde_json::Error| damaged(format!("it is not a checkpoint's state: {error}"));
    let version: Version = serde_json::from_slice(&json).map_err(invalid)?;
    if version.format_version > FORMAT_VERSION {
        let (found, supported) = (version.format_version, FORMAT_VERSION);
        return Err(CheckpointError::NewerFormat { path, found, supported });
    }
    let state: CheckpointState = serde_json::from_slice(&json).map_err(invalid)?;
    // A directory that was renamed by hand must not make an old checkpoint the newest.
    let named = directory.file_name().and_then(|name| step_of(name.to_str()?));
    if named.is_some_and(|step| step != state.global_step) {
        return Err(damaged(format!("it is of step {}, unlike the directory's name", state.global_step)));
    }
    Ok(state)
}

fn check_network(path: &Path, state: &CheckpointState, network: &Network) -> Result<(), CheckpointError> {
    let expected = NetworkId::of(network);
    if state.network == expected {
        return Ok(());
    }
    let (found, expected) = (Box::new(state.network.clone()), Box::new(expected));
    Err(CheckpointError::OtherNetwork { path: path.to_owned(), found, expected })
}

fn directory_name(step: u64) -> String {
    format!("ckpt-{step:09}")
}

/// The step of a checkpoint from its directory's name; `None` for every name that
/// [`directory_name`] does not give.
fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix("ckpt-")?.parse().ok()?;
    (directory_name(step) == name).then_some(step)
}

/// The directory beside the checkpoint `path` that has its name with `prefix` in place of `ckpt-`.
fn sibling(path: &Path, prefix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{prefix}{}", name.strip_prefix("ckpt-").unwrap_or(&name)))
}
