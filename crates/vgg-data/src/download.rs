//! Files from the network into a folder on this machine.
//!
//! Each file is fetched into `NAME.part`, which is kept when a connection breaks, so that the next try
//! goes on from there; when its size and SHA-256 are right it is renamed to `NAME`. Mirrors are tried in
//! turn. One that is slower than [`Settings::slowest`] is left for the next; when no other has the file,
//! it is taken as slow as it is.
//!
//! The environment says where and from where: `VGG_CACHE` is the folder (by default `vgg` in
//! `XDG_CACHE_HOME`, or `~/.cache/vgg`), `VGG_MIRROR` an address to use instead of the known ones, and
//! `HTTP_PROXY` and the like a proxy.

mod connection;
#[cfg(test)]
mod tests;

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::error::DataError;
use crate::known::{File, Known};
use crate::options::{Loading, Progress, Unit};
use connection::Connection;

/// From one look at an interrupt to the next.
const POLL: Duration = Duration::from_millis(100);

/// Broken connections to one mirror that are taken up again, as long as each brought something.
const MOST_RESUMED: usize = 20;

/// Where files come from and go to, and how long to wait.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The folder for all data sets.
    pub(crate) cache: PathBuf,
    /// Beginnings of addresses.
    pub(crate) mirrors: Vec<String>,
    /// Time for a connection, and the longest silence.
    pub(crate) patience: Duration,
    /// How long a mirror may be slow.
    pub(crate) window: Duration,
    /// Bytes a second that a mirror must bring over a window.
    pub(crate) slowest: u64,
}

impl Settings {
    /// The settings for a data set, as the environment says.
    ///
    /// # Errors
    /// When nothing says where files may be kept.
    pub(crate) fn new(known: &Known) -> Result<Self, DataError> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let cache = set("VGG_CACHE")
            .map(PathBuf::from)
            .or_else(|| set("XDG_CACHE_HOME").map(|folder| Path::new(&folder).join("vgg")))
            .or_else(|| set("HOME").map(|folder| Path::new(&folder).join(".cache/vgg")));
        let cache = cache.ok_or_else(|| {
            let cause = "nothing says where downloads are kept: there is neither VGG_CACHE nor HOME";
            DataError::argument(known.name, cause, "set VGG_CACHE to a folder")
        })?;
        let mirrors = match set("VGG_MIRROR") {
            Some(mirror) => vec![format!("{}/", mirror.to_string_lossy().trim_end_matches('/'))],
            None => known.mirrors.iter().map(ToString::to_string).collect(),
        };
        let (patience, window) = (Duration::from_secs(20), Duration::from_secs(20));
        Ok(Self { cache, mirrors, patience, window, slowest: 200_000 })
    }
}

/// Fetches the files of a data set that are not in the cache yet, and gives their folder.
///
/// # Errors
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when no mirror has a file, with what went
/// wrong at each; [`ErrorKind::Unwritable`](crate::ErrorKind::Unwritable) when files cannot be kept.
pub(crate) fn fetch(
    name: &str,
    files: &[File],
    settings: &Settings,
    progress: &Progress,
) -> Result<PathBuf, DataError> {
    let folder = settings.cache.join(name);
    for file in files {
        let path = folder.join(file.name);
        if is_right(&path, file) {
            continue;
        }
        fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, &error))?;
        Download { file, path: &path, settings, progress }.run()?;
    }
    Ok(folder)
}

fn unwritable(path: &Path, error: &io::Error) -> DataError {
    let advice = "free some space, or set VGG_CACHE to a folder that can be written to";
    DataError::new(crate::ErrorKind::Unwritable, path.display(), error.to_string(), advice)
}

/// Whether a file is there and is what it should be.
fn is_right(path: &Path, file: &File) -> bool {
    let length = fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len());
    length == Some(file.bytes) && fs::File::open(path).and_then(sha256).is_ok_and(|sum| sum == file.sha256)
}

fn sha256(mut content: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut content, &mut hasher)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether `file` is what has the name `path`.
#[cfg(unix)]
fn is_at(file: &fs::File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let number = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let numbers = [file.metadata(), fs::metadata(path)].map(|metadata| metadata.ok().map(number));
    numbers[0].is_some() && numbers[0] == numbers[1]
}

#[cfg(not(unix))]
fn is_at(_: &fs::File, path: &Path) -> bool {
    path.exists()
}

/// What a transfer has to tell.
enum News {
    /// The first byte that comes.
    Start(u64),
    /// The next bytes.
    Piece(Vec<u8>),
    /// It ended, well or not.
    End(Result<(), Failure>),
}

