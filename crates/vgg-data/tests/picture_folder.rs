//! Folders of pictures: layouts, splits, sizes, channels, and what is wrong with them.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use support::{message, read};
use tempfile::TempDir;
use vgg_data::{DataOptions, ErrorKind, Loading, Progress, SeededSplit, Source, Splits, open, write_png};

/// Writes a picture whose pixels are all `value`.
fn grey(path: &Path, value: u8, [height, width]: [usize; 2]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write_png(path, &vec![value; height * width], height, width, 1).unwrap();
}

fn colour(path: &Path, value: [u8; 3]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write_png(path, &value.repeat(4), 2, 2, 3).unwrap();
}

/// 10 cats with the values 0 to 9 and 10 dogs with 100 to 109 in each of these folders.
fn animals(folder: &Path, parts: &[&str]) {
    for part in parts {
        for index in 0..10 {
            grey(&folder.join(part).join(format!("cat/{index}.png")), index, [2, 2]);
            grey(&folder.join(part).join(format!("dog/{index}.png")), 100 + index, [2, 2]);
        }
    }
}

fn lengths(splits: &Splits) -> [usize; 3] {
    [splits.train.len(), splits.validation.len(), splits.test.len()]
}

fn values(splits: &Splits) -> [BTreeSet<u8>; 3] {
    [&splits.train, &splits.validation, &splits.test].map(|data| data.images().iter().copied().collect())
}

#[test]
fn folders_for_all_three_splits_are_taken_as_they_are() {
    for [train, validation, test] in [
        ["train", "val", "test"],
        ["train", "validation", "test"],
        ["Train", "VALID", "Testing"],
        ["training", "Val", "TEST"],
    ] {
        let folder = TempDir::new().unwrap();
        animals(folder.path(), &[train, validation, test]);
        let splits = read(folder.path()).unwrap();
        assert_eq!((lengths(&splits), splits.seeded), ([20; 3], None));
        assert_eq!(splits.train.class_names(), ["cat", "dog"]);
        assert_eq!((splits.train.image(0), splits.train.label(0)), (&[0; 4][..], 0));
        assert_eq!((splits.test.image(19), splits.test.label(19)), (&[109; 4][..], 1));
        assert_eq!(splits.notes, [""; 0]);
    }
}

#[test]
fn what_is_missing_is_taken_from_the_training_pictures() {
    for (parts, expected) in [
        (&["train"][..], [16, 2, 2]),
        (&[""], [16, 2, 2]),
        (&["train", "val"], [18, 20, 2]),
        (&["train", "test"], [18, 2, 20]),
    ] {
        let folder = TempDir::new().unwrap();
        animals(folder.path(), parts);
        let splits = read(folder.path()).unwrap();
        assert_eq!((lengths(&splits), splits.seeded), (expected, Some(SeededSplit::default())), "{parts:?}");
        let [train, validation, test] = values(&splits);
        if parts.len() == 1 {
            assert!(
                train.is_disjoint(&validation) && train.is_disjoint(&test) && validation.is_disjoint(&test)
            );
            assert_eq!(train.len() + validation.len() + test.len(), 20);
        }
        for data in [&splits.train, &splits.validation, &splits.test] {
            let dogs = data.labels().iter().filter(|&&label| label == 1).count();
            assert_eq!(dogs * 2, data.len(), "each class has its share");
            assert!((0..data.len()).all(|index| (data.image(index)[0] >= 100) == (data.label(index) == 1)));
        }
    }
}

