//! Files of data sets: IDX, gzip, and the folder that holds them.

use crate::parts::Part;
use crate::{check_message, scratch};
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::OnceLock;
use vgg_arch::text::one_line;
use vgg_data::idx::{Idx, read_idx};
use vgg_data::{Source, Split};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// An IDX file, read as pictures, as labels and with the rank that it claims.
///
/// # Panics
/// When the reader does what it must not.
pub fn idx(data: &[u8]) {
    scratch::with_file("data.idx", data, |path| {
        for rank in ranks(data) {
            match read_idx(path, rank) {
                Ok(idx) if data.starts_with(&GZIP_MAGIC) => check_size(&idx, rank),
                Ok(idx) => {
                    check_size(&idx, rank);
                    let header = header(&idx);
                    assert!(data.starts_with(&header) && data[header.len()..] == idx.values, "other values");
                }
                Err(error) => check_message(&error, "data.idx"),
            }
        }
    });
}

/// A gzip file when the bytes begin like one; else the first two bytes say how the others are packed.
///
/// # Panics
/// When the reader does what it must not.
pub fn gzip(data: &[u8]) {
    if data.starts_with(&GZIP_MAGIC) {
        return read_packed(data, &ranks(b""));
    }
    let Some((&[kind, number], content)) = data.split_first_chunk() else { return };
    let ranks = ranks(content);
    match kind % 5 {
        0 => read_packed(&pack(content), &ranks),
        // Two members, which make one stream.
        1 => {
            let (first, second) = content.split_at(content.len() * usize::from(number) / 256);
            read_packed(&[pack(first), pack(second)].concat(), &ranks);
        }
        // One byte changed, mostly in the checksum and the length at the end.
        2 => {
            let mut packed = pack(content);
            let place = packed.len() - 1 - usize::from(number) % packed.len();
            packed[place] ^= 1 << (kind / 5 % 8);
            read_packed(&packed, &ranks);
        }
        // A bomb: up to 255 MiB of zeros behind the content.
        3 => {
            let mut packed = pack(content);
            (0..number).for_each(|_| packed.extend_from_slice(mebibyte_of_zeros()));
            read_packed(&packed, &ranks);
        }
        // A file name, an extra field and a comment, none of which concern the reader.
        _ => {
            let (fields, content) = content.split_at(content.len().min(number.into()));
            let name: Vec<u8> = fields.iter().map(|&byte| byte.max(1)).collect();
            let mut encoder = GzBuilder::new()
                .filename(&name[..])
                .comment(&name[..])
                .extra(fields)
                .write(Vec::new(), Compression::fast());
            encoder.write_all(content).expect("a vector takes all");
            read_packed(&encoder.finish().expect("a vector takes all"), &ranks);
        }
    }
}

/// The files of a data folder, and of pictures to be predicted, with names that the input chooses.
///
/// # Panics
/// When a reader does what it must not.
pub fn folder(data: &[u8]) {
    scratch::with_folder("data", |folder| {
        let others: Vec<_> = Part::all(data).iter().filter_map(|part| put(folder, part)).collect();
        let source = Source::Folder(folder.to_owned());
        assert_eq!(source.to_string().parse(), Ok(source.clone()));
        read_source(folder);
        // Whatever cannot be read is listed, and nothing else goes wrong.
        if let Err(error) = vgg_data::check::check(&source, &vgg_data::DataOptions::default()) {
            check_message(&error, &one_line(&folder.display().to_string(), 400));
        }
        for name in others {
            let path = folder.join(&name);
            match vgg_data::read_picture(&path, 5, 6, 3) {
                Ok((pixels, _)) => assert_eq!(pixels.len(), 5 * 6 * 3),
                Err(error) => {
                    // A long path is cut in its middle.
                    let end: Vec<char> =
                        one_line(&name.to_string_lossy(), 10_000).chars().rev().take(20).collect();
                    check_message(&error, &end.iter().rev().collect::<String>());
                }
            }
        }
    });
}

