//! Resizing, row by row: the picture is read once from top to bottom, and memory goes by the size
//! that is wanted, whatever the size of the picture.
//!
//! A pixel of the result is the mean of the pixels under a triangle around its centre (linear
//! interpolation where the picture grows). With the centres `(2j + 1) · new` of old and
//! `(2i + 1) · old` of new pixels on one scale, all weights are whole numbers and all sums exact, so
//! the order of work does not matter: a picture that lies on its side gives the same values.

/// Longest side, old or new. With at most 2²⁶ pixels before and after, sums stay below 2⁶³.
pub(crate) const LONGEST_SIDE: usize = 65_535;

/// The pull of one old row or column on the new ones.
struct Reach {
    /// The first new position that it reaches.
    first: usize,
    /// Its weight there and in those that follow.
    weights: Vec<u64>,
}

/// One direction: what every old position reaches, and the sum of weights in every new one.
struct Axis {
    reaches: Vec<Reach>,
    totals: Vec<u64>,
}

impl Axis {
    fn new(old: usize, new: usize) -> Self {
        let width = 2 * old.max(new);
        let mut totals = vec![0; new];
        let reaches = (0..old).map(|position| {
            let centre = (2 * position + 1) * new;
            // The first new centre less than `width` below this one.
            let first = (centre + 1).saturating_sub(width).saturating_sub(old).div_ceil(2 * old);
            let mut weights = Vec::with_capacity(2);
            for (to, total) in totals.iter_mut().enumerate().skip(first) {
                let weight = width.saturating_sub(centre.abs_diff((2 * to + 1) * old));
                if weight == 0 {
                    break;
                }
                weights.push(weight as u64);
                *total += weight as u64;
            }
            Reach { first, weights }
        });
        let reaches = reaches.collect();
        Self { reaches, totals }
    }
}

/// A picture that is being resized; its rows come from top to bottom.
pub(crate) struct Resizer {
    columns: Axis,
    rows: Axis,
    channels: usize,
    /// The row that has come last, with its new width.
    line: Vec<u64>,
    /// The new picture, `[y][x][channel]`, each value times the weights that it has got.
    sums: Vec<u64>,
    /// Rows that have come.
    position: usize,
}

impl Resizer {
    /// From and to `[height, width]`, all from 1 to [`LONGEST_SIDE`].
    pub(crate) fn new(old: [usize; 2], new: [usize; 2], channels: usize) -> Self {
        Self {
            columns: Axis::new(old[1], new[1]),
            rows: Axis::new(old[0], new[0]),
            channels,
            line: vec![0; new[1] * channels],
            sums: vec![0; new[0] * new[1] * channels],
            position: 0,
        }
    }

    /// Takes the next row, `[x][channel]`.
    pub(crate) fn push(&mut self, row: &[u8]) {
        let channels = self.channels;
        self.line.fill(0);
        for (pixel, reach) in row.chunks_exact(channels).zip(&self.columns.reaches) {
            let targets = self.line[reach.first * channels..].chunks_exact_mut(channels);
            for (target, weight) in targets.zip(&reach.weights) {
                for (sum, &value) in target.iter_mut().zip(pixel) {
                    *sum += weight * u64::from(value);
                }
            }
        }
        let reach = &self.rows.reaches[self.position];
        let targets = self.sums[reach.first * self.line.len()..].chunks_exact_mut(self.line.len());
        for (target, weight) in targets.zip(&reach.weights) {
            for (sum, value) in target.iter_mut().zip(&self.line) {
                *sum += weight * value;
            }
        }
        self.position += 1;
    }

    /// The new picture, `[y][x][channel]`, rounded; once every row has come.
    pub(crate) fn finish(self) -> Vec<u8> {
        let totals = self
            .rows
            .totals
            .iter()
            .flat_map(|row| self.columns.totals.iter().map(move |column| row * column));
        let pixels = self.sums.chunks_exact(self.channels).zip(totals);
        pixels
            .flat_map(|(pixel, total)| pixel.iter().map(move |&sum| ((sum + total / 2) / total) as u8))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;
    use image::imageops::FilterType;

    fn resized(pixels: &[u8], old: [usize; 2], new: [usize; 2], channels: usize) -> Vec<u8> {
        let mut resizer = Resizer::new(old, new, channels);
        pixels.chunks_exact(old[1] * channels).for_each(|row| resizer.push(row));
        resizer.finish()
    }

    fn picture(height: usize, width: usize) -> Vec<u8> {
        (0..height * width * 3).map(|index| (index * index / 7 + index * 37) as u8).collect()
    }

    #[test]
    fn it_is_the_triangle_filter_of_the_picture_library() {
        for [old, new] in [
            [[31, 17], [28, 28]],
            [[9, 70], [28, 28]],
            [[3, 5], [8, 9]],
            [[1, 1], [4, 3]],
            [[50, 40], [1, 1]],
        ] {
            let pixels = picture(old[0], old[1]);
            let ours = resized(&pixels, old, new, 3);
            let reference = RgbImage::from_raw(old[1] as u32, old[0] as u32, pixels).unwrap();
            let reference =
                image::imageops::resize(&reference, new[1] as u32, new[0] as u32, FilterType::Triangle);
            let largest = ours.iter().zip(reference.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(largest <= Some(1), "{old:?} to {new:?}: {largest:?}");
        }
    }

    #[test]
    fn the_same_size_is_the_same_picture() {
        let pixels = picture(7, 11);
        assert_eq!(resized(&pixels, [7, 11], [7, 11], 3), pixels);
    }

    #[test]
    fn a_picture_on_its_side_gives_the_same_values() {
        let (old, new) = ([37, 23], [11, 29]);
        let upright = RgbImage::from_raw(23, 37, picture(37, 23)).unwrap();
        let turned = image::imageops::rotate270(&upright);
        let small = resized(turned.as_raw(), [old[1], old[0]], [new[1], new[0]], 3);
        let small = RgbImage::from_raw(new[0] as u32, new[1] as u32, small).unwrap();
        assert_eq!(image::imageops::rotate90(&small).into_raw(), resized(upright.as_raw(), old, new, 3));
    }

    #[test]
    fn the_largest_sums_fit() {
        let side = LONGEST_SIDE;
        for [old, new] in
            [[[1, side], [1, 1]], [[1, side], [side, 1]], [[1, 1], [side, 1]], [[1024, side], [1, 1]]]
        {
            let mut resizer = Resizer::new(old, new, 1);
            let row = vec![255; old[1]];
            (0..old[0]).for_each(|_| resizer.push(&row));
            assert!(resizer.finish().iter().all(|&value| value == 255), "{old:?} to {new:?}");
        }
    }

    #[test]
    fn a_small_enlargement_by_hand() {
        // Centres at 0.25, 0.75 become 0.125, 0.375, 0.625, 0.875.
        assert_eq!(resized(&[0, 200], [1, 2], [1, 4], 1), [0, 50, 150, 200]);
    }
}
