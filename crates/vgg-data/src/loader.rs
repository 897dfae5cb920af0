//! Batches: shuffled ones for training, and those of a pass in order for evaluation.
//!
//! Which pictures a batch holds is a function of the seed and the number of the step alone, so a
//! resumed run goes on in mid-epoch without any state having been saved.

use vgg_arch::random::{Purpose, Random};

use crate::augment::{Augmentation, Augmenter};
use crate::dataset::Dataset;
use crate::error::DataError;

/// The order of `count` pictures in `epoch`, by the shuffle of Fisher and Yates: each picture once,
/// every order as likely as the next, and the same for the same arguments on every machine.
/// It goes into memory that is used again.
fn permute(seed: u64, epoch: u64, count: usize, order: &mut Vec<u32>) {
    assert!(count as u64 <= 1 << 32, "{count} pictures cannot be numbered by 32 bits");
    order.clear();
    order.extend((0..count as u64).map(|index| index as u32));
    let random = Random::new(seed, Purpose::Shuffle, epoch);
    for last in (1..count).rev() {
        // The upper half of bits × choices, with 64 bits: no choice is likelier than another by
        // more than 2⁻³² of its own probability.
        let [low, high, ..] = random.block(last as u64);
        let bits = u64::from(high) << 32 | u64::from(low);
        let choice = (u128::from(bits) * (last as u128 + 1)) >> 64;
        order.swap(last, choice as usize);
    }
}

/// Puts together the batches of training: each epoch all pictures once, in an order that is a
/// function of seed and epoch; the last batch of an epoch is short when the batch size does not
/// divide them.
#[derive(Clone, Debug)]
pub struct Loader {
    examples: usize,
    batch_size: usize,
    seed: u64,
    /// The epoch that `order` belongs to.
    epoch: Option<u64>,
    order: Vec<u32>,
    /// What changes the pictures, if anything does.
    augmenter: Option<Augmenter>,
    /// Steps, from the first on, whose pictures are changed.
    augmented_steps: u64,
}

impl Loader {
    /// A loader of batches of `batch_size` from `examples` pictures.
    ///
    /// # Errors
    /// When `batch_size` is 0 or above `examples`, or there are more than 2³² pictures.
    pub fn new(examples: usize, batch_size: usize, seed: u64) -> Result<Self, DataError> {
        if batch_size == 0 || batch_size > examples {
            return Err(DataError::argument(
                format!("batch size {batch_size}"),
                format!("expected 1 to {examples}, the number of training pictures"),
                "choose a batch size in between",
            ));
        }
        if examples as u64 > 1 << 32 {
            let cause = "expected at most 2^32";
            return Err(DataError::argument(format!("{examples} pictures"), cause, "use fewer pictures"));
        }
        Ok(Self {
            examples,
            batch_size,
            seed,
            epoch: None,
            order: Vec::with_capacity(examples),
            augmenter: None,
            augmented_steps: 0,
        })
    }

    /// The loader, with every picture of the first `augmented_steps` batches changed as `augmentation` says,
    /// for data of `dataset`'s size. Later pictures are as they are.
    pub fn with_augmentation(
        self,
        augmentation: &Augmentation,
        augmented_steps: u64,
        dataset: &Dataset,
    ) -> Self {
        let shape = [dataset.height(), dataset.width(), dataset.channels()];
        let augmenter = (!augmentation.is_none()).then(|| Augmenter::new(augmentation, self.seed, shape));
        Self { augmenter, augmented_steps, ..self }
    }

    /// Batches in one epoch, the short last one included.
    pub fn steps_per_epoch(&self) -> u64 {
        self.examples.div_ceil(self.batch_size) as u64
    }

