//! Random numbers as a function of (seed, purpose, stream, position), so that they need no state
//! to be saved, and neither threads nor the order of work can change them.
//!
//! The generator is Philox4x32-10 of Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3"
//! (2011): ten rounds of multiplications turn a 128-bit counter and a 64-bit key into 128 random
//! bits. The seed is the key; purpose, stream and position are the counter.

/// What random numbers are for. Different purposes never share a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Weights at the start; the stream is the parameter's position in the table.
    Initialisation = 1,
    /// The order of pictures; the stream is the epoch.
    Shuffle = 2,
    /// Which values dropout drops; the stream is made of step and layer.
    Dropout = 3,
    /// Changes made to pictures.
    Augmentation = 4,
    /// Which pictures of a data set are taken when not all are wanted; the position is the picture's.
    Selection = 5,
}

/// One stream of random numbers, addressed by position.
#[derive(Clone, Copy, Debug)]
pub struct Random {
    key: [u32; 2],
    stream: [u32; 2],
}

impl Random {
    /// The numbers of `seed` for `purpose` in `stream`. Streams must be below 2⁵⁶: the purpose
    /// takes the upper eight bits of their counter words.
    pub fn new(seed: u64, purpose: Purpose, stream: u64) -> Self {
        debug_assert!(stream < 1 << 56, "stream {stream} does not fit 56 bits");
        let stream = stream & ((1 << 56) - 1) | (purpose as u64) << 56;
        Self { key: [seed as u32, (seed >> 32) as u32], stream: [stream as u32, (stream >> 32) as u32] }
    }

    /// The four random words at block `index`.
    pub fn block(&self, index: u64) -> [u32; 4] {
        philox([index as u32, (index >> 32) as u32, self.stream[0], self.stream[1]], self.key)
    }

    /// The 32 random bits at `position`: word `position mod 4` of block `position / 4`.
    pub fn bits(&self, position: u64) -> u32 {
        self.block(position / 4)[(position % 4) as usize]
    }

    /// Four standard normal numbers from block `index`, by the transform of Box and Muller (1958).
    /// Logarithm, sine and cosine come from a portable library, so every machine gets the same.
    pub fn normals(&self, index: u64) -> [f32; 4] {
        let words = self.block(index);
        let pair = |a: u32, b: u32| {
            // (0, 1]: the logarithm of zero must not occur.
            let radius = libm::sqrt(-2.0 * libm::log((f64::from(a) + 1.0) / 4_294_967_296.0));
            let angle = std::f64::consts::TAU * f64::from(b) / 4_294_967_296.0;
            [(radius * libm::cos(angle)) as f32, (radius * libm::sin(angle)) as f32]
        };
        let ([a, b], [c, d]) = (pair(words[0], words[1]), pair(words[2], words[3]));
        [a, b, c, d]
    }
}

/// A number in `[0, 1)` from 32 random bits, on a grid of 2⁻²⁴ so that every value is exact.
pub fn unit(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Philox4x32 with ten rounds; constants from the paper's table 2 and section 2.2.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let left = u64::from(counter[0]) * 0xD251_1F53;
        let right = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (right >> 32) as u32 ^ counter[1] ^ key[0],
            right as u32,
            (left >> 32) as u32 ^ counter[3] ^ key[1],
            left as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers published with the reference implementation (Random123, kat_vectors).
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn purposes_streams_and_seeds_differ() {
        let base = Random::new(1, Purpose::Shuffle, 7).block(0);
        assert_ne!(base, Random::new(1, Purpose::Dropout, 7).block(0));
        assert_ne!(base, Random::new(1, Purpose::Shuffle, 8).block(0));
        assert_ne!(base, Random::new(2, Purpose::Shuffle, 7).block(0));
    }

    #[test]
    fn normals_have_mean_zero_and_variance_one() {
        let random = Random::new(3, Purpose::Initialisation, 0);
        let values: Vec<f64> = (0..25_000).flat_map(|i| random.normals(i)).map(f64::from).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
        // Standard errors for 100,000 numbers: 0.0032 and 0.0045.
        assert!(mean.abs() < 0.013, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.018, "variance {variance}");
    }

    #[test]
    fn unit_stays_below_one() {
        assert_eq!(unit(0), 0.0);
        assert!(unit(u32::MAX) < 1.0);
    }
}
