//! Augmentation: training pictures shifted, turned, sized, slanted, bent and mirrored a little, each
//! time anew, so that a network learns the class and not the picture.
//!
//! Each pixel of the new picture is sampled once, bilinearly, at its place in the old one: an affine
//! map plus an elastic displacement. Outside the old picture is background, 0.
//!
//! The displacement is that of Simard, Steinkraus and Platt, "Best Practices for Convolutional Neural
//! Networks" (2003): random numbers, smoothed. There a number for each pixel is smoothed by a Gaussian;
//! here the numbers are those of a coarse grid, and cubic B-splines, which are nearly Gaussians, lie
//! between them. That takes 49 pairs of random numbers instead of 784, and no pass over the picture.
//!
//! What happens to a picture is a function of the seed, the epoch and the picture's number.

use serde::{Deserialize, Serialize};
use vgg_arch::random::{Purpose, Random, unit};

use crate::error::DataError;

/// How much pictures are changed at most. All numbers are largest amounts, drawn evenly from both
/// signs; zero leaves the thing alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Largest shift along each axis, in pixels.
    pub shift: f64,
    /// Largest rotation about the middle, in degrees.
    pub rotation: f64,
    /// Largest change of height and of width, each drawn for itself, as a share of them.
    pub scale: f64,
    /// Largest slant, in pixels sideways for each pixel down.
    pub shear: f64,
    /// How far pixels are bent away along each axis, as a root mean square, in pixels. None goes
    /// further than 3.7 times that.
    pub elastic: f64,
    /// Whether every other picture is mirrored left to right. Not for digits or letters.
    pub flip: bool,
}

/// Parts of the elastic grid along the longer side of a picture. On MNIST's 28 pixels a part has 7,
/// whose B-splines are as wide as a Gaussian of 4 pixels (7/√3), the best value of Simard et al.
const PARTS: usize = 4;
/// Nodes of the grid along a side: a cubic spline in one part takes the nodes of 4.
const NODES: usize = PARTS + 3;
/// Root mean square of a surface of cubic B-splines on random numbers of variance 1. Along one axis the
/// variance is the integral of the squared spline, 151/315; over both it is the square of that.
const SPLINE_DEVIATION: f64 = 151.0 / 315.0;
/// Blocks of four random words for each picture: two for the affine map, then one for each two nodes.
const BLOCKS: u64 = 2 + (NODES * NODES).div_ceil(2) as u64;

/// Places in a picture are rounded to so many parts of a pixel: whole numbers are quicker.
const ONE: u32 = 256;

impl Augmentation {
    /// Pictures as they are.
    pub const NONE: Self =
        Self { shift: 0.0, rotation: 0.0, scale: 0.0, shear: 0.0, elastic: 0.0, flip: false };

    /// For handwritten digits of 28x28 pixels, which stay readable.
    pub const DIGITS: Self =
        Self { shift: 2.0, rotation: 12.0, scale: 0.12, shear: 0.15, elastic: 1.0, flip: false };

    /// Whether pictures stay as they are.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// Refuses amounts that leave nothing of a picture, or are none at all.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) that names the first such amount.
    pub fn check(&self) -> Result<(), DataError> {
        let amounts = [
            ("shift", self.shift, 100.0, "pixels"),
            ("rotation", self.rotation, 180.0, "degrees"),
            ("scale", self.scale, 0.9, "of the size"),
            ("shear", self.shear, 1.0, "pixels a row"),
            ("elastic", self.elastic, 20.0, "pixels"),
        ];
        for (name, amount, most, unit) in amounts {
            // NaN lies in no range.
            if !(0.0..=most).contains(&amount) {
                return Err(DataError::argument(
                    format!("augmentation {name} {amount}"),
                    format!("expected 0 to {most} {unit}"),
                    "choose an amount in between, or 0 for none",
                ));
            }
        }
        Ok(())
    }
}

