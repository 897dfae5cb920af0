//! Files for the readers that take a path.

use std::fs;
use std::path::Path;
use tempfile::TempDir;

thread_local! {
    /// Made once: a folder for every input would cost more than reading it.
    static FOLDER: TempDir = tempfile::tempdir().expect("a temporary folder");
}

/// Makes the folder of this thread, so that it is not counted as a cost of the first input.
pub(crate) fn prepare() {
    FOLDER.with(|_| ());
}

/// Calls `use_it` with a file of these bytes that is called `name`.
pub(crate) fn with_file<R>(name: &str, bytes: &[u8], use_it: impl FnOnce(&Path) -> R) -> R {
    FOLDER.with(|folder| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("the temporary folder takes a file");
        use_it(&path)
    })
}

/// Calls `use_it` with an empty folder that is called `name`.
pub(crate) fn with_folder<R>(name: &str, use_it: impl FnOnce(&Path) -> R) -> R {
    FOLDER.with(|folder| {
        let path = folder.path().join(name);
        if path.exists() {
            fs::remove_dir_all(&path).expect("a folder of ours can be removed");
        }
        fs::create_dir(&path).expect("the temporary folder takes a folder");
        use_it(&path)
    })
}
