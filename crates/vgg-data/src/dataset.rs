//! Pictures with labels, and the three splits of them that a training run uses.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use vgg_arch::random::{Purpose, Random};

use crate::error::DataError;
use crate::memory;
use crate::options::{Progress, SeededSplit, Unit};
use crate::resize::Resizer;

/// Pictures of one size with a label each. Always holds at least one picture, and only labels that
/// have a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    images: Vec<u8>,
    labels: Vec<u32>,
    height: usize,
    width: usize,
    channels: usize,
    class_names: Vec<String>,
}

impl Dataset {
    /// A data set of `labels.len()` pictures; `images` is `[picture][y][x][channel]`, one byte a value.
    ///
    /// # Errors
    /// When there is no picture, a size is zero, the lengths disagree, or a label has no class.
    pub fn new(
        images: Vec<u8>,
        labels: Vec<u32>,
        [height, width, channels]: [usize; 3],
        class_names: Vec<String>,
    ) -> Result<Self, DataError> {
        let invalid = |cause: String| DataError::invalid("data set", cause, "check where the data come from");
        let size = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(channels));
        let Some(size) = size.filter(|&size| size > 0) else {
            return Err(invalid(format!(
                "pictures of {height}x{width}x{channels} (height, width, channels), expected sizes above 0"
            )));
        };
        if labels.is_empty() {
            return Err(invalid("it holds no picture, expected at least one".into()));
        }
        if labels.len().checked_mul(size) != Some(images.len()) {
            return Err(invalid(format!(
                "{} bytes of pictures, expected {} pictures of {size} bytes, one for each label",
                images.len(),
                labels.len()
            )));
        }
        let classes = class_names.len();
        if let Some(index) = labels.iter().position(|&label| label as usize >= classes) {
            return Err(invalid(format!(
                "picture {index} has label {}, expected less than the number of classes, {classes}",
                labels[index]
            )));
        }
        Ok(Self { images, labels, height, width, channels, class_names })
    }

    /// Number of pictures, at least 1.
    #[allow(clippy::len_without_is_empty)] // A data set is never empty.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Bytes of one picture: height × width × channels.
    pub fn image_size(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// The bytes of picture `index`, `[y][x][channel]`.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    pub fn image(&self, index: usize) -> &[u8] {
        let size = self.image_size();
        &self.images[index * size..][..size]
    }

    /// The label of picture `index`.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    pub fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    /// All pictures, `[picture][y][x][channel]`.
    pub fn images(&self) -> &[u8] {
        &self.images
    }

    /// The label of every picture.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Height of every picture in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width of every picture in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Values per pixel: 1 for grey, 3 for colour.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Number of classes; every label is below it.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// The name of each class.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// At most `most` of the pictures, which is at least 1.
    fn limited(self, most: usize) -> Self {
        if self.len() <= most {
            return self;
        }
        let chosen = choose(&self.labels, most);
        let images = chosen.iter().flat_map(|&index| self.image(index)).copied().collect();
        let labels = chosen.iter().map(|&index| self.label(index)).collect();
        Self { images, labels, ..self }
    }

    /// Brings every picture to `[height, width]`, both from 1 to 4096; calls `each` after every one.
    fn resize(
        &mut self,
        [height, width]: [usize; 2],
        each: &mut dyn FnMut() -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let (old, row) = ([self.height, self.width], self.width * self.channels);
        let mut images = Vec::with_capacity(self.len() * height * width * self.channels);
        for picture in self.images.chunks_exact(self.image_size()) {
            let mut resizer = Resizer::new(old, [height, width], self.channels);
            picture.chunks_exact(row).for_each(|row| resizer.push(row));
            images.extend(resizer.finish());
            each()?;
        }
        (self.images, self.height, self.width) = (images, height, width);
        Ok(())
    }

    fn hash_into(&self, hasher: &mut Sha256) {
        for size in [self.len(), self.height, self.width, self.channels, self.classes()] {
            hasher.update((size as u64).to_le_bytes());
        }
        let labels: Vec<u8> = self.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        hasher.update(labels);
        hasher.update(&self.images);
    }
}

/// The three parts of the data of a run. All have pictures of one size, and the same classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Splits {
    /// What the data are called: `mnist`, or the folder.
    pub name: String,
    /// What the network learns from.
    pub train: Dataset,
    /// What training is watched with; never learned from.
    pub validation: Dataset,
    /// What the finished network is judged by.
    pub test: Dataset,
    /// How validation or test were taken from the training pictures, where that was by chance.
    pub seeded: Option<SeededSplit>,
    /// What the user should know of the way the data were read, a line each.
    pub notes: Vec<String>,
}

impl Splits {
    /// Data that need no word on how they were read.
    pub fn new(name: impl Into<String>, train: Dataset, validation: Dataset, test: Dataset) -> Self {
        Self { name: name.into(), train, validation, test, seeded: None, notes: Vec::new() }
    }

