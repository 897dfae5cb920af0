//! Folders of IDX files: what is accepted, and that every kind of damage gets a clear error.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use vgg_data::idx::read_idx;
use vgg_data::{DataError, DataOptions, ErrorKind, Source, open};

const NAMES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// The bytes of an IDX file of unsigned bytes.
fn idx(dimensions: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
    bytes.extend(dimensions.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend_from_slice(values);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// 20 training and 3 test pictures of 2×3 pixels in three classes; picture `i` is filled with `i`.
fn files() -> [Vec<u8>; 4] {
    let pictures = |count: u8| (0..count).flat_map(|index| [index; 6]).collect::<Vec<u8>>();
    let labels = |count: u8| (0..count).map(|index| index % 3).collect::<Vec<u8>>();
    [
        idx(&[20, 2, 3], &pictures(20)),
        idx(&[20], &labels(20)),
        idx(&[3, 2, 3], &pictures(3)),
        idx(&[3], &labels(3)),
    ]
}

fn folder(files: &[Vec<u8>; 4]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in NAMES.iter().zip(files) {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn open_folder(path: &Path) -> Result<vgg_data::Splits, DataError> {
    open(&Source::Folder(path.to_path_buf()), &DataOptions::default())
}

/// Opens the good folder with file `number` replaced, and checks kind and message of the error:
/// the file's name, the cause and the next step.
#[track_caller]
fn refused(number: usize, bytes: Vec<u8>, cause: &str, advice: &str) {
    let mut files = files();
    files[number] = bytes;
    let folder = folder(&files);
    let error = open_folder(folder.path()).unwrap_err();
    let message = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{message}");
    assert!(message.starts_with(&format!("{}: ", folder.path().join(NAMES[number]).display())), "{message}");
    assert!(message.contains(cause), "{message}");
    assert!(message.contains(&format!("; {advice}")), "{message}");
}

#[test]
fn a_good_folder_is_split() {
    let folder = folder(&files());
    let splits = open_folder(folder.path()).unwrap();
    assert_eq!(splits.name, folder.path().display().to_string());
    assert_eq!((splits.train.len(), splits.validation.len(), splits.test.len()), (18, 2, 3));
    let train = &splits.train;
    assert_eq!((train.height(), train.width(), train.channels(), train.classes()), (2, 3, 1, 3));
    assert_eq!(train.class_names(), ["0", "1", "2"]);
    // The first tenth is for validation, so training begins with picture 2.
    assert_eq!((splits.validation.image(1), splits.validation.label(1)), (&[1; 6][..], 1));
    assert_eq!((train.image(0), train.label(0)), (&[2; 6][..], 2));
    assert_eq!((splits.test.image(2), splits.test.label(2)), (&[2; 6][..], 2));
}

#[test]
fn many_pictures_give_five_thousand_for_validation() {
    let labels: Vec<u8> = (0..50_000_u32).map(|index| (index % 7) as u8).collect();
    let mut files = files();
    files[0] = idx(&[50_000, 1, 1], &labels);
    files[1] = idx(&[50_000], &labels);
    files[2] = idx(&[3, 1, 1], &[0; 3]);
    let splits = open_folder(folder(&files).path()).unwrap();
    assert_eq!((splits.validation.len(), splits.train.len()), (5_000, 45_000));
    assert_eq!(splits.train.label(0), 5_000 % 7);
}

#[test]
fn gzip_and_other_names_are_accepted() {
    let plain = open_folder(folder(&files()).path()).unwrap();
    let [images, labels, test_images, test_labels] = files();
    let members = [gzip(&images[..50]), gzip(&images[50..])].concat();
    let folder = tempfile::tempdir().unwrap();
    // Packed or not is told by the content: the second is packed under a plain name, the third the reverse.
    for (name, bytes) in [
        ("train-images.idx3-ubyte.gz", members),
        ("train-labels-idx1-ubyte", gzip(&labels)),
        ("t10k-images-idx3-ubyte.gz", test_images),
        ("t10k-labels.idx1-ubyte", test_labels),
    ] {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let splits = open_folder(folder.path()).unwrap();
    assert_eq!(splits.fingerprint(), plain.fingerprint());
}

#[test]
fn missing_files_and_folders_are_named() {
    let folder = folder(&files());
    fs::remove_file(folder.path().join(NAMES[3])).unwrap();
    let error = open_folder(folder.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreadable);
    let expected = format!(
        "{}: no t10k-labels file in this folder; looked for t10k-labels-idx1-ubyte, \
         t10k-labels-idx1-ubyte.gz, t10k-labels.idx1-ubyte, t10k-labels.idx1-ubyte.gz; put the file there",
        folder.path().display()
    );
    assert!(error.to_string().starts_with(&expected), "{error}");

    for (path, cause) in [
        (folder.path().join("none"), "there is no such folder"),
        (folder.path().join(NAMES[0]), "is not a folder"),
    ] {
        let error = open_folder(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreadable);
        let expected = format!(
            "{}: {cause}; give a folder with four IDX files or of pictures, or use mnist, fashion-mnist, kmnist, \
             cifar-10",
            path.display()
        );
        assert_eq!(error.to_string(), expected);
    }

    let error = read_idx(folder.path(), 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreadable);
    assert!(error.to_string().contains("is not a file; give an IDX file"), "{error}");
    let error = read_idx(&folder.path().join("none"), 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreadable);
    assert!(error.to_string().contains("none: No such file"), "{error}");
}

#[test]
fn a_name_that_nothing_has_is_answered_with_those_there_are() {
    let message = |name: &str| open_folder(Path::new(name)).unwrap_err().to_string();
    assert_eq!(
        message("minst"),
        "minst: there is no such folder; give a folder with four IDX files or of pictures, or use mnist, \
         fashion-mnist, kmnist, cifar-10 (did you mean mnist?)"
    );
    assert!(!message("elsewhere").contains("mean"));
}

#[test]
fn test_pictures_may_be_called_either_way_in_any_set() {
    let plain = folder(&files());
    let expected = open_folder(plain.path()).unwrap().fingerprint();
    for (prefix, test) in [("fashion-", "t10k"), ("a_", "test"), ("", "test"), ("x", "t10k")] {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in NAMES.iter().zip(files()) {
            let name = format!("{prefix}{}", name.replace("t10k", test));
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let name = prefix.trim_end_matches(['-', '_']);
        let named = (!name.is_empty()).then(|| folder.path().join(name));
        for path in [Some(folder.path().to_owned()), named].iter().flatten() {
            let splits = open_folder(path).unwrap_or_else(|error| panic!("{prefix} {test}: {error}"));
            assert_eq!(splits.fingerprint(), expected);
        }
        let more = format!("{prefix}{}-images-idx3-ubyte", if test == "test" { "t10k" } else { "test" });
        fs::write(folder.path().join(more), "").unwrap();
        let message = open_folder(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains(&format!("{prefix}t10k-images and {prefix}test-images; remove")),
            "{message}"
        );
    }
}

#[test]
fn wrong_magic_is_shown() {
    let advice = "give a picture file";
    refused(
        0,
        b"PK\x03\x04 and so on".to_vec(),
        "starts with the bytes 50 4b 03 04: no IDX file; expected",
        advice,
    );
    refused(
        0,
        gzip(b"PK\x03\x04 and so on"),
        "starts with the bytes 50 4b 03 04: no IDX file; expected",
        advice,
    );
    let floats = [&[0, 0, 0x0d, 3][..], &files()[0][4..]].concat();
    refused(0, floats, "00 00 0d 03: an IDX file whose values are not unsigned bytes", advice);
    refused(
        0,
        files()[1].clone(),
        "00 00 08 01: an IDX file with 1 dimensions; expected 00 00 08 03",
        advice,
    );
    refused(
        3,
        files()[2].clone(),
        "an IDX file with 3 dimensions; expected 00 00 08 01",
        "give a label file",
    );
}

#[test]
fn impossible_headers_are_refused() {
    let advice = "fetch or make the file again";
    refused(0, vec![], "ends after 0 bytes, expected an IDX header of 16 bytes", advice);
    refused(0, files()[0][..3].to_vec(), "ends after 3 bytes, expected an IDX header of 16 bytes", advice);
    refused(1, files()[1][..7].to_vec(), "ends after 7 bytes, expected an IDX header of 8 bytes", advice);
    refused(0, idx(&[0, 28, 28], &[]), "declares the sizes [0, 28, 28], expected all above 0", advice);
    refused(1, idx(&[0], &[]), "declares the sizes [0], expected all above 0", advice);
    refused(0, idx(&[20, 2, 0], &[]), "declares the sizes [20, 2, 0], expected all above 0", advice);
    refused(0, idx(&[u32::MAX; 3], &[0; 9]), "more than a computer can hold", advice);
    refused(0, gzip(&idx(&[u32::MAX; 3], &[0; 9])), "more than a computer can hold", advice);
}

#[test]
fn lengths_must_be_as_declared() {
    let advice = "fetch or make the file again";
    let [images, ..] = files();
    let truncated = &images[..images.len() - 1];
    let longer = [&images[..], &[0]].concat();
    refused(0, truncated.to_vec(), "declares 20x2x3 = 120 values, but the file holds 119", advice);
    refused(0, gzip(truncated), "declares 20x2x3 = 120 values, but the file holds 119", advice);
    refused(0, longer.clone(), "declares 20x2x3 = 120 values, but the file holds 121", advice);
    refused(0, gzip(&longer), "declares 20x2x3 = 120 values, but the file holds more", advice);
    // Refused by comparison with the file's length: this much could not be allocated.
    let huge = idx(&[u32::MAX, 30_000, 30_000], &[1, 2, 3]);
    refused(0, huge.clone(), "but the file holds 3", advice);
    refused(0, gzip(&huge), "but the file holds at most", advice);
    // A few kilobytes that unpack to 16 MB more than declared are unpacked no further than that.
    let bomb = gzip(&[images, vec![0; 1 << 24]].concat());
    assert!(bomb.len() < 20_000);
    refused(0, bomb, "but the file holds more", advice);
}

#[test]
fn damaged_gzip_is_refused() {
    let advice = "fetch or make the file again";
    let whole = gzip(&files()[0]);
    refused(0, whole[..whole.len() / 2].to_vec(), "the gzip data end too early (truncated file)", advice);
    refused(0, whole[..whole.len() - 3].to_vec(), "the gzip data end too early (truncated file)", advice);
    refused(0, whole[..5].to_vec(), "the gzip data end too early (truncated file)", advice);
    let mut checksum = whole.clone();
    let place = checksum.len() - 6;
    checksum[place] ^= 1;
    refused(0, checksum, "the gzip data are damaged (", advice);
    let garbage = [&whole[..], b"trailing bytes"].concat();
    refused(0, garbage, "the gzip data are damaged (", advice);
}

#[test]
fn every_truncation_and_every_changed_header_byte_is_an_error_or_harmless() {
    let folder = folder(&files());
    let path = folder.path().join(NAMES[0]);
    let [images, ..] = files();
    for whole in [images.clone(), gzip(&images)] {
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            read_idx(&path, 3).unwrap_err();
        }
    }
    for place in 0..16 {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = images.clone();
            changed[place] = value;
            fs::write(&path, &changed).unwrap();
            assert_eq!(read_idx(&path, 3).is_ok(), changed == images, "byte {place} = {value}");
        }
    }
}

#[test]
fn files_must_belong_together() {
    let pair = "give two files that belong together";
    refused(1, idx(&[19], &[1; 19]), "19 labels, expected 20, one for each picture in ", pair);
    refused(3, idx(&[4], &[1; 4]), "4 labels, expected 3, one for each picture in ", pair);
    let one_size = "give training and test pictures of one size";
    refused(2, idx(&[3, 3, 2], &[0; 18]), "pictures of 3x2, but those of ", one_size);
}

#[test]
fn a_label_beyond_a_class_without_pictures_is_refused() {
    let advice = "correct the labels, or number the classes";
    let with = |count: u32, position: usize, label: u8| {
        let mut labels: Vec<u8> = (0..count).map(|index| (index % 3) as u8).collect();
        labels[position] = label;
        idx(&[count], &labels)
    };
    refused(1, with(20, 17, 255), "picture 17 has label 255, but no training picture has label 3", advice);
    refused(3, with(3, 1, 5), "picture 1 has label 5, but no training picture has label 3", advice);
    refused(3, with(3, 2, 3), "picture 2 has label 3, but no training picture has label 3", advice);
}

#[test]
fn too_little_to_learn_from_is_refused() {
    let mut files = files();
    files[0] = idx(&[1, 2, 3], &[0; 6]);
    files[1] = idx(&[1], &[1]);
    let error = open_folder(folder(&files).path()).unwrap_err();
    assert!(error.to_string().contains("holds 1 picture, expected at least 2"), "{error}");

    files[0] = idx(&[2, 2, 3], &[0; 12]);
    files[1] = idx(&[2], &[0; 2]);
    files[3] = idx(&[3], &[0; 3]);
    let error = open_folder(folder(&files).path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("every label is 0, expected at least two classes"), "{error}");
}