/// Asks for the bytes of a file from `start` on, on a thread of its own: a network may be silent for long,
/// and an interrupt must not wait for it. The thread gives up when nobody receives any more.
fn transfer(url: String, start: u64, bytes: u64, patience: Duration) -> Receiver<News> {
    let (sender, receiver) = mpsc::sync_channel(2);
    // Without a thread the channel is closed, which says it.
    let _ = thread::Builder::new().spawn(move || {
        let end = send_all(&sender, &url, start, bytes, patience);
        let _ = sender.send(News::End(end));
    });
    receiver
}

fn send_all(
    sender: &SyncSender<News>,
    url: &str,
    start: u64,
    bytes: u64,
    patience: Duration,
) -> Result<(), Failure> {
    let mut connection = Connection::open(url, start, bytes, patience)?;
    let mut have = connection.start;
    let mut wanted = sender.send(News::Start(have)).is_ok();
    while wanted && have < bytes {
        let mut piece = vec![0; (bytes - have).min(1 << 16) as usize];
        let count = connection
            .reader
            .read(&mut piece)
            .map_err(|error| Failure::Broken(format!("the connection broke at byte {have} ({error})")))?;
        if count == 0 {
            break;
        }
        piece.truncate(count);
        have += count as u64;
        wanted = sender.send(News::Piece(piece)).is_ok();
    }
    // A stream that ended early says more of it.
    connection.finish()
}

/// The fetching of one file.
struct Download<'a> {
    file: &'a File,
    path: &'a Path,
    settings: &'a Settings,
    progress: &'a Progress,
}

/// Why a mirror did not give the file.
enum Failure {
    /// What is kept here may be gone on with.
    Broken(String),
    /// It can only send the whole file.
    Whole(String),
    /// It was slower than it may be while there are others.
    Slow(String),
    /// Its file is another one, or it has none.
    Refused(String),
    /// Nothing can be kept here.
    Here(DataError),
}