/// Changes the pictures of one size.
#[derive(Clone, Debug)]
pub struct Augmenter {
    augmentation: Augmentation,
    seed: u64,
    height: usize,
    width: usize,
    channels: usize,
    /// For each row and each column its place on the elastic grid.
    places: Vec<Place>,
    /// The picture, with a border of background: one pixel before it, two after it.
    bordered: Vec<u8>,
    /// Where the pixels of a row come from.
    samples: Vec<Sample>,
}

/// A place in the bordered picture.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    /// The byte of the pixel above and to the left of it.
    corner: usize,
    /// How far it lies below that, in parts of [`ONE`].
    down: u32,
    /// How far it lies to the right of that, in parts of [`ONE`].
    right: u32,
}

/// A row's or column's place on the elastic grid.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The first of the four nodes that count.
    first: usize,
    /// What each of them counts.
    weights: [f32; 4],
}

/// Where the pixels of a changed picture come from.
struct Map {
    /// Row and column in the old picture for each row and column from the middle of the new one.
    matrix: [[f32; 2]; 2],
    /// Row and column in the bordered old picture of the middle of the new one.
    middle: [f32; 2],
    /// The elastic displacement of rows and columns at the nodes.
    nodes: Option<[[[f32; NODES]; NODES]; 2]>,
}

impl Augmenter {
    /// For pictures of `height × width × channels` bytes, in a run with this seed.
    pub fn new(augmentation: &Augmentation, seed: u64, [height, width, channels]: [usize; 3]) -> Self {
        let part = height.max(width) as f32 / PARTS as f32;
        let places = (0..height.max(width)).map(|pixel| Place::new((pixel as f32 + 0.5) / part));
        Self {
            augmentation: *augmentation,
            seed,
            height,
            width,
            channels,
            places: places.collect(),
            bordered: vec![0; (height + 3) * (width + 3) * channels],
            samples: vec![Sample::default(); width],
        }
    }

    /// Appends to `changed` what becomes of `image` (`[y][x][channel]`), picture `index` of the data,
    /// in `epoch`. Allocates nothing but room in `changed`.
    ///
    /// # Panics
    /// When `image` has another size.
    pub fn apply(&mut self, epoch: u64, index: u32, image: &[u8], changed: &mut Vec<u8>) {
        assert_eq!(image.len(), self.height * self.width * self.channels, "a picture of another size");
        if self.augmentation.is_none() {
            changed.extend_from_slice(image);
            return;
        }
        let random = Random::new(self.seed, Purpose::Augmentation, epoch);
        let map = self.augmentation.draw(&random, u64::from(index) * BLOCKS, [self.height, self.width]);
        self.sample(&map, image, changed);
    }

    /// Appends to `changed` the picture that has at each pixel what `map` finds in `image`.
    fn sample(&mut self, map: &Map, image: &[u8], changed: &mut Vec<u8>) {
        let (row, stride) = (self.width * self.channels, (self.width + 3) * self.channels);
        for (y, pixels) in image.chunks_exact(row).enumerate() {
            self.bordered[(y + 1) * stride + self.channels..][..row].copy_from_slice(pixels);
        }
        let start = changed.len();
        changed.resize(start + image.len(), 0);
        for (y, pixels) in changed[start..].chunks_exact_mut(row).enumerate() {
            self.find_row(map, y);
            for channel in 0..self.channels {
                let old = &self.bordered[channel..];
                for (sample, new) in
                    self.samples.iter().zip(pixels[channel..].iter_mut().step_by(self.channels))
                {
                    *new = sample.value(old, self.channels, stride);
                }
            }
        }
    }

