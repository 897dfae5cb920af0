//! What spoils training: pictures that cannot be read, that are in two splits or in two classes at once,
//! and classes with few pictures or none.

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::dataset::{Split, Splits};
use crate::error::{DataError, shown};
use crate::files::Kind;
use crate::listing::Listing;
use crate::options::DataOptions;
use crate::picture_folder::Plan;
use crate::source::{Source, open};
use crate::stats::class_counts;

/// A class with fewer training pictures is a tiny one.
pub const TINY: usize = 10;

/// A largest class of more than so many times the pictures of the smallest is an imbalance.
pub const IMBALANCE: usize = 5;

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// Pictures that were looked at, in the order of [`Split::ALL`].
    pub pictures: [usize; 3],
    /// Why the data cannot be trained with as they are, if so.
    pub unusable: Option<String>,
    /// What should be known of the way the data were read, such as files that were passed over.
    pub notes: Vec<String>,
    /// What is wrong with each picture that cannot be read.
    pub unreadable: Vec<String>,
    /// Pictures with the same pixels in two splits: what is learned by heart passes for understood.
    pub across_splits: Vec<Pair>,
    /// Pictures with the same pixels in two classes: one of them must be wrong.
    pub across_classes: Vec<Pair>,
    /// Pictures that are there already, in the same split and class.
    pub repeated: usize,
    /// Classes without a picture in a split.
    pub empty_classes: Vec<ClassCount>,
    /// Classes with fewer than [`TINY`] training pictures, but some.
    pub tiny_classes: Vec<ClassCount>,
    /// The smallest and the largest class of the training pictures, where the largest has more than
    /// [`IMBALANCE`] times as many.
    pub imbalance: Option<[ClassCount; 2]>,
}

/// Two pictures with the same pixels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// The one that comes first: its file, or its split and number.
    pub first: String,
    /// The class of the first.
    pub first_class: String,
    /// The other.
    pub second: String,
    /// The class of the other.
    pub second_class: String,
}

/// How many pictures of a class there are in a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// Name of the split.
    pub split: &'static str,
    /// Name of the class.
    pub class: String,
    /// Number of pictures.
    pub pictures: usize,
}

impl Findings {
    /// Whether there is nothing to say.
    pub fn is_clean(&self) -> bool {
        // A note is no fault of the data.
        let Self { unusable, unreadable, across_splits, across_classes, notes: _, .. } = self;
        let Self { repeated, empty_classes, tiny_classes, imbalance, .. } = self;
        unusable.is_none()
            && unreadable.is_empty()
            && across_splits.is_empty()
            && across_classes.is_empty()
            && *repeated == 0
            && empty_classes.is_empty()
            && tiny_classes.is_empty()
            && imbalance.is_none()
    }
}

/// Looks at all pictures of a data set. In a folder of pictures every file is read, however many of them
/// cannot be.
///
/// # Errors
/// Those of [`open`], other than of single pictures in a folder.
pub fn check(source: &Source, options: &DataOptions) -> Result<Findings, DataError> {
    if let Source::Folder(path) = source
        && let Kind::Pictures(listing) = Kind::at(path)?
    {
        return check_pictures(path, &listing, options);
    }
    let splits = open(source, options)?;
    let mut findings = Findings { notes: splits.notes.clone(), ..Findings::default() };
    findings.look_at(&splits, |split, index| format!("{split} {index}"));
    Ok(findings)
}

fn check_pictures(folder: &Path, listing: &Listing, options: &DataOptions) -> Result<Findings, DataError> {
    let mut plan = Plan::new(folder, listing, options)?;
    let mut faults = Vec::new();
    let splits = plan.read(&folder.display().to_string(), options, Some(&mut faults));
    let first = faults.first().map(ToString::to_string);
    let mut findings = Findings {
        unusable: first.or(plan.check_classes().err().map(|error| error.to_string())),
        unreadable: faults.iter().map(ToString::to_string).collect(),
        notes: plan.notes.clone(),
        ..Findings::default()
    };
    match splits {
        Ok(splits) => findings.look_at(&splits, |split, index| {
            let path = &plan.parts[split as usize][index].path;
            shown(path.strip_prefix(folder).unwrap_or(path).display())
        }),
        Err(error) => findings.unusable = findings.unusable.or(Some(error.to_string())),
    }
    Ok(findings)
}