impl Download<'_> {
    fn run(&self) -> Result<(), DataError> {
        let part = self.path.with_file_name(format!("{}.part", self.file.name));
        let mut kept = self.lock(&part)?;
        let result = if is_right(self.path, self.file) { Ok(()) } else { self.try_mirrors(&part, &mut kept) };
        // An empty file is of no use to the next try. One that cannot be removed does no harm.
        if kept.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            let _ = fs::remove_file(&part);
        }
        result
    }

    /// The file of what is kept so far, for this process alone. Another may be fetching the same: that is
    /// waited for.
    fn lock(&self, part: &Path) -> Result<fs::File, DataError> {
        let unwritable = |error: io::Error| unwritable(part, &error);
        let task = &format!("waiting for another process that downloads {}", self.file.name);
        let total = self.file.bytes;
        loop {
            let kept = OpenOptions::new().read(true).append(true).create(true).open(part);
            let kept = kept.map_err(unwritable)?;
            let mut waited = false;
            loop {
                match kept.try_lock() {
                    Ok(()) => break,
                    Err(fs::TryLockError::Error(error)) => return Err(unwritable(error)),
                    Err(fs::TryLockError::WouldBlock) => waited = true,
                }
                // What the other one has so far.
                let done = kept.metadata().map_or(0, |metadata| metadata.len()).min(total - 1);
                self.progress.tell(&Loading { task, done, total, unit: Unit::Bytes });
                self.progress.check(task)?;
                thread::sleep(POLL);
            }
            if waited {
                self.progress.tell(&Loading { task, done: total, total, unit: Unit::Bytes });
            }
            // Whoever had it may have removed or renamed it, and then it is no longer what others see.
            if is_at(&kept, part) || is_right(self.path, self.file) {
                return Ok(kept);
            }
        }
    }

    fn try_mirrors(&self, part: &Path, kept: &mut fs::File) -> Result<(), DataError> {
        let unwritable = |error: io::Error| unwritable(part, &error);
        let mut failures = Vec::new();
        // Slow mirrors are taken as they are when no other has given the file.
        for slowest in [self.settings.slowest, 0] {
            let mut some_were_slow = false;
            for mirror in &self.settings.mirrors {
                let cause = match self.from(mirror, kept, slowest) {
                    Ok(()) => return fs::rename(part, self.path).map_err(unwritable),
                    Err(Failure::Here(error)) => return Err(error),
                    Err(Failure::Slow(cause)) => {
                        some_were_slow = true;
                        cause
                    }
                    Err(Failure::Broken(cause) | Failure::Whole(cause) | Failure::Refused(cause)) => cause,
                };
                failures.push(format!("{mirror}: {cause}"));
            }
            if !some_were_slow {
                break;
            }
        }
        Err(self.unavailable(&failures))
    }

    fn unavailable(&self, failures: &[String]) -> DataError {
        let folder = self.path.parent().unwrap_or(self.path);
        let by_hand = self.settings.mirrors.first().map_or("", String::as_str);
        DataError::new(
            crate::ErrorKind::Unavailable,
            self.file.name,
            format!("cannot be downloaded ({})", failures.join("; ")),
            format!(
                "check the network and try again, or fetch {by_hand}{} by hand into {}",
                self.file.name,
                folder.display()
            ),
        )
    }

    /// Fetches from one mirror until the file is right; what breaks off is taken up again.
    fn from(&self, mirror: &str, kept: &mut fs::File, slowest: u64) -> Result<(), Failure> {
        let url = format!("{mirror}{}", self.file.name);
        let here = |error: io::Error| Failure::Here(unwritable(self.path, &error));
        let mut tries = 0;
        loop {
            let before = kept.metadata().map_err(here)?.len();
            if before > self.file.bytes {
                kept.set_len(0).map_err(here)?;
                continue;
            }
            let mut result = Ok(());
            if before < self.file.bytes {
                result = self.receive(&url, before, kept, slowest);
            }
            let now = kept.metadata().map_err(here)?.len();
            if now == self.file.bytes {
                match self.check(kept) {
                    Ok(()) => return Ok(()),
                    Err(cause) => {
                        kept.set_len(0).map_err(here)?;
                        // What was there before may have been wrong: once more, all of it from here.
                        if before == 0 {
                            return Err(Failure::Refused(cause));
                        }
                    }
                }
            } else {
                match result {
                    Err(Failure::Whole(_)) if before > 0 => kept.set_len(0).map_err(here)?,
                    Err(Failure::Broken(_)) if now > before && tries < MOST_RESUMED => {}
                    Err(failure) => return Err(failure),
                    Ok(()) => return Err(Failure::Broken("the connection ended too early".into())),
                }
            }
            tries += 1;
        }
    }

    /// Receives what follows the first `start` bytes.
    fn receive(&self, url: &str, start: u64, kept: &mut fs::File, slowest: u64) -> Result<(), Failure> {
        let here = |error: io::Error| Failure::Here(unwritable(self.path, &error));
        let task = &format!("downloading {}", self.file.name);
        let news = transfer(url.to_owned(), start, self.file.bytes, self.settings.patience);
        let (mut first, mut have) = (start, start);
        let (mut window, mut in_window) = (Instant::now(), 0);
        loop {
            let piece = match news.recv_timeout(POLL) {
                Ok(News::Start(at)) => {
                    if at == 0 && start > 0 {
                        kept.set_len(0).map_err(here)?;
                    }
                    (first, have) = (at, at);
                    // The speed is that of the answer, not of the way to it.
                    (window, in_window) = (Instant::now(), 0);
                    continue;
                }
                Ok(News::Piece(piece)) => piece,
                // An answer that is complete and too short is that of another file, such as a page that asks
                // for a password: nothing of it is kept.
                Ok(News::End(Ok(()))) if have < self.file.bytes => {
                    kept.set_len(first).map_err(here)?;
                    let cause = format!("has a file of {have} bytes, expected {}", self.file.bytes);
                    return Err(Failure::Refused(cause));
                }
                Ok(News::End(end)) => return end,
                Err(RecvTimeoutError::Timeout) => {
                    self.progress.check(task).map_err(Failure::Here)?;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::Broken("there is no thread for it".into()));
                }
            };
            self.progress.check(task).map_err(Failure::Here)?;
            kept.write_all(&piece).map_err(here)?;
            have += piece.len() as u64;
            in_window += piece.len() as u64;
            self.progress.tell(&Loading { task, done: have, total: self.file.bytes, unit: Unit::Bytes });
            let time = window.elapsed();
            if time >= self.settings.window {
                let speed = (in_window as f64 / time.as_secs_f64()) as u64;
                if speed < slowest {
                    return Err(Failure::Slow(format!("too slow, {speed} bytes a second")));
                }
                (window, in_window) = (Instant::now(), 0);
            }
        }
    }

    fn check(&self, kept: &mut fs::File) -> Result<(), String> {
        let start = kept.sync_all().and_then(|()| kept.seek(SeekFrom::Start(0)));
        match start.and_then(|_| sha256(kept)) {
            Ok(sum) if sum == self.file.sha256 => Ok(()),
            Ok(sum) => {
                let [found, expected] = [&sum, self.file.sha256].map(|sum| &sum[..12]);
                Err(format!("has another file of this name (SHA-256 {found}…, expected {expected}…)"))
            }
            Err(error) => Err(format!("what was received cannot be read back ({error})")),
        }
    }
}
