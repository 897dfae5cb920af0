//! Reads event files as TensorBoard does, with a checksum and a reader of messages of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// A number of a run: in which folder, its name, the step, the bits of its value.
pub(crate) type Point = (PathBuf, String, u64, u32);

/// What a reader knows who has read all event files among `files` (by paths within the model directory),
/// each to its end or to the first record that is not whole. Speeds depend on time and are left out.
pub(crate) fn points(files: &[(PathBuf, Vec<u8>)]) -> Vec<Point> {
    let mut folders: BTreeMap<PathBuf, BTreeMap<PathBuf, &[u8]>> = BTreeMap::new();
    for (path, bytes) in files {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("events.out.tfevents.")) {
            folders.entry(path.parent().unwrap().into()).or_default().insert(path.clone(), bytes);
        }
    }
    let mut points = Vec::new();
    for (folder, files) in folders {
        let mut known = Vec::new();
        for event in files.values().flat_map(|bytes| records(bytes).0) {
            let event = Event::read(event);
            if event.is_start {
                known.retain(|(_, _, step, _): &Point| *step < event.step);
            }
            let values = event.values.into_iter().filter(|(tag, _)| tag != "global_step/sec");
            known.extend(values.map(|(tag, value)| (folder.clone(), tag, event.step, value)));
        }
        points.extend(known);
    }
    points
}

/// The whole records of a file, and how many bytes come after them.
pub(crate) fn records(mut bytes: &[u8]) -> (Vec<&[u8]>, usize) {
    let mut records = Vec::new();
    while let Some((record, rest)) = first(bytes) {
        records.push(record);
        bytes = rest;
    }
    (records, bytes.len())
}

fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(8)?;
    let (length_checksum, rest) = rest.split_at_checked(4)?;
    let count = usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).ok()?;
    let (data, rest) = rest.split_at_checked(count)?;
    let (data_checksum, rest) = rest.split_at_checked(4)?;
    let is_right = |bytes, found: &[u8]| checksum(bytes).to_le_bytes() == found;
    (is_right(length, length_checksum) && is_right(data, data_checksum)).then_some((data, rest))
}

/// Masked CRC-32C, one bit after the other.
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for bit in bytes.iter().flat_map(|byte| (0..8).map(move |bit| u32::from(byte >> bit & 1))) {
        crc = if crc & 1 == bit { crc >> 1 } else { crc >> 1 ^ 0x82F6_3B78 };
    }
    let crc = !crc;
    crc.rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// An event, as far as it is of interest here.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) step: u64,
    pub(crate) version: Option<String>,
    pub(crate) is_start: bool,
    /// Names of numbers, and the bits of their values.
    pub(crate) values: Vec<(String, u32)>,
    /// Names of pictures with height, width, channels, and the file.
    pub(crate) pictures: Vec<(String, [u64; 3], Vec<u8>)>,
}

impl Event {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut event = Self::default();
        for (number, field) in fields(bytes) {
            match number {
                1 => assert_eq!(field.bytes().len(), 8, "the time"),
                2 => event.step = field.number(),
                3 => event.version = Some(field.text()),
                5 => fields(field.bytes()).into_iter().for_each(|(_, value)| event.value(value.bytes())),
                7 => event.is_start = fields(field.bytes())[0].1.number() == 1,
                number => panic!("field {number} of an event"),
            }
        }
        event
    }

    fn value(&mut self, bytes: &[u8]) {
        let fields: BTreeMap<u64, Field<'_>> = fields(bytes).into_iter().collect();
        let tag = fields[&1].text();
        if let Some(value) = fields.get(&2) {
            self.values.push((tag, u32::from_le_bytes(value.bytes().try_into().unwrap())));
        } else {
            let image: BTreeMap<u64, Field<'_>> = self::fields(fields[&4].bytes()).into_iter().collect();
            let size = [1, 2, 3].map(|number| image[&number].number());
            self.pictures.push((tag, size, image[&4].bytes().to_vec()));
        }
    }
}

/// A value of a message: a number, or bytes of which its kind gives the count.
#[derive(Debug)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn number(&self) -> u64 {
        let Self::Number(number) = self else { panic!("{self:?} is no number") };
        *number
    }

    fn bytes(&self) -> &'a [u8] {
        let Self::Bytes(bytes) = self else { panic!("{self:?} is no bytes") };
        bytes
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).unwrap()
    }
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let count = match key & 7 {
            0 => {
                fields.push((key >> 3, Field::Number(varint(&mut bytes))));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            kind => panic!("no kind of field: {kind}"),
        };
        fields.push((key >> 3, Field::Bytes(bytes.split_off(..count).expect("a whole field"))));
    }
    fields
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first().expect("a whole number");
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            break;
        }
    }
    number
}
