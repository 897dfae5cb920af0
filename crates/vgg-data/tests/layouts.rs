//! The files of MNIST's relatives and of CIFAR-10, as they are published.

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;
use support::{message, read};
use tempfile::TempDir;
use vgg_data::{DataOptions, Progress, Source, Splits, open};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An IDX file with values of `kind`.
fn idx(kind: u8, dimensions: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, kind, dimensions.len() as u8];
    bytes.extend(dimensions.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend_from_slice(values);
    bytes
}

/// 20 pictures of 2 × 2 whose pixels are 0, 1, 2, 3.
fn images(count: u32) -> Vec<u8> {
    gzip(&idx(8, &[count, 2, 2], &[0, 1, 2, 3].repeat(count as usize)))
}

/// EMNIST's `set` with labels from `first` on: 20 pictures of each of two classes, one after the other.
fn emnist(folder: &Path, set: &str, first: u8) {
    for (part, count) in [("train", 40), ("test", 4)] {
        let labels: Vec<u8> = (0..count).map(|index| first + (index % 2) as u8).collect();
        let name = format!("emnist-{set}-{part}");
        fs::write(folder.join(format!("{name}-images-idx3-ubyte.gz")), images(count)).unwrap();
        let labels = gzip(&idx(8, &[count], &labels));
        fs::write(folder.join(format!("{name}-labels-idx1-ubyte.gz")), labels).unwrap();
    }
}

#[test]
fn emnist_pictures_lie_on_their_side() {
    let folder = TempDir::new().unwrap();
    emnist(folder.path(), "balanced", 0);
    let splits = read(folder.path()).unwrap();
    assert_eq!(splits.train.image(0), [0, 2, 1, 3], "rows and columns are exchanged");
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = told.clone();
    let progress =
        Progress::new(move |loading| listener.lock().unwrap().push((loading.task.to_owned(), loading.done)));
    let source = Source::Folder(folder.path().to_owned());
    open(&source, &DataOptions { progress, ..DataOptions::default() }).unwrap();
    assert_eq!(told.lock().unwrap().last(), Some(&("turning pictures".to_owned(), 4)));
    assert_eq!([splits.train.len(), splits.validation.len(), splits.test.len()], [36, 4, 4]);
    assert_eq!(splits.train.class_names(), ["0", "1"]);
    fs::write(folder.path().join("emnist-balanced-mapping.txt"), "0 65\n1 97\n").unwrap();
    assert_eq!(read(folder.path()).unwrap().train.class_names(), ["A", "a"]);
}

#[test]
fn emnist_letters_count_from_one() {
    let folder = TempDir::new().unwrap();
    emnist(folder.path(), "letters", 1);
    let splits = read(folder.path()).unwrap();
    assert_eq!(&splits.train.labels()[..2], [0, 1]);
    assert_eq!(splits.train.class_names(), ["1", "2"]);
    fs::write(folder.path().join("emnist-letters-mapping.txt"), "1 65 97\n2 66 98\n").unwrap();
    assert_eq!(read(folder.path()).unwrap().train.class_names(), ["Aa", "Bb"]);
    emnist(folder.path(), "letters", 0);
    assert!(message(folder.path()).contains("picture 0 has label 0, expected 1 to 255; correct the labels"));
}

#[test]
fn one_of_several_sets_is_chosen_by_its_name() {
    let folder = TempDir::new().unwrap();
    emnist(folder.path(), "digits", 0);
    emnist(folder.path(), "letters", 1);
    let several = message(folder.path());
    assert!(
        several.contains("holds several data sets: emnist-digits, emnist-letters; give one"),
        "{several}"
    );
    assert!(several.ends_with("/emnist-digits"), "{several}");
    let letters = folder.path().join("emnist-letters");
    let splits = read(&letters).unwrap();
    assert_eq!((splits.name, splits.train.class_names()[0].as_str()), (letters.display().to_string(), "1"));
    assert!(message(&folder.path().join("emnist-byclass")).contains("there is no such folder"));
}