    /// Replaces the content of `images` (`[picture][y][x][channel]`) and `labels` by batch number
    /// `global_step`, counted from 0 over all epochs. Allocates nothing once the buffers have held
    /// a full batch.
    ///
    /// # Panics
    /// When `dataset` has not as many pictures as this loader was made for, or these pictures are
    /// to be changed and its augmentation is for those of another size.
    pub fn fill(&mut self, dataset: &Dataset, global_step: u64, images: &mut Vec<u8>, labels: &mut Vec<u32>) {
        assert_eq!(dataset.len(), self.examples, "the loader was made for another data set");
        let epoch = global_step / self.steps_per_epoch();
        if self.epoch != Some(epoch) {
            permute(self.seed, epoch, self.examples, &mut self.order);
            self.epoch = Some(epoch);
        }
        let first = (global_step % self.steps_per_epoch()) as usize * self.batch_size;
        let past = (first + self.batch_size).min(self.examples);
        images.clear();
        labels.clear();
        for &index in &self.order[first..past] {
            let image = dataset.image(index as usize);
            match &mut self.augmenter {
                Some(augmenter) if global_step < self.augmented_steps => {
                    augmenter.apply(epoch, index, image, images);
                }
                _ => images.extend_from_slice(image),
            }
            labels.push(dataset.label(index as usize));
        }
    }
}

/// Some successive pictures of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    /// The position of the first picture in the data set.
    pub first: usize,
    /// `[picture][y][x][channel]`.
    pub images: &'a [u8],
    /// One for each picture.
    pub labels: &'a [u32],
}

