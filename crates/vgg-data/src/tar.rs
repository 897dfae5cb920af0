//! Reading files out of a packed archive, in the order in which they lie in it.
//!
//! An archive (POSIX.1-1988, "ustar") is a row of entries: a header of 512 bytes with the name, the size
//! in octal digits and a sum of all bytes of the header, then the content, filled up to 512 bytes. Two
//! headers of zeros are its end.

use std::io::{ErrorKind as IoErrorKind, Read};
use std::path::Path;

use crate::error::DataError;

const BLOCK: usize = 512;
const NAME: std::ops::Range<usize> = 0..100;
const SIZE: std::ops::Range<usize> = 124..136;
const SUM: std::ops::Range<usize> = 148..156;
const KIND: usize = 156;
/// What may follow the end: archives are filled up to some tens of blocks.
const MOST_BEHIND: u64 = 1 << 20;

/// An archive that is being read.
pub(crate) struct Archive<'a, R> {
    path: &'a Path,
    reader: R,
    /// Bytes up to the next header.
    rest: u64,
    /// Bytes that may come yet, with those that are passed over: they must be unpacked, too.
    allowance: u64,
}

/// A file in an archive.
pub(crate) struct Entry {
    name: String,
    /// Bytes of its content.
    pub(crate) size: u64,
}

impl Entry {
    /// The name without the folders that it is in.
    pub(crate) fn base_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }
}

impl<'a, R: Read> Archive<'a, R> {
    /// An archive of at most `most` bytes.
    pub(crate) fn new(path: &'a Path, reader: R, most: u64) -> Self {
        Self { path, reader, rest: 0, allowance: most }
    }

    /// The next file; folders and the like are passed over.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, DataError> {
        loop {
            let skipped = std::io::copy(&mut self.reader.by_ref().take(self.rest), &mut std::io::sink());
            if skipped.map_err(|error| self.failed(&error))? < self.rest {
                return Err(self.invalid("the archive ends too early (truncated file)"));
            }
            let mut header = [0; BLOCK];
            self.reader.read_exact(&mut header).map_err(|error| self.failed(&error))?;
            if header == [0; BLOCK] {
                return Ok(None);
            }
            let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum();
            // The sum counts its own place as spaces.
            let own: u64 = header[SUM].iter().map(|&byte| u64::from(byte)).sum();
            if octal(&header[SUM]) != Some(sum - own + SUM.len() as u64 * u64::from(b' ')) {
                return Err(self.invalid("a header in the archive is damaged"));
            }
            let size =
                octal(&header[SIZE]).ok_or_else(|| self.invalid("a size in the archive is no number"))?;
            // Of twelve octal digits this cannot overflow.
            self.rest = size.next_multiple_of(BLOCK as u64);
            self.allowance = self
                .allowance
                .checked_sub(self.rest + BLOCK as u64)
                .ok_or_else(|| self.invalid("what is packed is much larger than the archive"))?;
            if matches!(header[KIND], 0 | b'0') {
                let name = header[NAME].split(|&byte| byte == 0).next().unwrap_or_default();
                return Ok(Some(Entry { name: String::from_utf8_lossy(name).into_owned(), size }));
            }
        }
    }

    /// Reads what is behind the last entry, so that a packed file's own checksum, at its end, is compared.
    pub(crate) fn finish(&mut self) -> Result<(), DataError> {
        let behind = std::io::copy(&mut self.reader.by_ref().take(MOST_BEHIND), &mut std::io::sink());
        match behind.map_err(|error| self.failed(&error))? {
            MOST_BEHIND => Err(self.invalid("there is more behind the end of the archive than zeros")),
            _ => Ok(()),
        }
    }

    /// The content of the entry that came last.
    pub(crate) fn read_content(&mut self, entry: &Entry) -> Result<Vec<u8>, DataError> {
        let mut content = Vec::new();
        let read = self.reader.by_ref().take(entry.size).read_to_end(&mut content);
        read.map_err(|error| self.failed(&error))?;
        if (content.len() as u64) < entry.size {
            return Err(self.invalid("the archive ends too early (truncated file)"));
        }
        self.rest -= entry.size;
        Ok(content)
    }

    fn failed(&self, error: &std::io::Error) -> DataError {
        match error.kind() {
            IoErrorKind::UnexpectedEof => self.invalid("the archive ends too early (truncated file)"),
            IoErrorKind::InvalidData | IoErrorKind::InvalidInput => {
                self.invalid(&format!("the packed data are damaged ({error})"))
            }
            _ => DataError::unreadable(self.path, error.to_string(), "check the disk, or copy the file anew"),
        }
    }

    fn invalid(&self, cause: &str) -> DataError {
        DataError::invalid(self.path.display(), cause, "fetch the file again")
    }
}

/// Octal digits between spaces, up to a zero byte. Eleven digits fit easily.
fn octal(field: &[u8]) -> Option<u64> {
    let field = field.split(|&byte| byte == 0).next()?;
    let digits = std::str::from_utf8(field).ok()?.trim_matches(' ');
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    is_number.then(|| u64::from_str_radix(digits, 8).ok())?
}