    /// Finds where the pixels of row `y` of the new picture lie in the old one.
    fn find_row(&mut self, map: &Map, y: usize) {
        let bent = map.nodes.as_ref().map(|nodes| [0, 1].map(|axis| self.places[y].blend(&nodes[axis])));
        let dy = y as f32 - (self.height - 1) as f32 / 2.0;
        let first = [0, 1].map(|axis| map.middle[axis] + map.matrix[axis][0] * dy);
        // Beyond the border there is nothing but background, as there is on it.
        let last = [(self.height + 1) as f32, (self.width + 1) as f32];
        let middle = (self.width - 1) as f32 / 2.0;
        for (x, (sample, place)) in self.samples.iter_mut().zip(&self.places).enumerate() {
            let dx = x as f32 - middle;
            let at = |axis: usize| {
                let bend = bent.as_ref().map_or(0.0, |bent| place.at(&bent[axis]));
                // NaN becomes 0, too.
                let place = (first[axis] + map.matrix[axis][1] * dx + bend).max(0.0).min(last[axis]);
                (place * ONE as f32 + 0.5) as i32 as u32
            };
            let (row, column) = (at(0), at(1));
            *sample = Sample {
                corner: ((row / ONE) as usize * (self.width + 3) + (column / ONE) as usize) * self.channels,
                down: row % ONE,
                right: column % ONE,
            };
        }
    }
}

impl Sample {
    /// The value here of one channel of the bordered picture, bilinear.
    fn value(&self, old: &[u8], channels: usize, stride: usize) -> u8 {
        let (above, below) =
            (&old[self.corner..][..channels + 1], &old[self.corner + stride..][..channels + 1]);
        let across =
            |row: &[u8]| u32::from(row[0]) * (ONE - self.right) + u32::from(row[channels]) * self.right;
        let sum = across(above) * (ONE - self.down) + across(below) * self.down;
        ((sum + ONE * ONE / 2) / (ONE * ONE)) as u8
    }
}

impl Augmentation {
    /// The map of a picture of this height and width, from the random words from block `first` on.
    fn draw(&self, random: &Random, first: u64, [height, width]: [usize; 2]) -> Map {
        let [a, b, c, d] = random.block(first);
        let [e, f, g, _] = random.block(first + 1);
        let amount = |most: f64, bits: u32| most * signed(bits);
        let angle = amount(self.rotation, a).to_radians();
        let (sine, cosine) = (libm::sin(angle), libm::cos(angle));
        // A picture twice as high moves half as fast through the old one.
        let (tall, wide) = (1.0 / (1.0 + amount(self.scale, b)), 1.0 / (1.0 + amount(self.scale, c)));
        let slant = amount(self.shear, d);
        let mirror = if self.flip && g >> 31 == 1 { -1.0 } else { 1.0 };
        // Rotation, then slant of the columns, then sizes, each taken back: these are old places.
        let rows = [cosine * tall, sine * tall];
        let columns = [(slant * cosine - sine) * wide, (slant * sine + cosine) * wide];
        let matrix = [rows, columns.map(|value| mirror * value)].map(|row| row.map(|value| value as f32));
        let middle = [(height, e), (width, f)]
            .map(|(size, bits)| ((size - 1) as f64 / 2.0 + 1.0 + amount(self.shift, bits)) as f32);
        let nodes = (self.elastic != 0.0).then(|| self.draw_nodes(random, first + 2));
        Map { matrix, middle, nodes }
    }

    /// The displacements at the nodes, whose splines have the root mean square that is asked for.
    fn draw_nodes(&self, random: &Random, first: u64) -> [[[f32; NODES]; NODES]; 2] {
        // Even numbers between ±√3 have the variance 1.
        let most = (3_f64.sqrt() * self.elastic / SPLINE_DEVIATION) as f32;
        let mut nodes = [[[0.0; NODES]; NODES]; 2];
        for pair in 0..(NODES * NODES).div_ceil(2) {
            let words = random.block(first + pair as u64);
            for (node, words) in (2 * pair..NODES * NODES).zip(words.chunks_exact(2)) {
                nodes[0][node / NODES][node % NODES] = most * signed(words[0]) as f32;
                nodes[1][node / NODES][node % NODES] = most * signed(words[1]) as f32;
            }
        }
        nodes
    }
}

