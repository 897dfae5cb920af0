//! The formats that values are stored in: `f32`, and `bf16` for the operands of products.
//!
//! bf16 is the upper half of an `f32`: the same sign and exponent, 8 significant bits instead of
//! 24. So a conversion to `f32` is exact, and one to bf16 rounds to nearest, ties to even, with an
//! error of at most 2⁻⁸ of the value. The range is that of `f32`, so gradients need no scaling.

use std::fmt;

/// A format of values in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// 32-bit floating point.
    F32,
    /// The upper 16 bits of it.
    Bf16,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 2] = [Format::F32, Format::Bf16];

    /// The name in messages and options.
    pub const fn name(self) -> &'static str {
        match self {
            Format::F32 => "f32",
            Format::Bf16 => "bf16",
        }
    }

    /// Bytes of a value.
    pub const fn bytes(self) -> usize {
        match self {
            Format::F32 => 4,
            Format::Bf16 => 2,
        }
    }

    /// Channels in a block: as many as 64 bytes hold.
    pub const fn block(self) -> usize {
        64 / self.bytes()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

mod sealed {
    /// Keeps [`super::Element`] to the types below, of which every pattern of bits is a value.
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for super::Bf16 {}
}

/// A value of one of the formats. Every pattern of bits is a value.
pub trait Element: sealed::Sealed + Copy + Default + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// The format.
    const FORMAT: Format;
    /// Channels in a block.
    const BLOCK: usize = Self::FORMAT.block();
    /// Values in a tile of 16 pictures × one block.
    const TILE_LEN: usize = crate::TILE * Self::BLOCK;

    /// An integer as wide as the value.
    type Rank: Ord + Copy + Default;

    /// The value as `f32`, exactly.
    fn to_f32(self) -> f32;

    /// The nearest value of this format, the even one of two that are equally near.
    fn from_f32(value: f32) -> Self;

    /// The place of the value in the order of all: equal values have equal ranks, also the zeros of either
    /// sign, and every NaN has the largest rank. Comparing ranks takes fewer instructions than comparing values
    /// and looking for NaN.
    fn rank(self) -> Self::Rank;

    /// The value of a rank; of those that share it the positive zero, or a NaN.
    fn of_rank(rank: Self::Rank) -> Self;
}

/// Defines the ranks of values of `$bits` bits: the magnitude, with the sign, as two's complement has it.
macro_rules! ranks {
    ($rank:ty, $bits:literal, infinity: $infinity:literal, from: $from:expr, to: $to:expr) => {
        type Rank = $rank;

        #[inline(always)] // Into each tier's function, to be compiled with its instructions.
        fn rank(self) -> $rank {
            let bits: $rank = $from(self);
            let (magnitude, sign) = (bits & <$rank>::MAX, bits >> ($bits - 1));
            if magnitude > $infinity { <$rank>::MAX } else { (magnitude ^ sign) - sign }
        }

        #[inline(always)] // As above.
        fn of_rank(rank: $rank) -> Self {
            let sign = rank >> ($bits - 1);
            $to((rank ^ sign).wrapping_sub(sign) | (sign & <$rank>::MIN))
        }
    };
}

impl Element for f32 {
    const FORMAT: Format = Format::F32;

    ranks!(
        i32, 32, infinity: 0x7F80_0000,
        from: |value: f32| value.to_bits().cast_signed(),
        to: |rank: i32| f32::from_bits(rank.cast_unsigned())
    );

    #[inline(always)] // Into each tier's function, to be compiled with its instructions.
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)] // As above.
    fn from_f32(value: f32) -> Self {
        value
    }
}

/// A bf16 number, by its bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(pub u16);

impl Element for Bf16 {
    const FORMAT: Format = Format::Bf16;

    ranks!(
        i16, 16, infinity: 0x7F80,
        from: |value: Bf16| value.0.cast_signed(),
        to: |rank: i16| Bf16(rank.cast_unsigned())
    );

    #[inline(always)] // Into each tier's function, to be compiled with its instructions.
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    #[inline(always)] // As above.
    fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        // Half of the last place that stays, less one where that place is even: a carry out of the
        // mantissa is the next exponent, up to infinity, as rounding wants it.
        let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1));
        // The payload of a NaN could be lost in the lower half, so NaN is made quiet instead.
        let kept = if value.is_nan() { bits | 0x40_0000 } else { rounded };
        Self((kept >> 16) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bf16_comes_back_from_f32() {
        for bits in 0..=u16::MAX {
            let value = Bf16(bits).to_f32();
            let back = Bf16::from_f32(value);
            assert!(back.0 == bits || value.is_nan() && back.to_f32().is_nan(), "{bits:04x}");
        }
    }

    #[test]
    fn ranks_are_in_the_order_of_values() {
        for bits in 0..=u16::MAX {
            let (value, wide) = (Bf16(bits), Bf16(bits).to_f32());
            let (back, wide_back) = (Bf16::of_rank(value.rank()), f32::of_rank(wide.rank()));
            assert_eq!(wide_back.to_bits() >> 16, u32::from(back.0));
            assert!(wide_back == wide || wide.is_nan() && back.to_f32().is_nan() && value.rank() == i16::MAX);
            for other in [bits.wrapping_add(1), bits ^ 0x8000, 0, 0x8000, 0x7F80, 0xFF80].map(Bf16) {
                let Some(order) = wide.partial_cmp(&other.to_f32()) else { continue };
                assert_eq!(value.rank().cmp(&other.rank()), order, "{value:?} {other:?}");
                assert_eq!(wide.rank().cmp(&other.to_f32().rank()), order, "{value:?} {other:?}");
            }
        }
        assert_eq!(f32::of_rank((-0.0f32).rank()).to_bits(), 0);
    }

    /// Against the definition: the nearer of the two neighbours, at a tie the even one.
    #[test]
    fn rounding_is_to_nearest_even() {
        for high in (0..0x7F80u32).step_by(37) {
            for low in [0u32, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF] {
                let expected = match low.cmp(&0x8000) {
                    std::cmp::Ordering::Less => high,
                    std::cmp::Ordering::Greater => high + 1,
                    std::cmp::Ordering::Equal => high + (high & 1),
                };
                assert_eq!(u32::from(Bf16::from_f32(f32::from_bits(high << 16 | low)).0), expected);
            }
        }
        assert_eq!(Bf16::from_f32(f32::MAX).to_f32(), f32::INFINITY);
        assert_eq!(Bf16::from_f32(f32::NEG_INFINITY).to_f32(), f32::NEG_INFINITY);
        assert!(Bf16::from_f32(f32::from_bits(0x7F80_0001)).to_f32().is_nan());
    }
}
