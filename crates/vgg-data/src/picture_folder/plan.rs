//! Which pictures there are, of which classes, in which splits: all that names tell.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::dataset::choose;
use crate::error::{DataError, shown};
use crate::listing::Listing;
use crate::names;
use crate::options::{DataOptions, SeededSplit};

const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];
/// What the folders of the splits may be called, in small letters or capitals.
const TRAIN: &[&str] = &["train", "training"];
const VALIDATION: &[&str] = &["val", "valid", "validation"];
const TEST: &[&str] = &["test", "testing"];

/// Whether a folder is one of pictures: it has folders, which hold the classes or the splits.
pub(crate) fn is_one(listing: &Listing) -> bool {
    !listing.folders.is_empty()
}

/// A picture that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) path: PathBuf,
    pub(crate) label: u32,
}

/// The pictures of a folder.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// In the order of the labels.
    pub(crate) class_names: Vec<String>,
    /// Training, validation, test.
    pub(crate) parts: [Vec<Picture>; 3],
    /// How pictures were taken from the training ones, if they were.
    pub(crate) seeded: Option<SeededSplit>,
    pub(crate) notes: Vec<String>,
    /// Folders of classes without a picture to train with.
    empty: Vec<PathBuf>,
}

impl Plan {
    /// The pictures in `folder`, of which `listing` is the content.
    ///
    /// # Errors
    /// Folders that cannot be read or are not laid out as they should be.
    pub(crate) fn new(folder: &Path, listing: &Listing, options: &DataOptions) -> Result<Self, DataError> {
        let mut plan = Found::new(folder, listing)?.plan(folder, &options.split)?;
        if let Some(most) = options.limit {
            for part in &mut plan.parts {
                let labels: Vec<u32> = part.iter().map(|picture| picture.label).collect();
                *part = choose(&labels, most).into_iter().map(|index| part[index].clone()).collect();
            }
        }
        Ok(plan)
    }

    /// Refuses a class that has no picture to train with.
    pub(crate) fn check_classes(&self) -> Result<(), DataError> {
        match self.empty.first() {
            None => Ok(()),
            Some(folder) => Err(DataError::invalid(
                folder.display(),
                "no PNG or JPEG files are in the folder of this class",
                "put pictures there, or remove the folder",
            )),
        }
    }
}

/// The classes in one folder, each with the names of its pictures.
#[derive(Debug, Default)]
struct Classes {
    folder: PathBuf,
    classes: Vec<(String, Vec<PathBuf>)>,
    /// Files and folders that are no pictures, and the first of them.
    passed_over: usize,
    first_passed_over: Option<PathBuf>,
}

impl Classes {
    /// The classes in the folder of one split.
    fn read(folder: &Path) -> Result<Self, DataError> {
        let listing = Listing::read(folder)?;
        let pictures = listing.files.iter().filter(|file| is_picture(Path::new(file))).count();
        if pictures > 0 && listing.folders.is_empty() {
            return Err(DataError::invalid(
                folder.display(),
                format!("{pictures} pictures lie in it directly, so that their classes are not known"),
                "put those of each class into a folder of its own; or move this folder elsewhere, and see with vgg \
                 predict what they show",
            ));
        }
        Self::of(folder, &listing)
    }

    fn of(folder: &Path, listing: &Listing) -> Result<Self, DataError> {
        let mut found = Self { folder: folder.to_owned(), ..Self::default() };
        for name in &listing.folders {
            let path = folder.join(name);
            let Some(name) = name.to_str().filter(|name| names::is_printable(name)) else {
                return Err(DataError::invalid(
                    path.display(),
                    "the name of a class must be text in UTF-8 without control characters",
                    "rename the folder",
                ));
            };
            let content = Listing::read(&path)?;
            let (pictures, others): (Vec<_>, Vec<_>) =
                content.files.iter().map(|file| path.join(file)).partition(|file| is_picture(file));
            others
                .into_iter()
                .chain(content.folders.iter().map(|inner| path.join(inner)))
                .for_each(|other| found.pass_over(other));
            found.classes.push((name.to_owned(), pictures));
        }
        listing.files.iter().for_each(|file| found.pass_over(folder.join(file)));
        Ok(found)
    }

    fn pass_over(&mut self, path: PathBuf) {
        self.passed_over += 1;
        self.first_passed_over.get_or_insert(path);
    }