/// All pictures of `dataset` in order, `batch_size` at a time; the last batch may be short.
///
/// # Panics
/// When `batch_size` is 0.
pub fn batches(dataset: &Dataset, batch_size: usize) -> impl ExactSizeIterator<Item = Batch<'_>> {
    let size = dataset.image_size();
    dataset.labels().chunks(batch_size).enumerate().map(move |(number, labels)| {
        let first = number * batch_size;
        Batch { first, images: &dataset.images()[first * size..][..labels.len() * size], labels }
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::dataset::numbered_classes;

    /// `count` pictures of two bytes, both the number of the picture, as is the label.
    pub(crate) fn numbered(count: u8) -> Dataset {
        let images = (0..count).flat_map(|number| [number; 2]).collect();
        let labels = (0..u32::from(count)).collect();
        Dataset::new(images, labels, [1, 2, 1], numbered_classes(count.into())).unwrap()
    }

    fn permutation(seed: u64, epoch: u64, count: usize) -> Vec<u32> {
        let mut order = Vec::new();
        permute(seed, epoch, count, &mut order);
        order
    }

    #[test]
    fn permutations_hold_each_number_once() {
        for count in [0, 1, 2, 3, 100, 55_000] {
            let mut order = permutation(7, 3, count);
            assert_eq!(order.len(), count);
            order.sort_unstable();
            assert!(order.iter().enumerate().all(|(index, &number)| index == number as usize));
        }
    }

    #[test]
    fn permutations_depend_on_seed_and_epoch_alone() {
        let order = permutation(7, 3, 100);
        assert_eq!(permutation(7, 3, 100), order);
        assert_ne!(permutation(8, 3, 100), order);
        assert_ne!(permutation(7, 4, 100), order);
        assert_ne!(permutation(7, 3, 101)[..100], order);
    }

    #[test]
    fn every_order_is_as_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..24_000 {
            *counts.entry(permutation(1, epoch, 4)).or_insert(0_i32) += 1;
        }
        assert_eq!(counts.len(), 24);
        // 1000 expected of each; the standard deviation is 31, and five of them are allowed.
        assert!(counts.values().all(|&count| (count - 1000).abs() < 155), "{counts:?}");
    }

    #[test]
    fn an_epoch_shows_each_picture_once_and_ends_with_a_short_batch() {
        let data = numbered(10);
        let mut loader = Loader::new(10, 4, 1).unwrap();
        assert_eq!(loader.steps_per_epoch(), 3);
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        for epoch in 0..3 {
            let mut seen = Vec::new();
            for (step, size) in [4, 4, 2].into_iter().enumerate() {
                loader.fill(&data, epoch * 3 + step as u64, &mut images, &mut labels);
                assert_eq!(labels.len(), size);
                let doubled = labels.iter().flat_map(|&label| [label as u8; 2]).collect::<Vec<_>>();
                assert_eq!(images, doubled);
                seen.extend_from_slice(&labels);
            }
            assert_eq!(seen, permutation(1, epoch, 10));
        }
    }

    #[test]
    fn batches_do_not_depend_on_what_was_asked_before() {
        let data = numbered(10);
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        let mut loader = Loader::new(10, 4, 9).unwrap();
        for step in [0, 1, 2, 3, 4] {
            loader.fill(&data, step, &mut images, &mut labels);
        }
        let (mut other_images, mut other_labels) = (Vec::new(), Vec::new());
        Loader::new(10, 4, 9).unwrap().fill(&data, 4, &mut other_images, &mut other_labels);
        assert_eq!((images, labels), (other_images, other_labels));
    }

    #[test]
    fn augmentation_goes_by_the_number_of_the_picture_and_the_epoch_until_it_ends() {
        let data = numbered(10);
        let amounts = Augmentation { shift: 1.0, scale: 0.5, ..Augmentation::NONE };
        let mut augmenter = Augmenter::new(&amounts, 9, [1, 2, 1]);
        for batch_size in [3, 4] {
            let mut loader = Loader::new(10, batch_size, 9).unwrap().with_augmentation(&amounts, 7, &data);
            let (mut images, mut labels) = (Vec::new(), Vec::new());
            for step in (0..4 * loader.steps_per_epoch()).rev() {
                loader.fill(&data, step, &mut images, &mut labels);
                let mut expected = Vec::new();
                for &label in &labels {
                    // Pictures are numbered as their labels are.
                    let (epoch, image) = (step / loader.steps_per_epoch(), data.image(label as usize));
                    if step < 7 {
                        augmenter.apply(epoch, label, image, &mut expected);
                    } else {
                        expected.extend_from_slice(image);
                    }
                }
                assert_eq!(images, expected);
            }
        }
    }

    #[test]
    fn no_augmentation_changes_nothing() {
        let loader = Loader::new(10, 4, 9).unwrap().with_augmentation(&Augmentation::NONE, 9, &numbered(10));
        assert!(loader.augmenter.is_none());
    }

    #[test]
    fn buffers_and_order_keep_their_memory() {
        let data = numbered(10);
        let mut loader = Loader::new(10, 4, 9).unwrap().with_augmentation(&Augmentation::DIGITS, 15, &data);
        let (mut images, mut labels) = (Vec::with_capacity(8), Vec::with_capacity(4));
        let places = (images.as_ptr(), labels.as_ptr(), loader.order.as_ptr());
        for step in 0..30 {
            loader.fill(&data, step, &mut images, &mut labels);
            assert_eq!((images.as_ptr(), labels.as_ptr(), loader.order.as_ptr()), places);
        }
    }

    #[test]
    fn impossible_batch_sizes_are_refused() {
        for (size, expected) in [
            (0, "batch size 0: expected 1 to 10, the number of training pictures; choose"),
            (11, "batch size 11: expected 1 to 10, the number of training pictures; choose"),
        ] {
            let error = Loader::new(10, size, 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Argument);
            assert!(error.to_string().starts_with(expected), "{error}");
        }
        assert_eq!(Loader::new(10, 10, 1).unwrap().steps_per_epoch(), 1);
    }

    #[test]
    fn a_pass_in_order_covers_everything() {
        let data = numbered(10);
        let found: Vec<_> = batches(&data, 4).map(|batch| (batch.first, batch.labels.to_vec())).collect();
        assert_eq!(found, [(0, vec![0, 1, 2, 3]), (4, vec![4, 5, 6, 7]), (8, vec![8, 9])]);
        assert_eq!(batches(&data, 4).last().unwrap().images, [8, 8, 9, 9]);
        assert_eq!(batches(&data, 4).len(), 3);
    }
}