#[test]
fn the_split_does_not_depend_on_the_order_of_files_but_on_the_seed() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    animals(folder.path(), &[""]);
    for index in (0..10).rev() {
        grey(&other.path().join(format!("train/dog/{index}.png")), 100 + index, [2, 2]);
        grey(&other.path().join(format!("train/cat/{index}.png")), index, [2, 2]);
    }
    let splits = read(folder.path()).unwrap();
    assert_eq!(splits.fingerprint(), read(other.path()).unwrap().fingerprint());
    let with = |split| {
        open(&Source::Folder(folder.path().to_owned()), &DataOptions { split, ..DataOptions::default() })
    };
    let seed = with(SeededSplit { seed: 5, ..SeededSplit::default() }).unwrap();
    assert_ne!(seed.fingerprint(), splits.fingerprint());
    let halves = SeededSplit { seed: 1, validation: 0.5, test: 0.2 };
    let halves_splits = with(halves).unwrap();
    assert_eq!((lengths(&halves_splits), halves_splits.seeded), ([6, 10, 4], Some(halves)));
    assert!(with(SeededSplit { seed: 1, validation: 1.0, test: 0.5 }).is_err());
}

#[test]
fn grey_stays_grey_and_one_coloured_picture_makes_all_colour() {
    let folder = TempDir::new().unwrap();
    animals(folder.path(), &["train"]);
    assert_eq!(read(folder.path()).unwrap().train.channels(), 1);
    colour(&folder.path().join("train/dog/x.png"), [1, 2, 3]);
    let splits = read(folder.path()).unwrap();
    assert_eq!(splits.test.channels(), 3);
    assert!(splits.train.images().chunks_exact(3).any(|pixel| pixel == [109; 3]));
    let all = [&splits.train, &splits.validation, &splits.test].map(|data| data.images().to_vec()).concat();
    assert!(all.chunks_exact(3).any(|pixel| pixel == [1, 2, 3]));
}

#[test]
fn the_size_is_that_of_all_pictures_or_a_usual_one_or_the_one_wanted() {
    let folder = TempDir::new().unwrap();
    let size = |image_size| {
        let options = DataOptions { image_size, ..DataOptions::default() };
        let splits = open(&Source::Folder(folder.path().to_owned()), &options).unwrap();
        ([splits.train.height(), splits.train.width()], splits.notes)
    };
    animals(folder.path(), &["train"]);
    assert_eq!(size(None), ([2, 2], vec![]));
    assert_eq!(size(Some([2, 2])), ([2, 2], vec![]));
    let note = "the pictures are 2x2 (height x width) and were brought to 3x5";
    assert_eq!(size(Some([3, 5])), ([3, 5], vec![note.to_owned()]));
    grey(&folder.path().join("train/cat/x.png"), 7, [4, 3]);
    let (mixed, notes) = size(None);
    assert_eq!(mixed, [64, 64]);
    assert!(
        notes[0].starts_with("the pictures have 2 sizes (height x width) and were brought to 64x64"),
        "{notes:?}"
    );
    assert!(size(Some([9, 9])).1[0].ends_with("have 2 sizes (height x width) and were brought to 9x9"));
    let large = TempDir::new().unwrap();
    for index in 0..3 {
        for class in ["a", "b"] {
            grey(&large.path().join(class).join(format!("{index}.png")), index, [257, 10]);
        }
    }
    let splits = read(large.path()).unwrap();
    assert_eq!((splits.train.height(), lengths(&splits)), (64, [2; 3]));
    assert!(splits.notes[0].starts_with("the pictures are 257x10"), "{:?}", splits.notes);
}

#[test]
fn a_limit_takes_some_of_every_class() {
    let folder = TempDir::new().unwrap();
    animals(folder.path(), &["train", "val", "test"]);
    let options = DataOptions { limit: Some(4), ..DataOptions::default() };
    let limited = || open(&Source::Folder(folder.path().to_owned()), &options).unwrap();
    let splits = limited();
    assert_eq!((lengths(&splits), splits.train.labels()), ([4; 3], &[0, 0, 1, 1][..]));
    // A picture that is not chosen is not read.
    let other = (0..10).find(|value| !splits.train.images().contains(value)).unwrap();
    fs::write(folder.path().join(format!("train/cat/{other}.png")), "no picture").unwrap();
    assert_eq!(limited().fingerprint(), splits.fingerprint());
}

