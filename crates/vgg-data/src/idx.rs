//! IDX files, the format in which MNIST is published: a magic number of four bytes (0, 0, the type
//! of the values, the number of dimensions), each dimension as a 32-bit big-endian number, then the
//! values. Only unsigned bytes are read. The file may be packed with gzip, whatever its name.
//!
//! Nothing in the header is believed before it is checked: no memory is taken on its word, and a
//! packed file is unpacked no further than the size it declares.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind as IoErrorKind, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::error::DataError;

/// What the values of an IDX file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Unsigned bytes.
    Bytes,
    /// Signed integers of four bytes, the most significant first.
    Integers,
}

impl Kind {
    /// How the header names it.
    fn code(self) -> u8 {
        match self {
            Self::Bytes => 0x08,
            Self::Integers => 0x0c,
        }
    }

    /// Bytes of a value.
    fn size(self) -> u64 {
        match self {
            Self::Bytes => 1,
            Self::Integers => 4,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Bytes => "unsigned bytes",
            Self::Integers => "integers of 4 bytes",
        }
    }
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Deflate packs at most 258 bytes into two bits (a length and a distance of one bit each).
const MOST_GZIP_EXPANSION: u64 = 1032;

/// Bytes that packed files may take together, unpacked, beyond [`USUAL_EXPANSION`] times their own
/// size. A small file must not fill the memory; a large data set can be unpacked on disk.
pub(crate) const MOST_UNPACKED: u64 = 48 << 20;

/// Pictures of digits and letters unpack to some five times the size of their files.
pub(crate) const USUAL_EXPANSION: u64 = 8;

/// A label is kept as read for a while, and once more in 4 bytes.
const BYTES_PER_LABEL: u64 = 6;

const MAKE_AGAIN: &str = "fetch or make the file again";

/// The content of an IDX file of unsigned bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    /// The size of each dimension, none of them 0, outermost first.
    pub dimensions: Vec<usize>,
    /// The values, last dimension fastest; as many as the product of the dimensions.
    pub values: Vec<u8>,
}

/// Reads the IDX file at `path`, plain or gzip, which must hold unsigned bytes in `rank`
/// dimensions: 3 for pictures (count, height, width), 1 for labels.
///
/// # Errors
/// [`ErrorKind::Unreadable`](crate::ErrorKind::Unreadable) when the file is missing or cannot be
/// read; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when it is not such a file, or is
/// truncated, damaged, or longer than its header says, or packed and very large.
pub fn read_idx(path: &Path, rank: u8) -> Result<Idx, DataError> {
    read_idx_within(path, Kind::Bytes, rank, &mut MOST_UNPACKED.clone())
}

/// The same for one of several files, whose values may be of another kind: then [`Idx::values`] has all
/// bytes of each. `allowance` is what is left of [`MOST_UNPACKED`].
pub(crate) fn read_idx_within(
    path: &Path,
    kind: Kind,
    rank: u8,
    allowance: &mut u64,
) -> Result<Idx, DataError> {
    let unreadable = |error: std::io::Error| {
        DataError::unreadable(path, error.to_string(), "check the path and its permissions")
    };
    // Asked before opening, which would wait for ever at a named pipe.
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(DataError::unreadable(path, "is not a file", "give an IDX file"));
    }
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(unreadable)?);
    if reader.fill_buf().map_err(unreadable)?.starts_with(&GZIP_MAGIC) {
        let length = Length::Packed { file: metadata.len(), allowance };
        parse(path, kind, rank, MultiGzDecoder::new(reader), length)
    } else {
        parse(path, kind, rank, reader, Length::Exactly(metadata.len()))
    }
}

/// What is known about the length of a stream before it is read.
enum Length<'a> {
    /// The bytes of a plain file.
    Exactly(u64),
    /// The bytes of the packed file, and what unpacked ones may take beyond that.
    Packed { file: u64, allowance: &'a mut u64 },
}

fn parse(
    path: &Path,
    kind: Kind,
    rank: u8,
    mut reader: impl Read,
    length: Length<'_>,
) -> Result<Idx, DataError> {
    let dimensions = read_header(path, kind, rank, &mut reader)?;
    let header = 4 + 4 * u64::from(rank);
    let values = declared_values(path, &dimensions)?;
    let declared = values.saturating_mul(kind.size());
    let sizes = dimensions.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
    let wrong_length = |found: String| {
        let [declares, holds] = match kind {
            Kind::Bytes => ["values", ""],
            Kind::Integers => ["values of 4 bytes", " bytes of them"],
        };
        let cause =
            format!("the header declares {sizes} = {values} {declares}, but the file holds {found}{holds}");
        DataError::invalid(path.display(), cause, MAKE_AGAIN)
    };

    match length {
        Length::Exactly(bytes) => {
            if bytes.checked_sub(header) != Some(declared) {
                return Err(wrong_length(bytes.saturating_sub(header).to_string()));
            }
        }
        Length::Packed { file, allowance } => {
            let most = file.saturating_mul(MOST_GZIP_EXPANSION);
            if most < declared {
                return Err(wrong_length(format!("at most {most}")));
            }
            take_allowance(path, rank, declared, file, allowance)?;
        }
    }
    // In one piece: a vector that grows would have its content twice while it moves.
    let mut values = Vec::new();
    values.try_reserve_exact(declared as usize + 1).map_err(|_| {
        let cause = format!("holds {declared} bytes of data, more than there is memory for");
        DataError::invalid(path.display(), cause, "give a smaller file, or use a larger machine")
    })?;
    // One byte more, to see that there is none; at its end a gzip stream checks its checksum.
    reader.take(declared + 1).read_to_end(&mut values).map_err(|error| read_failed(path, &error))?;
    match values.len() as u64 {
        found if found > declared => Err(wrong_length("more".into())),
        found if found < declared => Err(wrong_length(found.to_string())),
        _ => Ok(Idx { dimensions, values }),
    }
}