/// The ranks with which an IDX file is read.
fn ranks(data: &[u8]) -> Vec<u8> {
    let mut ranks = vec![1, 3];
    ranks.extend(data.get(3));
    ranks
}

fn check_size(idx: &Idx, rank: u8) {
    assert_eq!(idx.dimensions.len(), usize::from(rank));
    assert_eq!(idx.dimensions.iter().product::<usize>(), idx.values.len());
    assert!(!idx.values.is_empty());
}

/// The header of the plain file that holds `idx`.
fn header(idx: &Idx) -> Vec<u8> {
    let rank = idx.dimensions.len() as u8;
    let sizes = idx.dimensions.iter().flat_map(|&size| (size as u32).to_be_bytes());
    [0, 0, 8, rank].into_iter().chain(sizes).collect()
}

fn read_packed(packed: &[u8], ranks: &[u8]) {
    scratch::with_file("data.gz", packed, |path| {
        for &rank in ranks {
            match read_idx(path, rank) {
                Ok(idx) => {
                    check_size(&idx, rank);
                    if packed.starts_with(&GZIP_MAGIC) {
                        check_unpacked(packed, &idx);
                    }
                }
                Err(error) => check_message(&error, "data.gz"),
            }
        }
    });
}

/// What was accepted is the whole stream.
fn check_unpacked(packed: &[u8], idx: &Idx) {
    let mut stream = MultiGzDecoder::new(packed);
    let header = header(idx);
    let mut rest = header.iter().chain(&idx.values);
    let mut piece = [0; 1 << 12];
    loop {
        let count = stream.read(&mut piece).expect("an accepted file has no damage");
        if count == 0 {
            break;
        }
        assert!(piece[..count].iter().all(|byte| rest.next() == Some(byte)), "other values than were packed");
    }
    assert_eq!(rest.next(), None, "more values than were packed");
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

fn mebibyte_of_zeros() -> &'static [u8] {
    static PACKED: OnceLock<Vec<u8>> = OnceLock::new();
    PACKED.get_or_init(|| pack(&vec![0; 1 << 20]))
}

/// CIFAR-10 in its binary version: the packed archive when the bytes begin like one; else the first byte
/// says whether the others are an archive to be packed, or the files of a folder.
///
/// # Panics
/// When a reader does what it must not.
pub fn cifar(data: &[u8]) {
    if data.starts_with(&GZIP_MAGIC) {
        return read_archive(data);
    }
    match data.split_first() {
        Some((0, archive)) => read_archive(&pack(archive)),
        Some((_, files)) => read_cifar_folder(files),
        None => {}
    }
}

fn read_archive(packed: &[u8]) {
    scratch::with_folder("cifar", |folder| {
        let path = folder.join("cifar.tar.gz");
        fs::write(&path, packed).expect("the temporary folder takes a file");
        read_source(&path);
    });
}

/// The lower three bits of a part choose one of the seven files; with the next, its content goes on until
/// there is a whole number of pictures.
fn read_cifar_folder(files: &[u8]) {
    const RECORD: usize = 3073;
    scratch::with_folder("cifar", |folder| {
        for part in Part::all(files) {
            let name = match part.kind & 7 {
                0 => "test_batch.bin".to_owned(),
                6 | 7 => "batches.meta.txt".to_owned(),
                number => format!("data_batch_{number}.bin"),
            };
            let mut bytes = part.bytes.to_vec();
            if part.kind & 8 != 0 {
                bytes.resize(bytes.len().max(1).next_multiple_of(RECORD), 0);
            }
            fs::write(folder.join(name), bytes).expect("the temporary folder takes a file");
        }
        read_source(folder);
    });
}

fn read_source(path: &Path) {
    match vgg_data::open(&Source::Folder(path.to_owned()), &vgg_data::DataOptions::default()) {
        Ok(splits) => check_splits(&splits, path),
        Err(error) => check_message(&error, &one_line(&path.display().to_string(), 400)),
    }
}

