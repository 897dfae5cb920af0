//! Names of classes that come with a data set, in files of text.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use vgg_arch::text::one_line;

use crate::error::DataError;

/// Longest file of names.
const LONGEST: u64 = 1 << 16;
/// Longest name in characters, and so that it stays on its line.
const LONGEST_NAME: usize = 255;

/// The names of a row of garments, as Fashion-MNIST's authors call them.
pub(crate) const FASHION_MNIST: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// KMNIST's ten syllables, as they are read.
pub(crate) const KMNIST: [&str; 10] = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"];

/// CIFAR-10's classes.
pub(crate) const CIFAR_10: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Whether outputs can print a name as it is.
pub(crate) fn is_printable(name: &str) -> bool {
    !name.trim().is_empty() && one_line(name, LONGEST_NAME) == name
}

/// The names in a file with one on each line; empty lines do not count.
pub(crate) fn lines(path: &Path) -> Result<Vec<String>, DataError> {
    let names: Vec<String> =
        read_text(path)?.lines().map(str::trim).filter(|line| !line.is_empty()).map(Into::into).collect();
    match names.iter().find(|name| !is_printable(name)) {
        Some(name) => Err(DataError::invalid(
            path.display(),
            format!("the class name {name:?} cannot be printed"),
            "correct the file, or remove it",
        )),
        None => Ok(names),
    }
}

/// The names of `classes` classes from EMNIST's file, whose lines are a label, from `first` on, and the
/// codes of the characters that it stands for: `1 65 97` are A and a.
pub(crate) fn mapping(path: &Path, first: usize, classes: usize) -> Result<Vec<String>, DataError> {
    let invalid = |cause: String| DataError::invalid(path.display(), cause, "correct the file, or remove it");
    let mut names = vec![String::new(); classes];
    for line in read_text(path)?.lines().filter(|line| !line.trim().is_empty()) {
        let numbers: Option<Vec<u32>> = line.split_whitespace().map(|word| word.parse().ok()).collect();
        let row = numbers.as_deref().and_then(<[u32]>::split_first).and_then(|(&label, codes)| {
            let name: Option<String> = codes.iter().map(|&code| char::from_u32(code)).collect();
            Some((label as usize, name.filter(|name| is_printable(name))?))
        });
        let Some((label, name)) = row else {
            return Err(invalid(format!(
                "the line {:?} is not a label with the codes of its characters",
                one_line(line, 40)
            )));
        };
        // A file may name more labels than the pictures have.
        if let Some(place) = label.checked_sub(first).and_then(|class| names.get_mut(class)) {
            *place = name;
        }
    }
    match names.iter().position(String::is_empty) {
        Some(class) => Err(invalid(format!("no line is about label {}", class + first))),
        None => Ok(names),
    }
}

fn read_text(path: &Path) -> Result<String, DataError> {
    let unreadable = |error: std::io::Error| {
        DataError::unreadable(path, error.to_string(), "check the path and its permissions")
    };
    // Asked before opening, which would wait for ever at a named pipe.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(DataError::unreadable(path, "is not a file", "remove it"));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(unreadable)?.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let text = String::from_utf8(bytes).ok().filter(|text| text.len() as u64 <= LONGEST);
    text.ok_or_else(|| {
        let cause = format!("expected at most {LONGEST} bytes of text in UTF-8");
        DataError::invalid(path.display(), cause, "correct the file, or remove it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file<R>(text: &[u8], use_it: impl FnOnce(&Path) -> R) -> R {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names.txt");
        std::fs::write(&path, text).unwrap();
        use_it(&path)
    }

    #[test]
    fn a_mapping_names_labels_by_their_characters() {
        let names =
            |text: &str, first, classes| with_file(text.as_bytes(), |path| mapping(path, first, classes));
        assert_eq!(names("0 48\n1 49\n", 0, 2).unwrap(), ["0", "1"]);
        assert_eq!(names("1 65 97\r\n2 66 98\r\n\r\n", 1, 2).unwrap(), ["Aa", "Bb"]);
        assert_eq!(names("0 48\n1 49\n2 50\n", 0, 1).unwrap(), ["0"]);
        for (text, cause) in [
            ("0 48\n", "no line is about label 1"),
            ("0 48\n1\n", "the line \"1\" is not a label"),
            ("0 48\n1 x\n", "the line \"1 x\" is not"),
            ("0 48\n1 10\n", "is not a label with"),
            ("0 48\n1 4294967295\n", "is not a label with"),
            ("0 48\n-1 49\n", "is not a label with"),
        ] {
            let message = names(text, 0, 2).unwrap_err().to_string();
            assert!(message.contains(cause), "{text:?}: {message}");
        }
    }

    #[test]
    fn names_are_one_a_line_and_can_be_printed() {
        assert_eq!(with_file(b"cat\n dog \n\n", lines).unwrap(), ["cat", "dog"]);
        for bad in [&b"a\x1b[2Jb\n"[..], b"\xff\n", &vec![b'a'; 1 << 17], &vec![b'a'; 300]] {
            assert!(with_file(bad, lines).is_err(), "{bad:?}");
        }
    }
}