/// Takes what `declared` values of a packed file need from the allowance, or refuses them.
fn take_allowance(
    path: &Path,
    rank: u8,
    declared: u64,
    file: u64,
    allowance: &mut u64,
) -> Result<(), DataError> {
    let bytes = declared.saturating_mul(if rank == 1 { BYTES_PER_LABEL } else { 1 });
    let usual = file.saturating_mul(USUAL_EXPANSION);
    let Some(left) = allowance.checked_sub(bytes.saturating_sub(usual)) else {
        let cause = format!(
            "the header declares {declared} bytes, expected at most {} MB more than {USUAL_EXPANSION} times the \
             size of the packed files",
            MOST_UNPACKED >> 20
        );
        return Err(DataError::invalid(path.display(), cause, "unpack it with gunzip"));
    };
    *allowance = left;
    Ok(())
}

/// Reads and checks magic number and dimensions.
fn read_header(path: &Path, kind: Kind, rank: u8, reader: &mut impl Read) -> Result<Vec<usize>, DataError> {
    let length = 4 + 4 * usize::from(rank);
    let mut header = Vec::new();
    reader.take(length as u64).read_to_end(&mut header).map_err(|error| read_failed(path, &error))?;
    let magic = header.first_chunk::<4>();
    if let Some(magic) = magic.filter(|&&magic| magic != [0, 0, kind.code(), rank]) {
        return Err(wrong_magic(path, kind, rank, *magic));
    }
    if header.len() < length {
        let cause = format!("ends after {} bytes, expected an IDX header of {length} bytes", header.len());
        return Err(DataError::invalid(path.display(), cause, MAKE_AGAIN));
    }
    let words = header[4..].chunks_exact(4);
    // A 32-bit number fits `usize` wherever this program can hold a data set.
    Ok(words.map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]) as usize).collect())
}

fn wrong_magic(path: &Path, kind: Kind, rank: u8, magic: [u8; 4]) -> DataError {
    let hexadecimal = |bytes: [u8; 4]| bytes.map(|byte| format!("{byte:02x}")).join(" ");
    let reason = match magic {
        [0, 0, code, found] if code == kind.code() => format!("an IDX file with {found} dimensions"),
        [0, 0, 0x08 | 0x09 | 0x0b..=0x0e, _] => format!("an IDX file whose values are not {}", kind.name()),
        _ => "no IDX file".into(),
    };
    let cause = format!(
        "starts with the bytes {}: {reason}; expected {} ({}, dimensions: {rank})",
        hexadecimal(magic),
        hexadecimal([0, 0, kind.code(), rank]),
        kind.name()
    );
    let advice = match rank {
        2 => "give a label file (idx2-int)",
        1 => "give a label file (idx1-ubyte)",
        _ => "give a picture file (idx3-ubyte)",
    };
    DataError::invalid(path.display(), cause, advice)
}

/// The product of the dimensions, of which none may be 0.
fn declared_values(path: &Path, dimensions: &[usize]) -> Result<u64, DataError> {
    let invalid = |cause: String| DataError::invalid(path.display(), cause, MAKE_AGAIN);
    if dimensions.contains(&0) {
        return Err(invalid(format!("the header declares the sizes {dimensions:?}, expected all above 0")));
    }
    dimensions
        .iter()
        .try_fold(1_u64, |product, &size| product.checked_mul(size as u64))
        .filter(|&product| product < isize::MAX as u64)
        .ok_or_else(|| {
            invalid(format!("the header declares the sizes {dimensions:?}, more than a computer can hold"))
        })
}

/// An error while reading: the decoder's complaints are about the data, all others about the device.
fn read_failed(path: &Path, error: &std::io::Error) -> DataError {
    match error.kind() {
        IoErrorKind::UnexpectedEof => {
            DataError::invalid(path.display(), "the gzip data end too early (truncated file)", MAKE_AGAIN)
        }
        IoErrorKind::InvalidData | IoErrorKind::InvalidInput => {
            DataError::invalid(path.display(), format!("the gzip data are damaged ({error})"), MAKE_AGAIN)
        }
        _ => DataError::unreadable(path, error.to_string(), "check the disk, or copy the file anew"),
    }
}