    /// The pictures with their labels in `class_names`.
    fn pictures(&self, class_names: &[String]) -> Result<Vec<Picture>, DataError> {
        let mut pictures = Vec::new();
        for (name, paths) in &self.classes {
            let Some(label) = class_names.iter().position(|known| known == name) else {
                return Err(DataError::invalid(
                    self.folder.join(name).display(),
                    format!("there is no class {name} in the training pictures"),
                    "add pictures of it there, or remove the folder",
                ));
            };
            let label = label as u32;
            pictures.extend(paths.iter().map(|path| Picture { path: path.clone(), label }));
        }
        Ok(pictures)
    }
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str);
    ending.is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// What is in a folder of pictures before it is split.
#[derive(Debug)]
struct Found {
    train: Classes,
    validation: Option<Classes>,
    test: Option<Classes>,
    /// Folders beside those of the splits.
    others: Vec<PathBuf>,
}

impl Found {
    fn new(folder: &Path, listing: &Listing) -> Result<Self, DataError> {
        let called = |names| split_folder(folder, listing, names);
        let Some(train) = called(TRAIN)? else {
            let train = Classes::of(folder, listing)?;
            return Ok(Self { train, validation: None, test: None, others: Vec::new() });
        };
        let (validation, test) = (called(VALIDATION)?, called(TEST)?);
        let all = listing.folders.iter().map(|name| folder.join(name));
        let known = |path: &PathBuf| [Some(&train), validation.as_ref(), test.as_ref()].contains(&Some(path));
        let others = all.filter(|path| !known(path)).collect();
        let read = |path: Option<PathBuf>| path.map(|path| Classes::read(&path)).transpose();
        Ok(Self { train: Classes::read(&train)?, validation: read(validation)?, test: read(test)?, others })
    }

    fn plan(self, folder: &Path, split: &SeededSplit) -> Result<Plan, DataError> {
        let class_names: Vec<String> = self.train.classes.iter().map(|(name, _)| name.clone()).collect();
        if class_names.len() < 2 {
            return Err(DataError::invalid(
                self.train.folder.display(),
                format!("has {} folders of classes, expected at least two", class_names.len()),
                "put the pictures of each class into a folder of its own",
            ));
        }
        let pictures = |classes: &Option<Classes>| {
            classes.as_ref().map(|classes| classes.pictures(&class_names)).transpose()
        };
        let (validation, test) = (pictures(&self.validation)?, pictures(&self.test)?);
        let missing = [validation.is_none(), test.is_none()];
        let mut taken = [const { Vec::new() }; 3];
        if missing == [false, false] {
            taken[0] = self.train.pictures(&class_names)?;
        } else {
            split.check()?;
            for (label, (name, paths)) in self.train.classes.iter().enumerate() {
                let parts = shares(split, missing, name, paths);
                for (part, into) in parts.into_iter().zip(&mut taken) {
                    into.extend(part.into_iter().map(|path| Picture { path, label: label as u32 }));
                }
            }
        }
        let [train, from_validation, from_test] = taken;
        let parts = [train, validation.unwrap_or(from_validation), test.unwrap_or(from_test)];
        for (part, name) in parts.iter().zip(["training", "validation", "the test"]) {
            if part.is_empty() {
                return Err(DataError::invalid(
                    folder.display(),
                    format!("there are no PNG or JPEG pictures for {name}"),
                    "put at least 3 pictures into the folder of each class",
                ));
            }
        }
        let seeded = missing.contains(&true).then_some(*split);
        let mut shown = vec![false; class_names.len()];
        parts[0].iter().for_each(|picture| shown[picture.label as usize] = true);
        let empty = class_names.iter().zip(shown).filter(|(_, shown)| !shown);
        let empty = empty.map(|(name, _)| self.train.folder.join(name)).collect();
        Ok(Plan { class_names, parts, seeded, notes: self.notes(), empty })
    }

    fn notes(&self) -> Vec<String> {
        let found = [Some(&self.train), self.validation.as_ref(), self.test.as_ref()];
        let count: usize = found.iter().flatten().map(|classes| classes.passed_over).sum();
        let first = found.iter().flatten().find_map(|classes| classes.first_passed_over.as_ref());
        let note = |first: &PathBuf| {
            format!(
                "{}: no PNG or JPEG file of a class; passed over, with {} others",
                shown(first.display()),
                count - 1
            )
        };
        let others = self.others.iter().map(|path| {
            format!("{}: a folder that is neither train, val nor test; passed over", shown(path.display()))
        });
        first.map(note).into_iter().chain(others).collect()
    }
}

