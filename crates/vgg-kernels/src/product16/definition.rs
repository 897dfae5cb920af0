//! What the instructions for bf16 compute, bit for bit, as their manufacturer defines them (Intel,
//! Software Developer's Manual, volume 2, VDPBF16PS, TDPBF16PS and VCVTNE2PS2BF16): every rounding is to
//! nearest, ties to even; denormal operands count as zero, and denormal results become zero, whatever
//! the processor's mode.
//!
//! The tests run the instructions, and the products made of them, and compare every bit with this. So
//! the bits of the tiers `avx512-bf16` and `amx` belong to the definition, not to one processor. On a
//! processor of another manufacturer, who may define them otherwise, the tests say what they find.

use crate::element::{Bf16, Element};

/// The NaN of an invalid operation.
const INVALID: u32 = 0xFFC0_0000;

/// VDPBF16PS, one sum: adds the products of the pairs to `sum`, that of the upper halves first. Each
/// addition is fused with its product.
fn dot_pair(sum: f32, a: [Bf16; 2], b: [Bf16; 2]) -> f32 {
    let upper = multiply_add(a[1].to_f32(), b[1].to_f32(), sum);
    multiply_add(a[0].to_f32(), b[0].to_f32(), upper)
}

/// TDPBF16PS, one sum: the products of the lower halves and those of the upper halves are summed apart,
/// each from zero and in order, with fused additions; then both sums are added, and `sum` is added to that.
fn dot_row(sum: f32, pairs: impl Iterator<Item = ([Bf16; 2], [Bf16; 2])>) -> f32 {
    let mut halves = [0.0; 2];
    for (a, b) in pairs {
        for (half, sum) in halves.iter_mut().enumerate() {
            *sum = multiply_add(a[half].to_f32(), b[half].to_f32(), *sum);
        }
    }
    add(sum, add(halves[0], halves[1]))
}

/// VCVTNE2PS2BF16, one value.
fn round(value: f32) -> Bf16 {
    Bf16::from_f32(without_denormals(value))
}

fn add(a: f32, b: f32) -> f32 {
    multiply_add(a, 1.0, b)
}

/// `a · b + c`, rounded once.
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    let [a, b, c] = [a, b, c].map(without_denormals);
    if let Some(nan) = [a, b, c].into_iter().find(|value| value.is_nan()) {
        return f32::from_bits(nan.to_bits() | 0x40_0000);
    }
    let rounded = a.mul_add(b, c);
    if rounded.is_nan() {
        return f32::from_bits(INVALID);
    }
    // A result is denormal when it is below the smallest normal number after rounding to 24 bits: what
    // lies at least half a place below that number rounds to less. Sums as small are exact in f64.
    let half_place_below = f64::from(f32::MIN_POSITIVE) - 2f64.powi(-151);
    let exact = f64::from(a) * f64::from(b) + f64::from(c);
    if rounded.abs() <= f32::MIN_POSITIVE && exact.abs() < half_place_below {
        return 0f32.copysign(rounded);
    }
    rounded
}

