//! What a data set looks like in numbers.

use std::fmt;

use crate::dataset::{Dataset, Splits};

/// The shape of one array of a data set; as text `train images (55000, 28, 28, 1)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayShape {
    /// What the array holds.
    pub name: &'static str,
    /// Its sizes, outermost first.
    pub sizes: Vec<usize>,
}

impl fmt::Display for ArrayShape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sizes[..] {
            [size] => write!(formatter, "{} ({size},)", self.name),
            _ => {
                let sizes: Vec<String> = self.sizes.iter().map(usize::to_string).collect();
                write!(formatter, "{} ({})", self.name, sizes.join(", "))
            }
        }
    }
}

/// The five shapes that tell what a run learns from and is judged by: training pictures and labels,
/// validation pictures, test pictures and labels.
pub fn shapes(splits: &Splits) -> [ArrayShape; 5] {
    let images = |data: &Dataset| vec![data.len(), data.height(), data.width(), data.channels()];
    let labels = |data: &Dataset| vec![data.len()];
    [
        ArrayShape { name: "train images", sizes: images(&splits.train) },
        ArrayShape { name: "train labels", sizes: labels(&splits.train) },
        ArrayShape { name: "validation images", sizes: images(&splits.validation) },
        ArrayShape { name: "test images", sizes: images(&splits.test) },
        ArrayShape { name: "test labels", sizes: labels(&splits.test) },
    ]
}

/// How many pictures each class has.
pub fn class_counts(dataset: &Dataset) -> Vec<usize> {
    let mut counts = vec![0; dataset.classes()];
    for &label in dataset.labels() {
        counts[label as usize] += 1;
    }
    counts
}

/// Mean and standard deviation of each channel over all pixels, in units in which the byte 255 is 1.0.
/// A channel that has one value everywhere gets the deviation 1, so that it can be divided by.
///
/// The sums are whole numbers, so the order of the pictures does not matter. A data set of 2⁴⁷ bytes
/// would be needed for a sum to overflow.
pub fn normalisation(dataset: &Dataset) -> (Vec<f64>, Vec<f64>) {
    let channels = dataset.channels();
    let count = (dataset.images().len() / channels) as f64;
    (0..channels)
        .map(|channel| {
            let (mut sum, mut squares) = (0_u64, 0_u64);
            for &value in dataset.images().iter().skip(channel).step_by(channels) {
                sum += u64::from(value);
                squares += u64::from(value) * u64::from(value);
            }
            let mean = sum as f64 / count;
            let variance = (squares as f64 / count - mean * mean).max(0.0);
            let deviation = if variance > 0.0 { variance.sqrt() / 255.0 } else { 1.0 };
            (mean / 255.0, deviation)
        })
        .unzip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::numbered_classes;

    #[test]
    fn mean_and_deviation_are_those_of_each_channel() {
        let images = vec![0, 255, 7, 255, 255, 7, 0, 0, 7, 255, 0, 7];
        let data = Dataset::new(images, vec![0, 1], [1, 2, 3], numbered_classes(2)).unwrap();
        let (mean, deviation) = normalisation(&data);
        assert_eq!(mean, [0.5, 0.5, 7.0 / 255.0]);
        assert_eq!(deviation, [0.5, 0.5, 1.0]);
    }

    /// The two numbers that everybody who trains on MNIST writes down, of all 60,000 training pictures;
    /// 5,000 fewer change the fourth digit.
    #[test]
    fn mnist_has_its_well_known_numbers() {
        let splits = crate::open(&crate::Source::Mnist, &crate::DataOptions::default()).unwrap();
        let (mean, deviation) = normalisation(&splits.train);
        assert!((mean[0] - 0.1307).abs() < 0.0003, "{mean:?}");
        assert!((deviation[0] - 0.3081).abs() < 0.0003, "{deviation:?}");
    }

    #[test]
    fn shapes_and_counts_are_those_of_the_data() {
        let data = |count: usize| {
            Dataset::new(vec![0; count * 12], vec![2; count], [2, 2, 3], numbered_classes(4)).unwrap()
        };
        let splits = Splits::new("x", data(5), data(1), data(3));
        let lines = shapes(&splits).map(|shape| shape.to_string());
        assert_eq!(
            lines,
            [
                "train images (5, 2, 2, 3)",
                "train labels (5,)",
                "validation images (1, 2, 2, 3)",
                "test images (3, 2, 2, 3)",
                "test labels (3,)"
            ]
        );
        assert_eq!(class_counts(&splits.test), [0, 0, 3, 0]);
    }
}