/// The folder in `folder` that has one of these names, if there is one.
fn split_folder(folder: &Path, listing: &Listing, names: &[&str]) -> Result<Option<PathBuf>, DataError> {
    let is_one = |name: &&str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    let found: Vec<&str> = listing.folders.iter().filter_map(|name| name.to_str()).filter(is_one).collect();
    match found[..] {
        [] => Ok(None),
        [name] => Ok(Some(folder.join(name))),
        _ => Err(DataError::invalid(
            folder.display(),
            format!("has the folders {}, which mean the same", found.join(" and ")),
            "remove one of them",
        )),
    }
}

/// The pictures of one class for training, validation and test: in the order of a hash of the seed and
/// their names, the first share is for validation if that is `missing`, the next for the test. Of three
/// pictures and more, each split gets one at least; fewer are all for training.
fn shares(split: &SeededSplit, missing: [bool; 2], class: &str, paths: &[PathBuf]) -> [Vec<PathBuf>; 3] {
    let count = |share: f64, missing: bool| {
        let wanted = (share * paths.len() as f64).round() as usize;
        if missing && paths.len() >= 3 { wanted.clamp(1, paths.len() - 2) } else { 0 }
    };
    let validation = count(split.validation, missing[0]);
    let test = count(split.test, missing[1]).min(paths.len() - validation - usize::from(!paths.is_empty()));
    let mut order: Vec<([u8; 32], &PathBuf)> =
        paths.iter().map(|path| (hash(split.seed, class, path), path)).collect();
    order.sort();
    let mut parts = [Vec::new(), Vec::new(), Vec::new()];
    for (position, (_, path)) in order.into_iter().enumerate() {
        let part = match position {
            position if position < validation => 1,
            position if position < validation + test => 2,
            _ => 0,
        };
        parts[part].push(path.clone());
    }
    parts.iter_mut().for_each(|part| part.sort());
    parts
}

fn hash(seed: u64, class: &str, path: &Path) -> [u8; 32] {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let mut hasher = Sha256::new();
    hasher.update(seed.to_le_bytes());
    // Neither a class nor a file can have a slash in its name.
    hasher.update(class);
    hasher.update("/");
    hasher.update(name);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(count: usize) -> Vec<PathBuf> {
        (0..count).map(|index| format!("somewhere/{index}.png").into()).collect()
    }

    fn counts(parts: &[Vec<PathBuf>; 3]) -> [usize; 3] {
        [0, 1, 2].map(|part| parts[part].len())
    }

    #[test]
    fn shares_are_those_asked_for_and_nobody_goes_without() {
        let split = SeededSplit::default();
        let all = |count| counts(&shares(&split, [true, true], "cat", &paths(count)));
        for (count, expected) in [
            (0, [0, 0, 0]),
            (1, [1, 0, 0]),
            (2, [2, 0, 0]),
            (3, [1, 1, 1]),
            (10, [8, 1, 1]),
            (1000, [800, 100, 100]),
        ] {
            assert_eq!(all(count), expected, "{count}");
        }
        let greedy = SeededSplit { seed: 1, validation: 0.5, test: 0.49 };
        assert_eq!(counts(&shares(&greedy, [true, true], "cat", &paths(4))), [1, 2, 1]);
        assert_eq!(counts(&shares(&split, [true, false], "cat", &paths(10))), [9, 1, 0]);
    }

    #[test]
    fn the_split_is_a_function_of_seed_and_names() {
        let split = SeededSplit::default();
        let (listed, mut reversed) = (paths(30), paths(30));
        reversed.reverse();
        let first = shares(&split, [true, true], "cat", &listed);
        assert_eq!(first, shares(&split, [true, true], "cat", &reversed));
        let moved: Vec<PathBuf> =
            listed.iter().map(|path| Path::new("elsewhere").join(path.file_name().unwrap())).collect();
        let names = |paths: &[PathBuf]| {
            paths.iter().map(|path| path.file_name().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&first[1]), names(&shares(&split, [true, true], "cat", &moved)[1]));
        assert_ne!(first, shares(&SeededSplit { seed: 2, ..split }, [true, true], "cat", &listed));
        assert_ne!(first, shares(&split, [true, true], "dog", &listed));
    }
}