    /// The data with at most `most` pictures in each split, by [`choose`].
    pub(crate) fn limited(self, most: usize) -> Self {
        let Self { name, train, validation, test, seeded, notes } = self;
        let [train, validation, test] = [train, validation, test].map(|data| data.limited(most));
        Self { name, train, validation, test, seeded, notes }
    }

    /// The data with other names of the classes, if there are as many.
    pub(crate) fn with_class_names(mut self, names: &[&str]) -> Result<Self, DataError> {
        if names.len() != self.train.classes() {
            let cause = format!("{} classes, expected {}", self.train.classes(), names.len());
            return Err(DataError::invalid(&self.name, cause, "remove the downloaded files, and try again"));
        }
        for data in [&mut self.train, &mut self.validation, &mut self.test] {
            data.class_names = names.iter().map(ToString::to_string).collect();
        }
        Ok(self)
    }

    /// The data with every picture brought to `[height, width]`.
    pub(crate) fn resized(mut self, size: [usize; 2], progress: &Progress) -> Result<Self, DataError> {
        let count = Split::ALL.iter().map(|&split| self.get(split).len()).sum();
        // The pictures as they are lie in memory already, and are not counted as free.
        memory::check(&self.name, count, [size[0], size[1], self.train.channels()])?;
        let (height, width, [new_height, new_width]) = (self.train.height, self.train.width, size);
        if (height, width) == (new_height, new_width) {
            return Ok(self);
        }
        self.notes.push(format!(
            "{}: pictures of {height}x{width} (height x width) were brought to {new_height}x{new_width}",
            self.name
        ));
        let mut counter = progress.counter("resizing pictures", count as u64, Unit::Pictures);
        for data in [&mut self.train, &mut self.validation, &mut self.test] {
            data.resize(size, &mut || counter.add(1))?;
        }
        Ok(self)
    }

    /// The data of one split.
    pub fn get(&self, split: Split) -> &Dataset {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }

    /// SHA-256, in hexadecimal, of the sizes, labels and pixels of all splits: two runs that find
    /// the same value have the same data. The name does not enter, so a folder may move.
    pub fn fingerprint(&self) -> String {
        let mut hasher = Sha256::new();
        for split in Split::ALL {
            self.get(split).hash_into(&mut hasher);
        }
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Names one of the three splits; as text `train`, `validation` or `test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// What the network learns from.
    Train,
    /// What training is watched with.
    Validation,
    /// What the finished network is judged by.
    Test,
}

impl Split {
    /// All splits.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Split {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        Self::ALL.into_iter().find(|split| split.name() == text).ok_or_else(|| {
            DataError::argument(format!("split `{text}`"), "no such split", "use train, validation or test")
        })
    }
}

/// The positions of at most `most` of the pictures with these labels, in order. Which ones of a class is
/// left to chance, the same in every run; how many goes by the share of the class, and while `most` allows,
/// every class has one at least.
///
/// The shares are those of Adams' method of apportionment: after `n` of a class's `count` pictures the next
/// has the rank `n / count`, and the lowest ranks are taken.
pub(crate) fn choose(labels: &[u32], most: usize) -> Vec<usize> {
    /// Any seed will do; another chooses other pictures, and data would no longer be those of a saved run.
    const SEED: u64 = 1;
    let random = Random::new(SEED, Purpose::Selection, 0);
    let mut shuffled: Vec<(u32, u32, usize)> =
        labels.iter().enumerate().map(|(index, &label)| (label, random.bits(index as u64), index)).collect();
    shuffled.sort_unstable();
    let mut ranked = Vec::with_capacity(labels.len());
    for class in shuffled.chunk_by(|a, b| a.0 == b.0) {
        // Two ranks of n / count differ by more than 2⁻⁶⁴, since counts are below 2³².
        let rank = |n: usize| ((n as u128) << 64) / class.len() as u128;
        ranked.extend(class.iter().enumerate().map(|(n, &(label, _, index))| (rank(n), label, index)));
    }
    ranked.sort_unstable();
    ranked.truncate(most);
    let mut chosen: Vec<usize> = ranked.into_iter().map(|(.., index)| index).collect();
    chosen.sort_unstable();
    chosen
}

/// The class names "0", "1", … for data that name their classes by number only.
pub(crate) fn numbered_classes(classes: usize) -> Vec<String> {
    (0..classes).map(|class| class.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Dataset {
        Dataset::new((0..12).collect(), vec![1, 0], [1, 2, 3], numbered_classes(2)).unwrap()
    }

    #[test]
    fn pictures_and_labels_are_found() {
        let data = small();
        assert_eq!((data.len(), data.image_size(), data.classes()), (2, 6, 2));
        assert_eq!((data.height(), data.width(), data.channels()), (1, 2, 3));
        assert_eq!(data.image(1), [6, 7, 8, 9, 10, 11]);
        assert_eq!((data.label(0), data.label(1)), (1, 0));
        assert_eq!(data.class_names(), ["0", "1"]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let cases = [
            (vec![], vec![], [1, 1, 1], 1, "holds no picture"),
            (vec![0; 4], vec![0], [0, 4, 1], 1, "0x4x1 (height, width, channels), expected sizes above 0"),
            (vec![0; 4], vec![0], [usize::MAX, 4, 1], 1, "expected sizes above 0"),
            (vec![0; 5], vec![0], [2, 2, 1], 1, "5 bytes of pictures, expected 1 pictures of 4 bytes"),
            (vec![0; 8], vec![0, 3], [2, 2, 1], 3, "picture 1 has label 3, expected less than the number of"),
        ];
        for (images, labels, shape, classes, message) in cases {
            let error = Dataset::new(images, labels, shape, numbered_classes(classes)).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Invalid);
            assert!(error.to_string().contains(message), "{error}");
        }
    }

    #[test]
    fn a_limit_keeps_the_shares_of_the_classes_and_the_order() {
        let counts = |labels: &[u32], most| {
            let chosen = choose(labels, most);
            assert!(chosen.is_sorted() && chosen.iter().max() < Some(&labels.len()));
            assert_eq!(chosen, choose(labels, most), "the same again");
            (0..4).map(|class| chosen.iter().filter(|&&at| labels[at] == class).count()).collect::<Vec<_>>()
        };
        // Labels that repeat: every tenth picture would be of one class or two.
        let periodic: Vec<u32> = (0..1000).map(|index| index % 4).collect();
        assert_eq!(counts(&periodic, 100), [25; 4]);
        let sorted: Vec<u32> = (0..1000).map(|index| index / 250).collect();
        assert_eq!(counts(&sorted, 100), [25; 4]);
        let uneven: Vec<u32> = (0..1000)
            .map(|index| {
                [0, 1, 2, 3]
                    [usize::from(index >= 600) + usize::from(index >= 990) + usize::from(index == 999)]
            })
            .collect();
        assert_eq!(counts(&uneven, 100), [59, 39, 1, 1]);
        assert_eq!(counts(&uneven, 4), [1; 4]);
        assert_eq!(counts(&uneven, 2000), [600, 390, 9, 1]);
        // Not the first ones of each class.
        assert!(choose(&sorted, 8).iter().any(|at| at % 250 > 1));
    }

    #[test]
    fn a_limited_data_set_has_the_pictures_of_its_labels() {
        let data = Dataset::new((0..8).collect(), vec![0, 0, 1, 1], [1, 2, 1], numbered_classes(2)).unwrap();
        let limited = data.clone().limited(2);
        assert_eq!(limited.labels(), [0, 1]);
        for (index, place) in choose(data.labels(), 2).into_iter().enumerate() {
            assert_eq!(limited.image(index), data.image(place));
        }
        assert_eq!(data.clone().limited(9), data);
    }

    #[test]
    fn resizing_tells_how_far_it_is_and_can_be_ended() {
        use std::sync::atomic::{AtomicU64, Ordering};
        static SEEN: AtomicU64 = AtomicU64::new(0);
        let splits = Splits::new("a", small(), small(), small());
        let progress = Progress::new(|loading| {
            assert_eq!((loading.task, loading.total), ("resizing pictures", 6));
            SEEN.store(loading.done, Ordering::Relaxed);
        });
        let resized = splits.clone().resized([2, 2], &progress).unwrap();
        assert_eq!((resized.test.image_size(), SEEN.load(Ordering::Relaxed)), (12, 6));
        let error = splits.resized([2, 2], &Progress::default().until(|| true)).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Interrupted);
    }

    #[test]
    fn split_names_go_both_ways() {
        for split in Split::ALL {
            assert_eq!(split.to_string().parse(), Ok(split));
        }
        let error = "dev".parse::<Split>().unwrap_err().to_string();
        assert_eq!(error, "split `dev`: no such split; use train, validation or test");
    }

    #[test]
    fn fingerprint_sees_pixels_labels_and_sizes_but_not_the_name() {
        let splits = Splits::new("a", small(), small(), small());
        let print = splits.fingerprint();
        assert_eq!(print.len(), 64);
        assert_eq!(Splits { name: "b".into(), ..splits.clone() }.fingerprint(), print);
        let dataset = |images, labels, shape, classes| {
            Dataset::new(images, labels, shape, numbered_classes(classes)).unwrap()
        };
        let pixels: Vec<u8> = (0..12).collect();
        let others = [
            dataset(pixels.iter().map(|&value| value.max(1)).collect(), vec![1, 0], [1, 2, 3], 2),
            dataset(pixels.clone(), vec![1, 1], [1, 2, 3], 2),
            dataset(pixels.clone(), vec![1, 0], [2, 1, 3], 2),
            dataset(pixels, vec![1, 0], [1, 2, 3], 3),
        ];
        for other in others {
            assert_ne!(Splits { validation: other, ..splits.clone() }.fingerprint(), print);
        }
    }
}