/// A number in `[-1, 1)`.
fn signed(bits: u32) -> f64 {
    2.0 * f64::from(unit(bits)) - 1.0
}

impl Place {
    /// The place `position` parts from the edge, below [`PARTS`].
    fn new(position: f32) -> Self {
        let first = (position as usize).min(PARTS - 1);
        let t = position - first as f32;
        // The four pieces of the uniform cubic B-spline; their sum is 1.
        let weights = [
            (1.0 - t) * (1.0 - t) * (1.0 - t),
            3.0 * t * t * t - 6.0 * t * t + 4.0,
            -3.0 * t * t * t + 3.0 * t * t + 3.0 * t + 1.0,
            t * t * t,
        ];
        Self { first, weights: weights.map(|weight| weight / 6.0) }
    }

    /// The nodes of a row at this place.
    fn blend(&self, nodes: &[[f32; NODES]; NODES]) -> [f32; NODES] {
        let mut blended = [0.0; NODES];
        for (row, weight) in nodes[self.first..].iter().zip(self.weights) {
            for (sum, node) in blended.iter_mut().zip(row) {
                *sum += weight * node;
            }
        }
        blended
    }

    /// The displacement at this place of a row.
    fn at(&self, row: &[f32; NODES]) -> f32 {
        row[self.first..].iter().zip(self.weights).map(|(node, weight)| weight * node).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    /// A picture in which no two neighbours are alike.
    fn picture([height, width, channels]: [usize; 3]) -> Vec<u8> {
        (0..height * width * channels).map(|at| (at * 89 % 256) as u8).collect()
    }

    fn changed(augmentation: &Augmentation, seed: u64, epoch: u64, index: u32, shape: [usize; 3]) -> Vec<u8> {
        let mut output = Vec::new();
        Augmenter::new(augmentation, seed, shape).apply(epoch, index, &picture(shape), &mut output);
        output
    }

    /// The map with nothing random in it, by this matrix.
    fn mapped(matrix: [[f32; 2]; 2], shape: [usize; 3], image: &[u8]) -> Vec<u8> {
        let middle = [shape[0], shape[1]].map(|size| (size - 1) as f32 / 2.0 + 1.0);
        let mut output = Vec::new();
        Augmenter::new(&Augmentation::DIGITS, 0, shape).sample(
            &Map { matrix, middle, nodes: None },
            image,
            &mut output,
        );
        output
    }

    /// How far `map` moves each pixel of a picture of 28x28, along each axis.
    fn displacements(map: &Map) -> Vec<[f32; 2]> {
        let augmenter = Augmenter::new(&Augmentation::NONE, 0, [28, 28, 1]);
        let nodes = map.nodes.as_ref().unwrap();
        let places = &augmenter.places;
        (0..28 * 28)
            .map(|at| [0, 1].map(|axis| places[at % 28].at(&places[at / 28].blend(&nodes[axis]))))
            .collect()
    }

    fn maps(augmentation: &Augmentation) -> impl Iterator<Item = Map> {
        let random = Random::new(5, Purpose::Augmentation, 0);
        (0..2000).map(move |index| augmentation.draw(&random, index * BLOCKS, [28, 28]))
    }

    #[test]
    fn none_leaves_pictures_as_they_are() {
        let shape = [5, 7, 3];
        assert_eq!(changed(&Augmentation::NONE, 1, 2, 3, shape), picture(shape));
        assert_eq!(mapped([[1.0, 0.0], [0.0, 1.0]], shape, &picture(shape)), picture(shape));
        assert!(Augmentation::default().is_none() && !Augmentation::DIGITS.is_none());
        assert!(!Augmentation { flip: true, ..Augmentation::NONE }.is_none());
    }

    #[test]
    fn changes_are_a_function_of_seed_epoch_and_number() {
        let (digits, shape) = (&Augmentation::DIGITS, [28, 28, 1]);
        let one = changed(digits, 1, 2, 3, shape);
        assert_eq!(changed(digits, 1, 2, 3, shape), one);
        for other in [[2, 2, 3], [1, 3, 3], [1, 2, 4]] {
            assert_ne!(changed(digits, other[0], other[1], other[2] as u32, shape), one);
        }
        // The memory of an augmenter keeps nothing of the picture before.
        let (mut augmenter, mut output) = (Augmenter::new(digits, 1, shape), Vec::new());
        augmenter.apply(7, 7, &[255; 784], &mut output);
        augmenter.apply(2, 3, &picture(shape), &mut output);
        assert_eq!(output[784..], one);
    }

    #[test]
    fn a_quarter_turn_is_exact() {
        let (size, channels) = (6, 3);
        let image = picture([size, size, channels]);
        let angle = 90_f64.to_radians();
        let (sine, cosine) = (libm::sin(angle) as f32, libm::cos(angle) as f32);
        let turned = mapped([[cosine, sine], [-sine, cosine]], [size, size, channels], &image);
        for (y, x, channel) in (0..size).flat_map(|y| (0..size).map(move |x| (y, x, x % channels))) {
            let old = (x * size + size - 1 - y) * channels + channel;
            assert_eq!(turned[(y * size + x) * channels + channel], image[old], "{y} {x}");
        }
    }

    #[test]
    fn rotation_of_the_table_is_the_matrix_of_its_angle() {
        let augmentation = Augmentation { rotation: 180.0, ..Augmentation::NONE };
        let maps: Vec<Map> = maps(&augmentation).collect();
        for Map { matrix: [[a, b], [c, d]], .. } in &maps {
            assert!((a * a + b * b - 1.0).abs() < 1e-6 && (a - d).abs() < 1e-6 && (b + c).abs() < 1e-6);
        }
        let quarters = [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)].map(|(cosine, sine)| {
            maps.iter().filter(|map| map.matrix[0][0] * cosine > 0.0 && map.matrix[0][1] * sine > 0.0).count()
        });
        // 500 expected of each, and five standard deviations of 19 allowed.
        assert!(quarters.iter().all(|count| count.abs_diff(500) < 97), "{quarters:?}");
    }