#[test]
fn grey_or_colour_is_as_wanted_with_a_note() {
    let folder = TempDir::new().unwrap();
    animals(folder.path(), &["train", "val", "test"]);
    let open = |channels| {
        let options = DataOptions { channels, ..DataOptions::default() };
        open(&Source::Folder(folder.path().to_owned()), &options)
    };
    let grey = open(Some(1)).unwrap();
    assert_eq!((grey.train.channels(), grey.notes.len()), (1, 0));
    let colours = open(Some(3)).unwrap();
    assert_eq!((colours.train.channels(), colours.train.image(1)), (3, &[1; 12][..]));
    assert_eq!(colours.notes, ["the pictures are grey and were given three equal channels"]);
    colour(&folder.path().join("test/dog/x.png"), [255, 0, 0]);
    let splits = open(Some(1)).unwrap();
    assert_eq!((splits.test.channels(), splits.test.image(20)), (1, &[54; 4][..]));
    assert_eq!(splits.notes, ["the pictures have colour and were made grey, as was wanted"]);
    assert_eq!(open(Some(3)).unwrap().notes, [""; 0]);
    assert_eq!(open(Some(2)).unwrap_err().kind(), ErrorKind::Argument);
}

#[test]
fn reading_ends_when_it_is_to() {
    let folder = TempDir::new().unwrap();
    animals(folder.path(), &["train", "val", "test"]);
    let source = Source::Folder(folder.path().to_owned());
    let options = DataOptions { progress: Progress::default().until(|| true), ..DataOptions::default() };
    assert_eq!(open(&source, &options).unwrap_err().kind(), ErrorKind::Interrupted);
    assert_eq!(vgg_data::check::check(&source, &options).unwrap().unreadable.len(), 0);
}

#[test]
fn folders_beside_those_of_the_splits_are_named() {
    let folder = TempDir::new().unwrap();
    animals(folder.path(), &["train", "val", "test", "dev", "more"]);
    let notes = read(folder.path()).unwrap().notes;
    assert_eq!(notes.len(), 2);
    for (note, name) in notes.iter().zip(["dev", "more"]) {
        assert!(
            note.ends_with(&format!("{name}: a folder that is neither train, val nor test; passed over"))
        );
    }
    let findings =
        vgg_data::check::check(&Source::Folder(folder.path().to_owned()), &DataOptions::default()).unwrap();
    assert_eq!(findings.notes, notes);
}