#[test]
fn qmnist_has_eight_numbers_for_each_picture() {
    let folder = TempDir::new().unwrap();
    let write = |count: u32, class: &dyn Fn(u32) -> i32, columns: u32| {
        for part in ["train", "test"] {
            let images = images(count);
            fs::write(folder.path().join(format!("qmnist-{part}-images-idx3-ubyte.gz")), images).unwrap();
            let rows = (0..count).flat_map(|index| {
                (0..columns)
                    .flat_map(move |column| (if column == 0 { class(index) } else { -7 }).to_be_bytes())
            });
            let labels = gzip(&idx(0x0c, &[count, columns], &rows.collect::<Vec<u8>>()));
            fs::write(folder.path().join(format!("qmnist-{part}-labels-idx2-int.gz")), labels).unwrap();
        }
    };
    write(20, &|index| (index % 3) as i32, 8);
    let splits = read(folder.path()).unwrap();
    assert_eq!(splits.test.labels()[..5], [0, 1, 2, 0, 1]);
    assert_eq!(splits.test.image(0), [0, 1, 2, 3], "these pictures stand upright");
    write(20, &|index| if index == 3 { -1 } else { 1 }, 8);
    assert!(message(folder.path()).contains("picture 3 has label -1, expected 0 to 255"));
    let labels = idx(0x0c, &[20, 8], &[0; 640][..600]);
    fs::write(folder.path().join("qmnist-train-labels-idx2-int.gz"), &labels).unwrap();
    let short = message(folder.path());
    assert!(short.contains("20x8 = 160 values of 4 bytes, but the file holds 600 bytes of them"), "{short}");
}

/// As large as the data sets themselves, and packed as well as they are.
#[test]
fn data_that_unpack_to_a_few_times_their_size_are_read() {
    let folder = TempDir::new().unwrap();
    let count: u32 = 60_000;
    // Fifteen sixteenths are zeros, the rest is noise, so that a byte unpacks to some six.
    let mut state = 1_u32;
    let pixels: Vec<u8> = (0..count as usize * 784)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 28 == 0 { (state >> 16) as u8 } else { 0 }
        })
        .collect();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&idx(8, &[count, 28, 28], &pixels)).unwrap();
    let packed = packed.finish().unwrap();
    assert!((4..8).contains(&(pixels.len() / packed.len())), "{}", pixels.len() / packed.len());
    for part in ["train", "test"] {
        fs::write(folder.path().join(format!("qmnist-{part}-images-idx3-ubyte.gz")), &packed).unwrap();
        let labels: Vec<u8> = (0..count).map(|index| (index % 10) as u8).collect();
        let labels = idx(8, &[count], &labels);
        fs::write(folder.path().join(format!("qmnist-{part}-labels-idx1-ubyte")), labels).unwrap();
    }
    let splits = read(folder.path()).unwrap();
    assert_eq!([splits.train.len(), splits.validation.len(), splits.test.len()], [55_000, 5_000, 60_000]);
}

/// `count` records in CIFAR-10's form: the planes are full of 10, 20 and 30 plus the class.
fn records(count: usize, first: usize) -> Vec<u8> {
    (first..first + count)
        .flat_map(|index| {
            let class = (index % 10) as u8;
            let planes = [10, 20, 30].map(|value| [value + class; 1024]).concat();
            [vec![class], planes].concat()
        })
        .collect()
}

const BATCHES: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];

fn cifar(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for (index, name) in BATCHES.iter().enumerate() {
        fs::write(folder.join(name), records(20, 20 * index)).unwrap();
    }
    fs::write(folder.join("test_batch.bin"), records(10, 0)).unwrap();
}