fn without_denormals(value: f32) -> f32 {
    if value.is_subnormal() { 0f32.copysign(value) } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tier;
    use crate::product::Pair;
    use crate::product16::{Finish, Product16, Product16Fn, TILE16_LEN, amx, avx512};
    use std::arch::x86_64::*;
    use std::io::Write;

    /// Exponents (as their bits, the lowest and how many) that operands have: factors, and sums.
    const EXPONENTS: [[(u32, u32); 2]; 4] = [
        // Any pattern of bits.
        [(0, 256), (0, 256)],
        // Products and sums near one: they cancel, and they are rounded, with ties.
        [(125, 4), (120, 24)],
        // Products and sums around the smallest normal number.
        [(61, 6), (0, 12)],
        // Products and sums around the largest number.
        [(189, 5), (248, 8)],
    ];

    /// Zero, denormal numbers, the smallest and the largest normal number, one, infinity, and NaN
    /// without and with the bit that makes it quiet; each also with the other sign.
    const SPECIAL: [u32; 9] =
        [0, 1, 0x7F_0000, 0x80_0000, 0x7F7F_FFFF, 0x3F80_0000, 0x7F80_0000, 0x7F81_2345, 0x7FC1_2345];

    /// Random operands (SplitMix64).
    struct Operands(u64);

    impl Operands {
        fn bits(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }

        /// A number with one of the exponents; if `special`, one in sixteen is a special one instead.
        fn number(&mut self, (lowest, count): (u32, u32), special: bool) -> f32 {
            let bits = self.bits();
            let (pattern, choice) = (bits as u32, (bits >> 32) as u32);
            f32::from_bits(if special && choice.is_multiple_of(16) {
                SPECIAL[choice as usize / 16 % SPECIAL.len()] | pattern & 0x8000_0000
            } else {
                (lowest + (choice >> 8) % count) << 23 | pattern & 0x807F_FFFF
            })
        }

        /// A tile of pairs of factors: upper halves of numbers.
        fn pairs(&mut self, exponents: (u32, u32), special: bool) -> [[[Bf16; 2]; 16]; 16] {
            let mut factor = || Bf16((self.number(exponents, special).to_bits() >> 16) as u16);
            std::array::from_fn(|_| std::array::from_fn(|_| [factor(), factor()]))
        }

        fn sums(&mut self, exponents: (u32, u32), special: bool) -> [[f32; 16]; 16] {
            std::array::from_fn(|_| std::array::from_fn(|_| self.number(exponents, special)))
        }
    }

    /// Calls `judge` with tiles of sums and of two factors of every kind, `count` times each.
    fn for_operands(
        count: usize,
        mut judge: impl FnMut([[f32; 16]; 16], &[[[Bf16; 2]; 16]; 16], &[[[Bf16; 2]; 16]; 16]),
    ) {
        let mut operands = Operands(1);
        for [factors, sums] in EXPONENTS {
            for special in [false, true] {
                for _ in 0..count {
                    let (a, b) = (operands.pairs(factors, special), operands.pairs(factors, special));
                    judge(operands.sums(sums, special), &a, &b);
                }
            }
        }
    }

    /// Counts sums whose bits are not those of the definition.
    struct Comparison {
        what: &'static str,
        compared: usize,
        different: usize,
    }

    impl Comparison {
        /// Begins a comparison on `tier`; says so where this processor does not have it.
        fn on(tier: Tier, what: &'static str) -> Option<Self> {
            if !tier.is_available() {
                say(format_args!("{what}: SKIPPED, since this processor does not have {tier}"));
                return None;
            }
            Some(Self { what, compared: 0, different: 0 })
        }

        fn compare(&mut self, found: u32, defined: u32) {
            self.compared += 1;
            self.different += usize::from(found != defined);
        }

        /// Fails when bits differ on a processor whose manufacturer wrote the definition.
        fn end(self) {
            let Self { what, compared, different } = self;
            let zero = amx::cpuid(0, 0);
            let vendor = [zero.ebx, zero.edx, zero.ecx].map(u32::to_le_bytes);
            say(format_args!("{what}: {different} of {compared} results are not those of the definition"));
            if vendor.as_flattened() == b"GenuineIntel" {
                assert_eq!(different, 0, "{what}");
            }
        }
    }

    /// Prints straight to standard error, which a test harness does not keep to itself.
    fn say(text: std::fmt::Arguments<'_>) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// # Safety
    /// The processor has AVX-512 F and BF16.
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn vdpbf16ps(sums: &mut [f32; 16], a: &[[Bf16; 2]; 16], b: &[[Bf16; 2]; 16]) {
        // SAFETY: each array has the 64 bytes that are read or written, and every pattern of bits is a
        // value of both vectors.
        unsafe {
            let [a, b] = [a, b].map(|pairs| _mm512_loadu_si512(pairs.as_ptr().cast()));
            let [a, b] = [a, b].map(|bits| std::mem::transmute::<__m512i, __m512bh>(bits));
            _mm512_storeu_ps(sums.as_mut_ptr(), _mm512_dpbf16_ps(_mm512_loadu_ps(sums.as_ptr()), a, b));
        }
    }

    #[test]
    fn vdpbf16ps_is_what_its_definition_says() {
        let Some(mut comparison) = Comparison::on(Tier::Avx512Bf16, "VDPBF16PS") else { return };
        for_operands(2000, |mut sums, a, b| {
            for ((sums, a), b) in sums.iter_mut().zip(a).zip(b) {
                let defined: [f32; 16] = std::array::from_fn(|lane| dot_pair(sums[lane], a[lane], b[lane]));
                // SAFETY: the processor has the instruction.
                unsafe { vdpbf16ps(sums, a, b) };
                sums.iter().zip(defined).for_each(|(f, d)| comparison.compare(f.to_bits(), d.to_bits()));
            }
        });
        comparison.end();
    }

    /// A product of one tile with one tile is the instruction and nothing else.
    #[test]
    fn tdpbf16ps_is_what_its_definition_says() {
        let Some(mut comparison) = Comparison::on(Tier::Amx, "TDPBF16PS") else { return };
        // SAFETY: AMX is available.
        unsafe { amx::configure() };
        for_operands(200, |mut sums, a, b| {
            let start = sums;
            let pairs = [Pair { a: 0, b: 0 }];
            let (a_tiles, b_tiles) = (a.as_flattened().as_flattened(), b.as_flattened().as_flattened());
            let product = Product16 {
                k_blocks: 1,
                rows: [16, 0],
                columns: 1,
                ..product(a_tiles, b_tiles, sums.as_flattened_mut(), &pairs)
            };
            // SAFETY: AMX is available and configured; each buffer is the one tile that is named.
            unsafe { amx::product(&product) };
            for (row, sums) in sums.iter().enumerate() {
                for (column, sum) in sums.iter().enumerate() {
                    let pairs = (0..16).map(|k| (a[row][k], b[k][column]));
                    comparison.compare(sum.to_bits(), dot_row(start[row][column], pairs).to_bits());
                }
            }
        });
        // SAFETY: AMX is available.
        unsafe { amx::release() };
        comparison.end();
    }

    #[test]
    fn conversions_are_what_the_definition_says() {
        let Some(mut comparison) = Comparison::on(Tier::Avx512Bf16, "VCVTNE2PS2BF16") else { return };
        for_operands(2000, |sums, _, _| {
            let mut c = [0.0; 512];
            c[..256].copy_from_slice(sums.as_flattened());
            c[256..].copy_from_slice(sums.as_flattened());
            let mut y = [Bf16(0); TILE16_LEN];
            let finish = Finish { c: &c, rows: 16, y_line: 1, bias: None, relu: false };
            // SAFETY: the processor has the instructions, and `y` has 16 rows of 32 values.
            unsafe { avx512::finish(&finish, y.as_mut_ptr()) };
            for (row, values) in y.as_chunks::<32>().0.iter().enumerate() {
                for (column, value) in values.iter().enumerate() {
                    // No bias is a bias of zero, which makes 0 of −0.
                    let defined = round(sums[row][column % 16] + 0.0);
                    comparison.compare(u32::from(value.0), u32::from(defined.0));
                }
            }
        });
        comparison.end();
    }

    /// Two by two tiles of C, sums over four terms of three tiles each.
    fn product<'a>(a: &'a [Bf16], b: &'a [Bf16], c: &'a mut [f32], pairs: &'a [Pair]) -> Product16<'a> {
        Product16 {
            a: a.as_ptr(),
            b: b.as_ptr(),
            c: c.as_mut_ptr(),
            pairs,
            k_blocks: 3,
            a_step: 1,
            b_step: 1,
            k_pairs_last: 16,
            rows: [16, 16],
            a_line: 1,
            a_row: 12,
            c_row: 2,
            columns: 2,
            b_column: 12,
            c_column: 1,
            accumulate: true,
        }
    }

    /// Compares a kernel's sums with those that `sum` makes of what C held and the pairs of factors.
    fn compare_product(
        comparison: &mut Comparison,
        kernel: Product16Fn,
        sum: impl Fn(f32, &[[Bf16; 4]]) -> f32,
    ) {
        let mut operands = Operands(2);
        let [factors, sums] = EXPONENTS[1];
        for _ in 0..20 {
            let mut tiles = || -> Vec<[[[Bf16; 2]; 16]; 16]> {
                (0..24).map(|_| operands.pairs(factors, false)).collect()
            };
            let (a, b) = (tiles(), tiles());
            let start: Vec<[[f32; 16]; 16]> = (0..4).map(|_| operands.sums(sums, false)).collect();
            let mut c = start.clone();
            let pairs = [0, 9, 3, 6].map(|tile| Pair { a: tile, b: 9 - tile });
            let flat =
                |tiles: &[[[[Bf16; 2]; 16]; 16]]| tiles.as_flattened().as_flattened().as_flattened().to_vec();
            let (flat_a, flat_b) = (flat(&a), flat(&b));
            // SAFETY: the processor has the kernel, whose tiles are configured; the tiles named are the
            // 24 of either operand and the four of C.
            unsafe { kernel(&product(&flat_a, &flat_b, c.as_flattened_mut().as_flattened_mut(), &pairs)) };
            for (index, found) in c.as_flattened().as_flattened().iter().enumerate() {
                let (tile, row, column) = (index / 256, index / 16 % 16, index % 16);
                let mut factors = Vec::new();
                for (pair, step) in pairs.iter().flat_map(|pair| (0..3).map(move |step| (pair, step))) {
                    let a = &a[tile / 2 * 12 + pair.a as usize + step][row];
                    let b = &b[tile % 2 * 12 + pair.b as usize + step];
                    factors.extend((0..16).map(|k| [a[k][0], a[k][1], b[k][column][0], b[k][column][1]]));
                }
                comparison.compare(found.to_bits(), sum(start[tile][row][column], &factors).to_bits());
            }
        }
    }

    #[test]
    fn products_on_avx512_bf16_are_chains_of_its_instruction() {
        let Some(mut comparison) = Comparison::on(Tier::Avx512Bf16, "products on avx512-bf16") else {
            return;
        };
        compare_product(&mut comparison, avx512::product, |base, factors| {
            base + factors.iter().fold(0.0, |sum, &[a0, a1, b0, b1]| dot_pair(sum, [a0, a1], [b0, b1]))
        });
        comparison.end();
    }

    #[test]
    fn products_on_amx_are_chains_of_its_instruction() {
        let Some(mut comparison) = Comparison::on(Tier::Amx, "products on amx") else { return };
        // SAFETY: AMX is available.
        unsafe { amx::configure() };
        compare_product(&mut comparison, amx::product, |base, factors| {
            let (tiles, _) = factors.as_chunks::<16>();
            let pairs = |tile: &[[Bf16; 4]; 16]| tile.map(|[a0, a1, b0, b1]| ([a0, a1], [b0, b1]));
            tiles.iter().fold(base, |sum, tile| dot_row(sum, pairs(tile).into_iter()))
        });
        // SAFETY: AMX is available.
        unsafe { amx::release() };
        comparison.end();
    }
}