#[test]
fn hidden_files_are_nothing_and_others_are_passed_over_with_a_note() {
    let folder = TempDir::new().unwrap();
    animals(folder.path(), &["train", "val", "test"]);
    for name in [".hidden", "train/.DS_Store", "train/cat/.x.png"] {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    fs::create_dir(folder.path().join("train/.cache")).unwrap();
    assert_eq!(read(folder.path()).unwrap().notes, [""; 0]);
    fs::write(folder.path().join("train/cat/notes.txt"), "x").unwrap();
    fs::write(folder.path().join("test/readme"), "x").unwrap();
    fs::create_dir(folder.path().join("train/dog/more")).unwrap();
    let notes = read(folder.path()).unwrap().notes;
    assert_eq!(notes.len(), 1);
    let note = "notes.txt: no PNG or JPEG file of a class; passed over, with 2 others";
    assert!(notes[0].contains(note), "{notes:?}");
}

#[test]
fn endings_may_be_large_and_jpeg_files_are_read() {
    let folder = TempDir::new().unwrap();
    animals(folder.path(), &["train", "val", "test"]);
    fs::rename(folder.path().join("train/cat/0.png"), folder.path().join("train/cat/0.PNG")).unwrap();
    let picture = image::GrayImage::from_pixel(2, 2, image::Luma([50]));
    picture.save(folder.path().join("train/dog/x.jpeg")).unwrap();
    fs::rename(folder.path().join("train/dog/x.jpeg"), folder.path().join("train/dog/x.JpEg")).unwrap();
    let splits = read(folder.path()).unwrap();
    assert_eq!(lengths(&splits), [21, 20, 20]);
    assert_eq!(splits.train.image(20)[0].abs_diff(50) / 2, 0);
}

#[test]
fn the_first_bad_picture_is_named_whatever_the_threads_do() {
    let folder = TempDir::new().unwrap();
    animals(folder.path(), &["train", "val", "test"]);
    for name in ["train/dog/3.png", "train/cat/5.png", "val/cat/0.png"] {
        fs::write(folder.path().join(name), "no picture").unwrap();
    }
    for _ in 0..20 {
        let message = message(folder.path());
        assert!(message.contains("train/cat/5.png: is of an unknown kind"), "{message}");
    }
    // Damage that only decoding finds.
    animals(folder.path(), &["train", "val", "test"]);
    let path = folder.path().join("test/dog/9.png");
    let mut bytes = fs::read(&path).unwrap();
    let place = bytes.len() - 20;
    bytes[place] ^= 255;
    fs::write(&path, bytes).unwrap();
    assert!(message(folder.path()).contains("test/dog/9.png: cannot be decoded"));
}

#[test]
fn folders_that_are_laid_out_wrongly_are_refused() {
    let refused = |make: &dyn Fn(&Path), cause: &str| {
        let folder = TempDir::new().unwrap();
        animals(folder.path(), &["train", "val", "test"]);
        make(folder.path());
        let message = message(folder.path());
        assert!(message.contains(cause), "{cause}: {message}");
    };
    refused(
        &|folder| grey(&folder.join("val/bird/0.png"), 0, [2, 2]),
        "val/bird: there is no class bird in the",
    );
    refused(
        &|folder| fs::create_dir(folder.join("validation")).unwrap(),
        "has the folders val and validation",
    );
    refused(
        &|folder| fs::create_dir(folder.join("TEST")).unwrap(),
        "has the folders TEST and test, which mean the same; remove one",
    );
    refused(
        &|folder| {
            fs::remove_dir_all(folder.join("test")).unwrap();
            (0..3).for_each(|index| grey(&folder.join(format!("test/{index}.png")), index, [2, 2]));
        },
        "test: 3 pictures lie in it directly, so that their classes are not known; put those of each class",
    );
    refused(
        &|folder| fs::create_dir(folder.join("train/bird")).unwrap(),
        "train/bird: no PNG or JPEG files are in",
    );
    refused(&|folder| fs::create_dir(folder.join("train/a\nb")).unwrap(), "the name of a class must be text");
    refused(
        &|folder| fs::remove_dir_all(folder.join("train/cat")).unwrap(),
        "has 1 folders of classes, expected",
    );
    refused(
        &|folder| {
            fs::remove_dir_all(folder.join("test")).unwrap();
            fs::create_dir(folder.join("test")).unwrap();
        },
        "there are no PNG or JPEG pictures for the test; put",
    );
    refused(
        &|folder| {
            fs::remove_dir_all(folder).unwrap();
            fs::create_dir(folder).unwrap();
        },
        "holds neither IDX files, nor folders of pictures, nor CIFAR-10's binary files; give",
    );
    refused(
        &|folder| {
            fs::remove_dir_all(folder).unwrap();
            (0..2).for_each(|index| grey(&folder.join(format!("a/{index}.png")), 1, [2, 2]));
            (0..2).for_each(|index| grey(&folder.join(format!("b/{index}.png")), 1, [2, 2]));
        },
        "there are no PNG or JPEG pictures for validation; put at least 3",
    );
}

#[cfg(unix)]
#[test]
fn links_that_lead_in_circles_and_pipes_end_in_a_message() {
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::symlink;
    let folder = TempDir::new().unwrap();
    animals(folder.path(), &["train", "val", "test"]);
    // A class folder that leads to the top has folders, which are passed over.
    symlink("..", folder.path().join("train/cat/up")).unwrap();
    assert!(read(folder.path()).unwrap().notes[0].contains("train/cat/up"));
    // A name that is not text is a name all the same.
    let name = std::ffi::OsString::from_vec(b"\xff\xfe.png".to_vec());
    grey(&folder.path().join("train/dog").join(name), 33, [2, 2]);
    assert!(read(folder.path()).unwrap().train.images().contains(&33));
    symlink("loop.png", folder.path().join("train/dog/loop.png")).unwrap();
    assert!(message(folder.path()).contains("train/dog/loop.png: "));
    fs::remove_file(folder.path().join("train/dog/loop.png")).unwrap();
    fs::create_dir(folder.path().join("train/dog/folder.png")).unwrap();
    assert_eq!(read(folder.path()).unwrap().train.len(), 21);
    fs::create_dir(folder.path().join("train").join(std::ffi::OsString::from_vec(b"\xff".to_vec()))).unwrap();
    assert!(message(folder.path()).contains("the name of a class must be text in UTF-8"));
}

#[test]
fn progress_ends_at_the_total() {
    let folder = TempDir::new().unwrap();
    animals(folder.path(), &["train", "val", "test"]);
    let most = Arc::new(AtomicU64::new(0));
    let seen = most.clone();
    let progress = Progress::new(move |loading: &Loading<'_>| {
        assert!(loading.done <= loading.total && loading.total == 60);
        seen.fetch_max(loading.done, Ordering::Relaxed);
    });
    open(&Source::Folder(folder.path().to_owned()), &DataOptions { progress, ..DataOptions::default() })
        .unwrap();
    assert_eq!(most.load(Ordering::Relaxed), 60);
}