    #[test]
    fn amounts_are_reached_and_never_passed() {
        let amounts = Augmentation { shift: 3.0, scale: 0.2, shear: 0.3, ..Augmentation::NONE };
        let (mut shift, mut tall, mut wide, mut slant) = (0_f32, 0_f32, 0_f32, 0_f32);
        for map in maps(&amounts) {
            let [[a, b], [c, d]] = map.matrix;
            assert_eq!(b, 0.0);
            shift = shift.max((map.middle[0] - 14.5).abs()).max((map.middle[1] - 14.5).abs());
            tall = tall.max((1.0 / a - 1.0).abs());
            wide = wide.max((1.0 / d - 1.0).abs());
            slant = slant.max((c / d).abs());
        }
        for (found, most) in [(shift, 3.0), (tall, 0.2), (wide, 0.2), (slant, 0.3)] {
            assert!(0.98 * most < found && found < 1.0001 * most, "{found} of {most}");
        }
    }

    #[test]
    fn elastic_displacements_have_the_size_asked_for_and_are_smooth() {
        let augmentation = Augmentation { elastic: 1.5, ..Augmentation::NONE };
        let (mut sum, mut squares, mut most, mut steps, mut count) = (0.0, 0.0, 0_f32, 0_f32, 0.0);
        for map in maps(&augmentation) {
            let field = displacements(&map);
            for (at, axes) in field.iter().enumerate() {
                for (axis, &moved) in axes.iter().enumerate() {
                    sum += f64::from(moved);
                    squares += f64::from(moved * moved);
                    most = most.max(moved.abs());
                    count += 1.0;
                    if at % 28 > 0 {
                        steps = steps.max((moved - field[at - 1][axis]).abs());
                    }
                }
            }
        }
        let (mean, deviation) = (sum / count, (squares / count).sqrt());
        // About 49 numbers are independent in each of 4000 fields: a standard error of 0.004.
        assert!(mean.abs() < 0.02 && (deviation - 1.5).abs() < 0.05, "{mean} {deviation}");
        assert!(most < 3.7 * 1.5, "{most}");
        // The slope of a spline between ±m is at most 4/3 m for each part of 7 pixels.
        assert!(steps < 1.34 * 3.62 * 1.5 / 7.0, "{steps}");
    }

