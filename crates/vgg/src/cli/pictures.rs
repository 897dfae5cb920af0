//! The pictures that a command line names: files, all of a folder, and `-` for standard input.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::{slice, vec};
use vgg::TrainError;

/// What stands for standard input.
pub(super) const STANDARD_INPUT: &str = "-";

/// The pictures in order. Folders are listed when their turn comes, so that of all names only those of
/// one folder and the folders above it are held.
pub(super) struct Pictures<'a> {
    arguments: slice::Iter<'a, PathBuf>,
    /// The folder under way and those above it, each with what is left in it.
    open: Vec<(PathBuf, vec::IntoIter<Entry>)>,
    /// The folder that was named, and whether anything came of it.
    named: (&'a Path, bool),
}

/// Something in a folder that may matter.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    name: OsString,
    is_folder: bool,
}

impl<'a> Pictures<'a> {
    pub(super) fn new(arguments: &'a [PathBuf]) -> Self {
        Self { arguments: arguments.iter(), open: Vec::new(), named: (Path::new(""), false) }
    }

    fn enter(&mut self, folder: PathBuf) -> Result<(), TrainError> {
        let entries = list(&folder)?;
        self.open.push((folder, entries.into_iter()));
        Ok(())
    }
}

impl Iterator for Pictures<'_> {
    type Item = Result<PathBuf, TrainError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((folder, entries)) = self.open.last_mut() else {
                let argument = self.arguments.next()?;
                if argument.as_os_str() == STANDARD_INPUT || !argument.is_dir() {
                    return Some(Ok(argument.clone()));
                }
                self.named = (argument, false);
                match self.enter(argument.clone()) {
                    Ok(()) => continue,
                    Err(error) => return Some(Err(error)),
                }
            };
            let Some(entry) = entries.next() else {
                self.open.pop();
                if self.open.is_empty() && !self.named.1 {
                    return Some(Err(empty(self.named.0)));
                }
                continue;
            };
            let path = folder.join(entry.name);
            if !entry.is_folder {
                self.named.1 = true;
                return Some(Ok(path));
            }
            if let Err(error) = self.enter(path) {
                self.named.1 = true;
                return Some(Err(error));
            }
        }
    }
}

/// Folders and picture files in a folder, by name. What is hidden is left out, and so are links to
/// folders, which could lead back.
fn list(folder: &Path) -> Result<Vec<Entry>, TrainError> {
    let unreadable = |error: std::io::Error| {
        let folder = folder.display();
        TrainError::Incompatible(format!("{folder}: {error}; check the folder and its permissions"))
    };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let (name, is_folder) = (entry.file_name(), entry.file_type().map_err(unreadable)?.is_dir());
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        if !is_hidden && (is_folder || is_picture(Path::new(&name))) {
            entries.push(Entry { name, is_folder });
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

/// Whether a file is called as a PNG or JPEG file is.
fn is_picture(name: &Path) -> bool {
    let extension = name.extension().map(|extension| extension.to_ascii_lowercase());
    extension.is_some_and(|extension| ["png", "jpg", "jpeg"].iter().any(|known| extension == *known))
}

fn empty(folder: &Path) -> TrainError {
    let folder = folder.display();
    TrainError::Incompatible(format!(
        "{folder}: no PNG or JPEG file in this folder or those in it; give files, or a folder of them"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::tempdir;

    /// What comes of `arguments` in `folder`, with paths from there; of an error its first words.
    fn found(folder: &Path, arguments: &[&str]) -> Vec<String> {
        let arguments: Vec<PathBuf> = arguments.iter().map(|argument| folder.join(argument)).collect();
        let short = |text: String| text.replace(&format!("{}/", folder.display()), "");
        let shown = |picture: Result<PathBuf, TrainError>| match picture {
            Ok(path) => short(path.display().to_string()),
            Err(error) => short(error.to_string()).split(';').next().unwrap().to_owned(),
        };
        Pictures::new(&arguments).map(shown).collect()
    }

    #[test]
    fn folders_are_searched_in_the_order_of_names() {
        let folder = tempdir().unwrap();
        fs::create_dir_all(folder.path().join("all/b/deep")).unwrap();
        fs::create_dir_all(folder.path().join("all/.hidden")).unwrap();
        fs::create_dir_all(folder.path().join("all/empty.png")).unwrap();
        for file in ["z.JPG", "a.png", "c.jpeg", "b/2.png", "b/10.png", "b/deep/x.Png", "note.txt", "png"] {
            fs::write(folder.path().join("all").join(file), "").unwrap();
        }
        for file in [".hidden/x.png", ".x.png"] {
            fs::write(folder.path().join("all").join(file), "").unwrap();
        }
        let expected =
            ["all/a.png", "all/b/10.png", "all/b/2.png", "all/b/deep/x.Png", "all/c.jpeg", "all/z.JPG"];
        assert_eq!(found(folder.path(), &["all"]), expected);
        let twice = found(folder.path(), &["missing.png", "all/b", "all/note.txt", "all/b"]);
        let b = &expected[1..4];
        assert_eq!(twice, [&["missing.png"], b, &["all/note.txt"], b].concat());
    }

    #[test]
    fn a_folder_without_pictures_is_an_error_among_others() {
        let folder = tempdir().unwrap();
        fs::create_dir_all(folder.path().join("none/within")).unwrap();
        fs::write(folder.path().join("none/within/text.txt"), "").unwrap();
        let error = "none: no PNG or JPEG file in this folder or those in it";
        assert_eq!(found(folder.path(), &["none", "a.png", "none"]), [error, "a.png", error]);
    }

    #[cfg(unix)]
    #[test]
    fn links_to_files_count_and_links_to_folders_do_not() {
        let folder = tempdir().unwrap();
        fs::create_dir(folder.path().join("all")).unwrap();
        fs::write(folder.path().join("one.png"), "").unwrap();
        std::os::unix::fs::symlink("../one.png", folder.path().join("all/link.png")).unwrap();
        std::os::unix::fs::symlink("..", folder.path().join("all/back")).unwrap();
        std::os::unix::fs::symlink("all", folder.path().join("named")).unwrap();
        assert_eq!(found(folder.path(), &["all"]), ["all/link.png"]);
        assert_eq!(found(folder.path(), &["named"]), ["named/link.png"]);
    }
}
