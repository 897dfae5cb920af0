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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::numbered_classes;

    #[test]
    fn shapes_and_counts_are_those_of_the_data() {
        let data = |count: usize| {
            Dataset::new(vec![0; count * 12], vec![2; count], [2, 2, 3], numbered_classes(4)).unwrap()
        };
        let splits = Splits { name: "x".into(), train: data(5), validation: data(1), test: data(3) };
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