#[test]
fn a_check_lists_every_picture_that_cannot_be_read_and_every_copy() {
    let folder = TempDir::new().unwrap();
    animals(folder.path(), &["train", "val", "test"]);
    // The splits of `animals` are copies of each other.
    let source = Source::Folder(folder.path().to_owned());
    let check = || vgg_data::check::check(&source, &DataOptions::default()).unwrap();
    let findings = check();
    assert_eq!((findings.pictures, findings.across_splits.len()), ([20; 3], 40));
    assert_eq!(findings.across_splits[0].first, "train/cat/0.png");
    assert_eq!(findings.across_splits[0].second, "val/cat/0.png");
    assert_eq!((findings.unusable, findings.across_classes.len()), (None, 0));

    fs::write(folder.path().join("train/cat/0.png"), "no picture").unwrap();
    let path = folder.path().join("val/dog/9.png");
    let mut bytes = fs::read(&path).unwrap();
    let place = bytes.len() - 20;
    bytes[place] ^= 255;
    fs::write(&path, bytes).unwrap();
    grey(&folder.path().join("train/dog/copy.png"), 1, [2, 2]);
    fs::create_dir(folder.path().join("train/ant")).unwrap();
    let findings = check();
    assert_eq!(findings.pictures, [20, 19, 20]);
    assert!(findings.unusable.unwrap().contains("train/cat/0.png"));
    assert!(findings.unreadable[0].contains("train/cat/0.png: is of an unknown kind"));
    assert!(findings.unreadable[1].contains("val/dog/9.png: cannot be decoded"));
    assert_eq!(findings.unreadable.len(), 2);
    let pair = &findings.across_classes[0];
    assert_eq!([&pair.first, &pair.first_class], ["train/cat/1.png", "cat"]);
    assert_eq!([&pair.second, &pair.second_class], ["train/dog/copy.png", "dog"]);
    assert_eq!(findings.empty_classes.len(), 3);
    assert_eq!(findings.tiny_classes[0].class, "cat");

    fs::write(
        folder.path().join("train/cat/0.png"),
        fs::read(folder.path().join("train/cat/1.png")).unwrap(),
    )
    .unwrap();
    fs::remove_file(path).unwrap();
    assert!(check().unusable.unwrap().contains("train/ant: no PNG or JPEG files"));
}