/// Puts a picture, or what is in its place, into a folder of a class. The lower two bits of a part choose
/// the split, the next two the class; the name is the part's own.
fn put_picture(folder: &Path, part: &Part<'_>) {
    let split = ["train", "val", "test", ""][usize::from(part.kind & 3)];
    let class = ["cat", "dog", "\u{e9}\u{202e}", "train"][usize::from(part.kind >> 2 & 3)];
    let folder = folder.join(split).join(class);
    let mut name = own_name(part.name);
    name.push(".png");
    let path = folder.join(&name);
    // Names that the system refuses, and names that are taken, are left out.
    let _ = fs::create_dir_all(&folder).and_then(|()| match part.kind >> 6 {
        0 | 2 => fs::write(&path, part.bytes),
        1 => fs::create_dir(&path),
        _ => link(&folder.join(own_name(part.bytes)), &path),
    });
}

/// Puts a part into the folder: with bit 4, a picture of a class; else its lower four bits choose a name
/// that a data folder has, or its own; its upper two what it is. Gives the name where it is its own and
/// could be made.
fn put(folder: &Path, part: &Part<'_>) -> Option<std::ffi::OsString> {
    const KINDS: [&str; 4] = ["train-images", "train-labels", "t10k-images", "t10k-labels"];
    if part.kind & 16 != 0 {
        put_picture(folder, part);
        return None;
    }
    let choice = usize::from(part.kind & 15);
    let own = choice == 15;
    let name = if own {
        own_name(part.name)
    } else {
        let name = KINDS[choice % 4];
        let rank = if name.ends_with("images") { 3 } else { 1 };
        let (dot, end) = [("-", ""), ("-", ".gz"), (".", ""), (".", ".gz")][choice / 4];
        format!("{name}{dot}idx{rank}-ubyte{end}").into()
    };
    let path = folder.join(&name);
    // Names that the system refuses, and names that are taken, are left out.
    let made = match part.kind >> 6 {
        0 => fs::write(&path, part.bytes),
        1 => fs::create_dir(&path),
        2 => fs::write(&path, pack(part.bytes)),
        _ => link(&folder.join(own_name(part.bytes)), &path),
    };
    (own && made.is_ok()).then_some(name)
}

/// A name in the folder itself, never elsewhere.
fn own_name(bytes: &[u8]) -> std::ffi::OsString {
    let bytes: Vec<u8> =
        bytes.iter().map(|&byte| if matches!(byte, 0 | b'/') { b'_' } else { byte }).collect();
    let bytes = if matches!(&bytes[..], b"" | b"." | b"..") { b"_".to_vec() } else { bytes };
    name_of(bytes)
}

#[cfg(unix)]
fn name_of(bytes: Vec<u8>) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

#[cfg(not(unix))]
fn name_of(bytes: Vec<u8>) -> std::ffi::OsString {
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(unix)]
fn link(to: &Path, path: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(to, path)
}

#[cfg(not(unix))]
fn link(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

fn check_splits(splits: &vgg_data::Splits, folder: &Path) {
    assert_eq!(splits.name, folder.display().to_string());
    let [train, validation, test] = Split::ALL.map(|split| splits.get(split));
    for data in [train, validation, test] {
        assert_eq!(data.images().len(), data.len() * data.image_size());
        assert_eq!(data.labels().len(), data.len());
        assert!(data.labels().iter().all(|&label| (label as usize) < data.classes()));
        assert!(data.len() > 0 && data.image_size() > 0 && data.classes() > 1);
        let shape = |data: &vgg_data::Dataset| [data.height(), data.width(), data.channels()];
        assert_eq!(shape(data), shape(train));
        assert!(matches!(data.channels(), 1 | 3));
        assert_eq!(data.class_names(), train.class_names());
    }
    let shown =
        |class| train.labels().iter().chain(validation.labels()).any(|&label| label as usize == class);
    // CIFAR-10 has ten classes, whatever the files show.
    let is_cifar = folder.to_string_lossy().contains("cifar");
    assert!(is_cifar || (0..train.classes()).all(shown), "a class without a training picture");
}
