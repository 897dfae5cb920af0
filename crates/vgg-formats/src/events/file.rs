//! An event file in a model directory.

use super::{Event, What, record};
use crate::error::CheckpointError;
use crate::files;
use crate::model_dir::ModelDir;
use crate::storage::OutputFile;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the name of each file begins with; then come the time and the machine.
const PREFIX: &str = "events.out.tfevents.";

/// A time in a name has ten digits, so that names sort as times do.
const LATEST: u64 = 9_999_999_999;

/// A file that grows by whole records, each handed to the system at once, so that whoever follows the
/// file sees it.
pub struct EventFile {
    path: PathBuf,
    file: Box<dyn OutputFile>,
}

impl EventFile {
    /// Creates a file in `folder` of a model directory (`""` is the directory itself) for events of `step`
    /// and later ones: readers forget those that earlier files have. The name survives a power cut.
    ///
    /// # Errors
    /// The folder or the file cannot be created or written. What there is of it then harms no reader.
    pub fn create(model_dir: &ModelDir, folder: &str, step: u64) -> Result<Self, CheckpointError> {
        let (storage, folder) = (model_dir.storage(), inside(model_dir, folder));
        files::create_directories(storage, &folder)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let path = folder.join(file_name(&event_files(model_dir, &folder)?, now, &host()));
        let file =
            storage.create(&path).map_err(|source| CheckpointError::Create { path: path.clone(), source })?;
        let mut file = Self { path, file };
        file.write(0, What::FileVersion)?;
        file.write(step, What::SessionStart)?;
        files::sync_directory(storage, &folder)?;
        Ok(file)
    }

    /// Adds what happens now, after `step` updates. After an error the file's end may be a part of a
    /// record, behind which no reader looks: go on with another file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, step: u64, what: What<'_>) -> Result<(), CheckpointError> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        let event = Event { wall_time: time.map_or(0.0, |time| time.as_secs_f64()), step, what };
        let written = self.file.write_all(&record(&event.to_bytes()));
        written.map_err(|source| CheckpointError::Write { path: self.path.clone(), source })
    }

    /// Makes every record survive a power cut.
    ///
    /// # Errors
    /// The system's reason; what was written may then be lost: go on with another file.
    pub fn sync(&mut self) -> Result<(), CheckpointError> {
        self.file.sync().map_err(|source| CheckpointError::Write { path: self.path.clone(), source })
    }
}

/// Whether there is an event file in `folder` of a model directory.
///
/// # Errors
/// The folder cannot be read.
pub fn has_event_files(model_dir: &ModelDir, folder: &str) -> Result<bool, CheckpointError> {
    Ok(!event_files(model_dir, &inside(model_dir, folder))?.is_empty())
}

/// Removes the event files in `folder` of a model directory, and the folder when it is empty then and is
/// not the model directory itself. What cannot be removed stays.
pub fn remove_event_files(model_dir: &ModelDir, folder: &str) {
    let (storage, path) = (model_dir.storage(), inside(model_dir, folder));
    for name in event_files(model_dir, &path).unwrap_or_default() {
        let _ = storage.remove_file(&path.join(name));
    }
    if !folder.is_empty() {
        let _ = storage.remove_directory(&path);
    }
}

fn inside(model_dir: &ModelDir, folder: &str) -> PathBuf {
    if folder.is_empty() { model_dir.path().to_owned() } else { model_dir.path().join(folder) }
}

/// Names of the event files in a folder; a folder that does not exist has none.
fn event_files(model_dir: &ModelDir, folder: &Path) -> Result<Vec<String>, CheckpointError> {
    let read_error = |source| CheckpointError::Read { path: folder.to_owned(), source };
    let names = match model_dir.storage().names(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        names => names.map_err(read_error)?,
    };
    let files = names.into_iter().filter(|(_, is_directory)| !is_directory);
    let names = files.filter_map(|(name, _)| name.into_string().ok());
    Ok(names.filter(|name| name.starts_with(PREFIX)).collect())
}

/// A name that sorts behind those that are there, whatever the clock says: readers take files in the order
/// of their names and never come back to one.
fn file_name(present: &[String], now: u64, host: &str) -> String {
    let time = |name: &String| name[PREFIX.len()..].split('.').next()?.parse().ok();
    let latest: Option<u64> = present.iter().filter_map(time).filter(|&time| time < LATEST).max();
    let time = now.min(LATEST).max(latest.map_or(0, |latest| latest + 1));
    format!("{PREFIX}{time:010}.{host}")
}

/// The name of this machine, as far as it can be part of a file's name.
fn host() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let plain: String = name.chars().filter(is_plain).take(64).collect();
    if plain.is_empty() { "localhost".to_owned() } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_behind_those_that_are_there() {
        let name = |time: &str| format!("{PREFIX}{time}.host");
        let first = file_name(&[], 1_528_888_888, "host");
        assert_eq!(first, "events.out.tfevents.1528888888.host");
        assert_eq!(
            file_name(std::slice::from_ref(&first), 1_528_888_888, "other"),
            "events.out.tfevents.1528888889.other"
        );
        assert_eq!(file_name(&[name("1528888999"), first], 17, "host"), name("1528889000"));
        // Names of nobody's making decide nothing.
        let odd = ["99999999999999999999", "9999999999", "", "x"].map(name);
        assert_eq!(file_name(&odd, 17, "host"), name("0000000017"));
    }

    #[test]
    fn the_host_is_part_of_a_name() {
        let host = host();
        assert!(!host.is_empty() && !host.contains(['/', '\\', ' ']), "{host}");
    }
}
