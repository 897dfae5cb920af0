//! The file system, as far as the files of a run need it.
//!
//! Everything that a run writes goes through [`Storage`]. [`Disk`] is the machine's own file
//! system; tests put one in its place whose power can be cut, or whose every operation can fail.

use std::ffi::OsString;
use std::fmt::Debug;
use std::fs::{self, File, FileType, Metadata, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::Path;

/// What is at a path, symbolic links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A directory.
    Directory,
    /// A regular file of so many bytes.
    File(u64),
    /// Something else: a pipe, a device.
    Other,
}

/// A file that is being written.
pub trait OutputFile: Write + Send {
    /// Makes what has been written survive a power cut. The file's name is the directory's matter.
    ///
    /// # Errors
    /// The system's reason. What was written before is then lost, whatever a later call says.
    fn sync(&mut self) -> io::Result<()>;
}

/// The right to write in a model directory, for as long as the value lives.
pub trait Lock: Debug + Send {
    /// Replaces the content of the lock's file.
    ///
    /// # Errors
    /// The system's reason.
    fn write(&mut self, text: &str) -> io::Result<()>;
}

/// Operations on files. None of them is durable by itself: contents become so by
/// [`OutputFile::sync`], names by [`Storage::sync_directory`]. All of them fail with the system's
/// reason.
#[allow(clippy::missing_errors_doc)] // Said once, above.
pub trait Storage: Debug + Send + Sync {
    /// What is at `path`; `None` when nothing is.
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>>;
    /// The names in a directory, and whether each is a directory itself (and no link to one).
    fn names(&self, directory: &Path) -> io::Result<Vec<(OsString, bool)>>;
    /// Opens a file to be read from its beginning.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>>;
    /// Creates a file, which must not exist.
    fn create(&self, path: &Path) -> io::Result<Box<dyn OutputFile>>;
    /// Opens a file to write behind its end; it is created when it does not exist.
    fn append(&self, path: &Path) -> io::Result<Box<dyn OutputFile>>;
    /// Creates a directory in one that exists.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// Gives a file or directory another name in the same directory; a file takes the place of
    /// another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file, or a link.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory survive a power cut.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// Takes the lock that the file at `path` stands for, creating the file when it does not
    /// exist; `None` when somebody else has it. The lock ends with the value or with its process,
    /// however that dies.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
}

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Storage for Disk {
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(entry_of(&metadata))),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<(OsString, bool)>> {
        let name = |entry: fs::DirEntry| {
            let is_directory = entry.file_type().as_ref().is_ok_and(FileType::is_dir);
            (entry.file_name(), is_directory)
        };
        fs::read_dir(directory)?.map(|entry| entry.map(name)).collect()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(File::open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn OutputFile>> {
        Ok(Box::new(File::create_new(path)?))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn OutputFile>> {
        Ok(Box::new(File::options().append(true).create(true).open(path)?))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        if cfg!(not(unix)) {
            return Ok(()); // Directories cannot be opened as files elsewhere.
        }
        match File::open(path).and_then(|directory| directory.sync_all()) {
            // Some network and user-space file systems know no sync of directories.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
            result => result,
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(DiskLock(file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl OutputFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// An open file with the system's lock on it; closing it releases the lock.
#[derive(Debug)]
struct DiskLock(File);

impl Lock for DiskLock {
    fn write(&mut self, text: &str) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        self.0.write_all(text.as_bytes())
    }
}

fn entry_of(metadata: &Metadata) -> Entry {
    match metadata {
        directory if directory.is_dir() => Entry::Directory,
        file if file.is_file() => Entry::File(file.len()),
        _ => Entry::Other,
    }
}