/// An archive of these files, as tar writes it.
fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in files {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[156] = if name.ends_with('/') { b'5' } else { b'0' };
        header[257..263].copy_from_slice(b"ustar\0");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend(header);
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn check_cifar(splits: &Splits) {
    assert_eq!([splits.train.len(), splits.validation.len(), splits.test.len()], [90, 10, 10]);
    let data = &splits.train;
    assert_eq!([data.height(), data.width(), data.channels(), data.classes()], [32, 32, 3, 10]);
    assert_eq!(data.label(3), 3);
    assert!(data.image(3).chunks_exact(3).all(|pixel| pixel == [13, 23, 33]), "colours lie side by side");
    assert_eq!(splits.validation.label(9), 9);
}

#[test]
fn cifar_10_is_read_from_its_folder_the_one_around_it_and_its_archive() {
    let folder = TempDir::new().unwrap();
    let inner = folder.path().join("cifar-10-batches-bin");
    cifar(&inner);
    for path in [folder.path(), &inner] {
        let splits = read(path).unwrap();
        check_cifar(&splits);
        assert_eq!(splits.train.class_names()[..2], ["airplane", "automobile"]);
    }
    let mut files = vec![("cifar-10-batches-bin/".to_owned(), Vec::new())];
    for name in ["test_batch.bin", "readme.html"].iter().chain(&BATCHES) {
        let content = fs::read(inner.join(name)).unwrap_or_else(|_| b"<html>".to_vec());
        files.push((format!("cifar-10-batches-bin/{name}"), content));
    }
    let borrowed: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let path = folder.path().join("cifar-10-binary.tar.gz");
    let whole = archive(&borrowed);
    fs::write(&path, gzip(&whole)).unwrap();
    check_cifar(&read(&path).unwrap());

    for (bytes, cause) in [
        (
            gzip(&archive(&borrowed[..7])),
            "there is no data_batch_5.bin in this archive; fetch cifar-10-binary",
        ),
        (gzip(&whole[..whole.len() / 2]), "the archive ends too early"),
        (gzip(&whole[..100]), "the archive ends too early"),
        (gzip(&[1; 512]), "a header in the archive is damaged"),
        (gzip(&whole)[..1000].to_vec(), "the archive ends too early"),
        (
            gzip(&archive(&[&[("zeros", vec![0; 64 << 20])], &borrowed[..]].concat())),
            "what is packed is much larger than the archive",
        ),
        (b"<html>not found</html>".to_vec(), "the packed data are damaged"),
        (vec![], "the archive ends too early"),
    ] {
        fs::write(&path, bytes).unwrap();
        let message = message(&path);
        assert!(message.contains(cause) && message.contains("tar.gz"), "{cause}: {message}");
    }
}

#[test]
fn classes_of_cifar_10_may_have_names_of_their_own() {
    let folder = TempDir::new().unwrap();
    cifar(folder.path());
    let meta = folder.path().join("batches.meta.txt");
    fs::write(&meta, "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n").unwrap();
    assert_eq!(read(folder.path()).unwrap().test.class_names()[9], "j");
    fs::write(&meta, "a\nb\n").unwrap();
    assert!(
        message(folder.path())
            .ends_with("batches.meta.txt: 2 names, expected 10; correct the file, or remove it")
    );
}

#[test]
fn damaged_files_of_cifar_10_are_refused() {
    let folder = TempDir::new().unwrap();
    let refused = |name: &str, bytes: Option<Vec<u8>>, cause: &str| {
        cifar(folder.path());
        let path = folder.path().join(name);
        match bytes {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let message = message(folder.path());
        assert!(message.contains(cause) && message.contains(name), "{cause}: {message}");
    };
    refused("data_batch_3.bin", None, "No such file");
    refused("test_batch.bin", None, "No such file");
    refused(
        "data_batch_1.bin",
        Some(records(2, 0)[1..].to_vec()),
        "6145 bytes, expected pictures of 3073 bytes",
    );
    refused("data_batch_5.bin", Some(vec![]), "0 bytes, expected pictures of 3073");
    refused(
        "test_batch.bin",
        Some([records(2, 0), vec![10; 3073]].concat()),
        "picture 2 has class 10, expected 0 to 9",
    );
}
