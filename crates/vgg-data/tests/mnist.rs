//! The real MNIST: its splits, and a digit through a file and onto the terminal.

use vgg_data::ascii::draw;
use vgg_data::stats::{class_counts, shapes};
use vgg_data::{Loader, Source, Split, open, read_picture, write_png};

#[test]
fn mnist_is_split_as_in_tensorflows_tutorials() {
    let splits = open(&Source::Mnist, &vgg_data::DataOptions::default()).unwrap();
    assert_eq!(splits.name, "mnist");
    let lines = shapes(&splits).map(|shape| shape.to_string());
    assert_eq!(
        lines,
        [
            "train images (55000, 28, 28, 1)",
            "train labels (55000,)",
            "validation images (5000, 28, 28, 1)",
            "test images (10000, 28, 28, 1)",
            "test labels (10000,)"
        ]
    );
    assert_eq!(splits.validation.labels()[..5], [5, 0, 4, 1, 9]);
    assert_eq!(splits.train.labels()[..8], [7, 3, 4, 6, 1, 8, 1, 0]);
    assert_eq!(splits.test.labels()[..5], [7, 2, 1, 0, 4]);
    assert_eq!(class_counts(&splits.test), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
    let total =
        |digit: usize| Split::ALL.iter().map(|&split| class_counts(splits.get(split))[digit]).sum::<usize>();
    assert_eq!((0..10).map(total).sum::<usize>(), 70_000);

    // Computed once with another SHA-256 from the public files; a change means that saved runs can no longer be resumed.
    assert_eq!(splits.fingerprint(), "e8ec08c3e1dd289d01bbbbb16172fff7fa2cdc5c1385126d2743a78ed75f07e9");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zero.png");
    let zero = splits.train.image(7);
    write_png(&path, zero, 28, 28, 1).unwrap();
    assert_eq!(read_picture(&path, 28, 28, 1).unwrap(), (zero.to_vec(), None));

    // A 0 has ink on its ring and none in its middle.
    let drawing = draw(zero, 28, 28, 1);
    assert_eq!(drawing.lines().count(), 28);
    let middle: Vec<&str> = drawing.lines().nth(14).unwrap().split_whitespace().collect();
    assert_eq!(middle.len(), 2, "\n{drawing}");

    let mut loader = Loader::new(splits.train.len(), 100, 1).unwrap();
    assert_eq!(loader.steps_per_epoch(), 550);
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    let mut counts = vec![0; 10];
    for step in 550..1100 {
        loader.fill(&splits.train, step, &mut images, &mut labels);
        assert_eq!((images.len(), labels.len()), (100 * 784, 100));
        labels.iter().for_each(|&label| counts[label as usize] += 1);
    }
    assert_eq!(counts, class_counts(&splits.train));
}