impl Findings {
    /// Adds what the pixels and labels tell; `name` is what a picture is called.
    fn look_at(&mut self, splits: &Splits, name: impl Fn(Split, usize) -> String) {
        self.pictures = Split::ALL.map(|split| splits.get(split).len());
        self.find_pairs(splits, name);
        for split in Split::ALL {
            let counts = class_counts(splits.get(split));
            let classes = splits.train.class_names().iter().zip(counts);
            let classes: Vec<ClassCount> = classes
                .map(|(class, pictures)| ClassCount { split: split.name(), class: class.clone(), pictures })
                .collect();
            self.empty_classes.extend(classes.iter().filter(|class| class.pictures == 0).cloned());
            if split == Split::Train {
                let some = || classes.iter().filter(|class| class.pictures > 0);
                self.tiny_classes = some().filter(|class| class.pictures < TINY).cloned().collect();
                let least = some().min_by_key(|class| class.pictures);
                let most = some().max_by_key(|class| class.pictures);
                self.imbalance = least
                    .zip(most)
                    .filter(|(least, most)| most.pictures > IMBALANCE * least.pictures)
                    .map(|(least, most)| [least.clone(), most.clone()]);
            }
        }
    }

    fn find_pairs(&mut self, splits: &Splits, name: impl Fn(Split, usize) -> String) {
        let mut first_with: HashMap<[u8; 32], (Split, usize)> = HashMap::new();
        for split in Split::ALL {
            let data = splits.get(split);
            for index in 0..data.len() {
                let hash = Sha256::digest(data.image(index)).into();
                let &mut (first_split, first) = first_with.entry(hash).or_insert((split, index));
                if (first_split, first) == (split, index) {
                    continue;
                }
                let labels = [splits.get(first_split).label(first), data.label(index)];
                let [first_class, second_class] =
                    labels.map(|label| data.class_names()[label as usize].clone());
                let (first, second) = (name(first_split, first), name(split, index));
                let pair = Pair { first, first_class, second, second_class };
                if labels[0] != labels[1] {
                    self.across_classes.push(pair.clone());
                }
                if first_split != split {
                    self.across_splits.push(pair);
                } else if labels[0] == labels[1] {
                    self.repeated += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Dataset, numbered_classes};

    fn dataset(values: &[u8], labels: &[u32]) -> Dataset {
        Dataset::new(values.to_vec(), labels.to_vec(), [1, 1, 1], numbered_classes(3)).unwrap()
    }

    fn look(splits: &Splits) -> Findings {
        let mut findings = Findings::default();
        findings.look_at(splits, |split, index| format!("{split} {index}"));
        findings
    }

    #[test]
    fn copies_are_told_by_split_and_class() {
        let train = dataset(&[1, 2, 3, 1, 2], &[0, 1, 2, 0, 2]);
        let validation = dataset(&[4, 5, 6], &[0, 1, 2]);
        let test = dataset(&[3, 7, 4, 8], &[2, 1, 1, 0]);
        let findings = look(&Splits::new("x", train, validation, test));
        let pairs = |pairs: &[Pair]| -> Vec<String> {
            pairs
                .iter()
                .map(|pair| {
                    format!("{} {}={} {}", pair.first, pair.first_class, pair.second, pair.second_class)
                })
                .collect()
        };
        assert_eq!(findings.repeated, 1);
        assert_eq!(pairs(&findings.across_classes), ["train 1 1=train 4 2", "validation 0 0=test 2 1"]);
        assert_eq!(pairs(&findings.across_splits), ["train 2 2=test 0 2", "validation 0 0=test 2 1"]);
    }

    #[test]
    fn few_pictures_are_told_by_class() {
        let values: Vec<u8> = (0..73).collect();
        let labels: Vec<u32> = (0..73).map(|index| u32::from(index >= 12)).collect();
        let findings = look(&Splits::new(
            "x",
            dataset(&values, &labels),
            dataset(&[100, 101, 102], &[0, 1, 2]),
            dataset(&[103, 104], &[0, 1]),
        ));
        let class = |split, class: &str, pictures| ClassCount { split, class: class.into(), pictures };
        assert_eq!(findings.empty_classes, [class("train", "2", 0), class("test", "2", 0)]);
        assert_eq!(findings.tiny_classes, []);
        assert_eq!(findings.imbalance, Some([class("train", "0", 12), class("train", "1", 61)]));
        assert!(!findings.is_clean());
        let findings = look(&Splits::new(
            "x",
            dataset(&values[..29], &[vec![0; 10], vec![1; 9], vec![2; 10]].concat()),
            dataset(&[100, 101, 102], &[0, 1, 2]),
            dataset(&[103, 104, 105], &[0, 1, 2]),
        ));
        assert_eq!(findings.tiny_classes, [class("train", "1", 9)]);
        assert_eq!((findings.empty_classes.len(), findings.imbalance), (0, None));
    }

    #[test]
    fn mnist_is_clean() {
        let findings = check(&Source::Mnist, &DataOptions::default()).unwrap();
        assert!(findings.is_clean(), "{findings:?}");
        assert_eq!(findings.pictures, [55_000, 5_000, 10_000]);
    }
}
