//! Picture files.

use crate::{check_message, scratch};
use flate2::Crc;
use vgg_data::read_picture;

/// The sizes (height, width, channels) that pictures are brought to: smaller, larger, flat.
const SIZES: [[usize; 3]; 3] = [[28, 28, 1], [3, 40, 3], [1, 1, 1]];

/// A PNG file as it is, and once more with the checksums of its chunks made right.
///
/// # Panics
/// When the reader does what it must not.
pub fn png(data: &[u8]) {
    read(data);
    let mended = with_right_checksums(data);
    if mended != data {
        read(&mended);
    }
}

/// A JPEG file.
///
/// # Panics
/// When the reader does what it must not.
pub fn jpeg(data: &[u8]) {
    read(data);
}

fn read(data: &[u8]) {
    // One size for each input: decoding takes the time, and is the same for all.
    let [height, width, channels] = SIZES[data.len() % SIZES.len()];
    scratch::with_file("picture.img", data, |path| match read_picture(path, height, width, channels) {
        Ok((pixels, note)) => {
            assert_eq!(pixels.len(), height * width * channels);
            if let Some(note) = note {
                assert!(note.contains("picture.img") && !note.contains(char::is_control), "{note:?}");
            }
        }
        Err(error) => check_message(&error, "picture.img"),
    });
}

/// The chunks of a PNG file: a length of 4 bytes, a name of 4, the content, a checksum of 4.
fn with_right_checksums(data: &[u8]) -> Vec<u8> {
    let mut mended = data.to_vec();
    let mut start = 8;
    while let Some(length) = mended.get(start..).and_then(|rest| rest.first_chunk()) {
        let length = u32::from_be_bytes(*length) as usize;
        let end = start.saturating_add(8).saturating_add(length);
        let Some(content) = mended.get(start + 4..end) else { break };
        let mut sum = Crc::new();
        sum.update(content);
        let Some(place) = mended.get_mut(end..end + 4) else { break };
        place.copy_from_slice(&sum.sum().to_be_bytes());
        start = end + 4;
    }
    mended
}
