//! Tensors in the safetensors format, one parameter at a time: a length (8 bytes, little endian),
//! a JSON header of that length with name, type, shape and position of every tensor, the values.
//!
//! There is no `__metadata__`, whose order would differ from run to run, and the tensors lie in the
//! order of the parameter table: the bytes are a function of the values alone.

use crate::error::CheckpointError;
use crate::files::{NewFile, OldFile};
use crate::storage::Storage;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::error::Error;
use std::path::Path;
use vgg_arch::Parameter;

/// The header of VGG19 has 3 KB; a longer one than this is not ours.
const LONGEST_HEADER: u64 = 1 << 20;

/// Values that are converted between memory and file at a time.
const PIECE: usize = 1 << 14;

/// The sets of tensors in a checkpoint. Each has one tensor for every parameter of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorSet {
    /// The parameters themselves, in `weights.safetensors`.
    Weights,
    /// The optimizer's momentum, in `optimizer.safetensors`.
    Momentum,
    /// A mean of the parameters over the steps of training, in `average.safetensors`.
    Average,
}

impl TensorSet {
    /// All sets, in the order in which a checkpoint lists them.
    pub const ALL: [Self; 3] = [Self::Weights, Self::Momentum, Self::Average];

    /// Name of the file that holds the set.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Weights => "weights.safetensors",
            Self::Momentum => "optimizer.safetensors",
            Self::Average => "average.safetensors",
        }
    }
}

/// Writes one tensor for each of `parameters` to the file of `set`, new in `directory`; `read`
/// fills in the values of the parameter at a position. Gives the SHA-256 of the file.
pub(crate) fn write<E: Error + Send + Sync + 'static>(
    storage: &dyn Storage,
    directory: &Path,
    set: TensorSet,
    parameters: &[Parameter],
    mut read: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
) -> Result<String, CheckpointError> {
    let path = &directory.join(set.file_name());
    let mut file = NewFile::create(storage, path)?;
    let header = header(path, parameters)?;
    file.write(&(header.len() as u64).to_le_bytes())?;
    file.write(&header)?;
    let mut values = Vec::new();
    let mut bytes = Vec::with_capacity(4 * PIECE);
    for (position, parameter) in parameters.iter().enumerate() {
        values.clear();
        values.resize(parameter.len(), 0.0);
        read(position, &mut values).map_err(|source| values_error(path, parameter, source))?;
        if let Some(position) = values.iter().position(|value| !value.is_finite()) {
            let (parameter, value) = (parameter.name.clone(), values[position]);
            return Err(CheckpointError::NonFinite { set, parameter, position, value });
        }
        for piece in values.chunks(PIECE) {
            bytes.clear();
            bytes.extend(piece.iter().flat_map(|value| value.to_le_bytes()));
            file.write(&bytes)?;
        }
    }
    file.finish()
}

/// Reads `path`, checks that it holds exactly `parameters` and has the SHA-256 `hash`, and hands
/// the values of each parameter to `take` with its position. The hash is known only after the last
/// value: on an error forget what was taken.
pub(crate) fn read<E: Error + Send + Sync + 'static>(
    storage: &dyn Storage,
    path: &Path,
    parameters: &[Parameter],
    hash: &str,
    mut take: impl FnMut(usize, &[f32]) -> Result<(), E>,
) -> Result<(), CheckpointError> {
    let mut file = OldFile::open(storage, path)?;
    let order = read_header(path, &mut file, parameters)?;
    let mut values = Vec::new();
    let mut bytes = vec![0; 4 * PIECE];
    for position in order {
        let parameter = &parameters[position];
        values.clear();
        values.reserve(parameter.len());
        while values.len() < parameter.len() {
            let piece = &mut bytes[..4 * PIECE.min(parameter.len() - values.len())];
            file.read(piece)?;
            values.extend(piece.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)));
        }
        if let Some(position) = values.iter().position(|value| !value.is_finite()) {
            let cause = format!("value {position} of {} is {}", parameter.name, values[position]);
            return Err(CheckpointError::damaged(path, cause));
        }
        take(position, &values).map_err(|source| values_error(path, parameter, source))?;
    }
    file.finish(hash)
}

/// The header for `parameters`, padded with spaces so that the values are aligned to 8 bytes.
fn header(path: &Path, parameters: &[Parameter]) -> Result<Vec<u8>, CheckpointError> {
    let tensors = parameters.iter().map(|parameter| {
        let data_offsets = (4 * parameter.offset, 4 * (parameter.offset + parameter.len()));
        let info = TensorInfo { dtype: Dtype::F32, shape: parameter.shape.clone(), data_offsets };
        (parameter.name.clone(), info)
    });
    let invalid = |source: Box<dyn Error + Send + Sync>| CheckpointError::Values {
        path: path.to_owned(),
        parameter: "the parameter table".to_owned(),
        source,
    };
    let metadata = Metadata::new(None, tensors.collect()).map_err(|error| invalid(error.into()))?;
    let mut header = serde_json::to_vec(&metadata).map_err(|error| invalid(error.into()))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

/// Reads and checks the header; gives the positions of `parameters` in the order of the file.
fn read_header(
    path: &Path,
    file: &mut OldFile,
    parameters: &[Parameter],
) -> Result<Vec<usize>, CheckpointError> {
    let damaged = |cause: String| CheckpointError::damaged(path, cause);
    let mut length = [0; 8];
    file.read(&mut length)?;
    let length = u64::from_le_bytes(length);
    // Before any memory is taken for it: the header must be short and lie in the file.
    if length > LONGEST_HEADER || length > file.length().saturating_sub(8) {
        let found = file.length();
        return Err(damaged(format!("its header claims {length} bytes in a file of {found}")));
    }
    let data = 4 * parameters.iter().map(|parameter| parameter.len() as u64).sum::<u64>();
    let expected = 8 + length + data;
    if file.length() != expected {
        return Err(damaged(format!("expected {expected} bytes, found {}", file.length())));
    }
    let mut header = vec![0; length as usize];
    file.read(&mut header)?;
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|error| damaged(format!("its header is invalid: {error}")))?;
    file_order(&metadata, parameters).map_err(damaged)
}

/// The positions of `parameters` in the order in which `metadata` has them, when both hold the same
/// tensors; the difference otherwise.
fn file_order(metadata: &Metadata, parameters: &[Parameter]) -> Result<Vec<usize>, String> {
    for parameter in parameters {
        let (name, shape) = (&parameter.name, &parameter.shape);
        match metadata.info(name) {
            Some(info) if info.dtype == Dtype::F32 && info.shape == *shape => {}
            Some(info) => {
                let (found, dtype) = (&info.shape, info.dtype);
                return Err(format!("expected {name} as F32 {shape:?}, found {dtype} {found:?}"));
            }
            None => return Err(format!("expected a tensor {name}, found none")),
        }
    }
    let position = |name: &String| {
        parameters
            .iter()
            .position(|parameter| parameter.name == *name)
            .ok_or_else(|| format!("found a tensor {name} that the network does not have"))
    };
    metadata.offset_keys().iter().map(position).collect()
}

fn values_error(
    path: &Path,
    parameter: &Parameter,
    source: impl Error + Send + Sync + 'static,
) -> CheckpointError {
    let (path, parameter) = (path.to_owned(), parameter.name.clone());
    CheckpointError::Values { path, parameter, source: Box::new(source) }
}