    #[test]
    fn half_of_the_pictures_are_mirrored() {
        let augmentation = Augmentation { flip: true, ..Augmentation::NONE };
        let shape = [2, 5, 3];
        let image = picture(shape);
        let mirrored: Vec<u8> =
            image.chunks(15).flat_map(|row| row.chunks(3).rev().flatten().copied()).collect();
        let (mut augmenter, mut as_before, mut output) =
            (Augmenter::new(&augmentation, 1, shape), 0, Vec::new());
        for index in 0..1000 {
            output.clear();
            augmenter.apply(0, index, &image, &mut output);
            assert!(output == image || output == mirrored);
            as_before += usize::from(output == image);
        }
        // Five standard deviations of 16.
        assert!(as_before.abs_diff(500) < 80, "{as_before}");
    }

    /// A change means that a run goes on with other pictures than it began with.
    #[test]
    fn changed_pictures_are_those_of_the_first_day() {
        let all = Augmentation { flip: true, ..Augmentation::DIGITS };
        let hash = |shape| {
            let mut hasher = Sha256::new();
            (0..20).for_each(|index| hasher.update(changed(&all, 42, 3, index, shape)));
            hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        assert_eq!([hash([28, 28, 1]), hash([20, 33, 3])], ["5d7fd988e17230f1", "6cae4f82a5932592"]);
    }

    #[test]
    fn no_size_and_no_amount_panics() {
        let amounts = [0.0, 0.5, 1e3, 1e30, 1e308, f64::INFINITY, f64::NAN, -1e308];
        for shape in [[1, 1, 1], [1, 9, 1], [9, 1, 3], [2, 2, 4], [3, 100, 1]] {
            for shift in amounts {
                for scale in amounts {
                    let augmentation = Augmentation {
                        shift,
                        rotation: shift,
                        scale,
                        shear: scale,
                        elastic: shift,
                        flip: true,
                    };
                    for index in [0, 1, u32::MAX] {
                        let output = changed(&augmentation, u64::MAX, 3, index, shape);
                        assert_eq!(output.len(), shape.iter().product::<usize>());
                    }
                }
            }
        }
        let beyond = Augmentation { shift: 1e9, ..Augmentation::NONE };
        assert_eq!(changed(&beyond, 1, 1, 1, [4, 4, 1]), [0; 16]);
    }

    #[test]
    fn amounts_that_leave_nothing_are_refused() {
        for known in [Augmentation::NONE, Augmentation::DIGITS] {
            known.check().unwrap();
        }
        for (wrong, name) in [
            (
                Augmentation { shift: f64::NAN, ..Augmentation::NONE },
                "augmentation shift NaN: expected 0 to 100",
            ),
            (
                Augmentation { shift: -1.0, ..Augmentation::NONE },
                "shift -1: expected 0 to 100 pixels; choose",
            ),
            (Augmentation { rotation: 181.0, ..Augmentation::NONE }, "rotation 181"),
            (Augmentation { scale: 1.0, ..Augmentation::NONE }, "scale 1: expected 0 to 0.9 of the size"),
            (Augmentation { shear: f64::INFINITY, ..Augmentation::NONE }, "shear inf"),
            (Augmentation { elastic: 1e30, ..Augmentation::NONE }, "elastic 1000000000000000"),
        ] {
            let error = wrong.check().unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Argument);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
