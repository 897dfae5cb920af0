//! Pictures inside the page: PNG as data addresses.

use crate::report::{Filters, Picture};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{ExtendedColorType, ImageFormat};
use std::io::Cursor;

/// Longest side of a picture on the page in pixels. A larger one is made smaller, so that the page stays so.
const LONGEST_SIDE: usize = 96;

/// The address of a picture as it is shown: `data:image/png;base64,…`.
pub(super) fn address(picture: &Picture) -> String {
    let picture = &reduced(picture);
    let (width, height) = (picture.width as u32, picture.height as u32);
    let kind = if picture.channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let mut file = Cursor::new(Vec::new());
    match image::write_buffer_with_format(&mut file, &picture.pixels, width, height, kind, ImageFormat::Png) {
        Ok(()) => format!("data:image/png;base64,{}", base64(&file.into_inner())),
        // A picture that cannot be shown leaves its text.
        Err(_) => "data:,".to_owned(),
    }
}

/// A picture whose sides are at most [`LONGEST_SIDE`] and that is grey or red, green and blue. Each pixel is
/// the mean of those that it stands for.
fn reduced(picture: &Picture) -> Picture {
    let factor = picture.height.max(picture.width).div_ceil(LONGEST_SIDE).max(1);
    let shown = if picture.channels >= 3 { 3 } else { 1 };
    let (height, width) = (picture.height.div_ceil(factor), picture.width.div_ceil(factor));
    let mut pixels = Vec::with_capacity(height * width * shown);
    for y in 0..height {
        for x in 0..width {
            pixels.extend((0..shown).map(|channel| mean(picture, factor, (y, x), channel)));
        }
    }
    Picture { height, width, channels: shown, pixels }
}

fn mean(picture: &Picture, factor: usize, (y, x): (usize, usize), channel: usize) -> u8 {
    let (mut sum, mut count) = (0, 0);
    for row in y * factor..((y + 1) * factor).min(picture.height) {
        for column in x * factor..((x + 1) * factor).min(picture.width) {
            sum += u32::from(picture.pixels[(row * picture.width + column) * picture.channels + channel]);
            count += 1;
        }
    }
    ((sum + count / 2) / count) as u8
}

/// One filter as a picture. Colours of three channels are shown as they are; what lowers the output is then
/// darker than grey. Otherwise weights are blue below zero, white at zero and orange above. The largest weight
/// of the filter has the full colour.
pub(super) fn filter(filters: &Filters, index: usize) -> Picture {
    let size = filters.side * filters.side;
    let weights = &filters.weights[index * filters.channels * size..][..filters.channels * size];
    let largest = weights.iter().fold(f32::MIN_POSITIVE, |largest, weight| largest.max(weight.abs()));
    let mut pixels = Vec::with_capacity(3 * size);
    for position in 0..size {
        let weight = |channel: usize| weights[channel * size + position] / largest;
        if filters.channels == 3 {
            pixels.extend((0..3).map(|channel| (127.5 + 127.5 * weight(channel)).round() as u8));
        } else {
            let mean = (0..filters.channels).map(weight).sum::<f32>() / filters.channels as f32;
            pixels.extend(diverging(mean));
        }
    }
    Picture { height: filters.side, width: filters.side, channels: 3, pixels }
}

/// Blue at −1, near white at 0, orange at 1: colours that all people with colour-blindness tell apart
/// (Okabe & Ito 2008).
fn diverging(value: f32) -> [u8; 3] {
    const MIDDLE: [f32; 3] = [247.0, 247.0, 247.0];
    let end = if value < 0.0 { [0.0, 114.0, 178.0] } else { [213.0, 94.0, 0.0] };
    std::array::from_fn(|channel| {
        (MIDDLE[channel] + value.abs().min(1.0) * (end[channel] - MIDDLE[channel])).round() as u8
    })
}

/// Base64 (RFC 4648), with padding.
fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        // RFC 4648, section 10.
        let coded = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(coded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn large_pictures_become_small_by_means() {
        let pixels: Vec<u8> = (0..200 * 100 * 3).map(|at| if at / 3 % 200 < 100 { 10 } else { 20 }).collect();
        let found = reduced(&Picture { height: 100, width: 200, channels: 3, pixels });
        assert_eq!((found.height, found.width, found.channels), (34, 67, 3));
        assert_eq!((found.pixels[0], found.pixels[66 * 3]), (10, 20));
        // Column 33 stands for columns 99, 100 and 101.
        assert_eq!(found.pixels[33 * 3], 17);
        let small = Picture { height: 1, width: 2, channels: 1, pixels: vec![3, 4] };
        assert_eq!(reduced(&small), small);
    }

    #[test]
    fn addresses_hold_the_picture() {
        let picture = Picture { height: 2, width: 3, channels: 3, pixels: (0..18).collect() };
        assert!(address(&picture).starts_with("data:image/png;base64,iVBORw0KGgo"));
    }

    #[test]
    fn filters_are_coloured_by_sign() {
        let grey = Filters { count: 2, channels: 1, side: 1, weights: vec![-2.0, 0.5] };
        assert_eq!(filter(&grey, 0).pixels, [0, 114, 178]);
        assert_eq!(filter(&grey, 1).pixels, [213, 94, 0]);
        let colour = Filters { count: 1, channels: 3, side: 1, weights: vec![-1.0, 0.0, 1.0] };
        assert_eq!(filter(&colour, 0).pixels, [0, 128, 255]);
        let zero = Filters { count: 1, channels: 1, side: 1, weights: vec![0.0] };
        assert_eq!(filter(&zero, 0).pixels, [247; 3]);
    }
}
