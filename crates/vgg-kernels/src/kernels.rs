//! The table of kernels of one tier.
//!
//! A [`Kernels`] value exists only for a tier that this processor has, so holding one is the proof
//! that its functions may run.

use crate::contraction::{TILES_PER_CHUNK, TILES_PER_CHUNK_AMX};
use crate::product::{self, ProductFn};
#[cfg(target_arch = "x86_64")]
use crate::product16;
use crate::product16::{FinishFn, Product16Fn, TransposeFn, TurnFn, portable};
use crate::tier::{Tier, TierError};
use std::marker::PhantomData;

/// The kernels of one tier. Operations take it as their first argument.
#[derive(Clone, Copy, Debug)]
pub struct Kernels {
    tier: Tier,
    /// `C = Σ A·B` with the rows of A in the rows of its tiles.
    pub(crate) product: ProductFn,
    /// `C = Σ Aᵀ·B` with the rows of Aᵀ in the columns of A's tiles.
    pub(crate) product_transposed: ProductFn,
    /// `C = Σ A·B` with the rows of A in lines at some distance.
    pub(crate) product_spread: ProductFn,
    /// `C = Σ A·B` of bf16 with the rows of A in lines at some distance.
    pub(crate) product16_spread: Product16Fn,
    /// `C = Σ A·B` of bf16.
    pub(crate) product16: Product16Fn,
    /// Sums to bf16 values.
    pub(crate) finish: FinishFn,
    /// Transposes 16 × 16 numbers of 32 bits.
    pub(crate) transpose: TransposeFn,
    /// Transposes a tile of bf16 weights.
    pub(crate) turn: TurnFn,
    /// Where bf16 products need registers for tiles.
    tiles: Option<TileRegisters>,
    /// Tiles that one product of backward-by-weights in bf16 sums at most.
    pub(crate) tiles_per_chunk: usize,
}

impl Kernels {
    /// The kernels of `tier`, if this processor can run them.
    pub fn for_tier(tier: Tier) -> Option<Self> {
        if !tier.is_available() {
            return None;
        }
        Some(match tier {
            Tier::Portable => Self {
                tier,
                product: product::portable::product,
                product_transposed: product::portable::product_transposed,
                product_spread: product::portable::product_spread,
                product16: portable::baseline::product,
                product16_spread: portable::baseline::product_spread,
                finish: portable::baseline::finish,
                transpose: portable::transpose,
                turn: portable::turn,
                tiles: None,
                tiles_per_chunk: TILES_PER_CHUNK,
            },
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => Self {
                tier,
                product: product::avx2::product,
                product_transposed: product::avx2::product_transposed,
                product_spread: product::avx2::product_spread,
                product16: portable::avx2::product,
                product16_spread: portable::avx2::product_spread,
                finish: portable::avx2::finish,
                transpose: portable::transpose,
                turn: portable::turn,
                tiles: None,
                tiles_per_chunk: TILES_PER_CHUNK,
            },
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => Self {
                tier,
                product: product::avx512::product,
                product_transposed: product::avx512::product_transposed,
                product_spread: product::avx512::product_spread,
                product16: portable::avx512::product,
                product16_spread: portable::avx512::product_spread,
                finish: portable::avx512::finish,
                transpose: product16::avx512::transpose,
                turn: product16::avx512::turn,
                tiles: None,
                tiles_per_chunk: TILES_PER_CHUNK,
            },
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512Bf16 => Self {
                tier,
                product: product::avx512::product,
                product_transposed: product::avx512::product_transposed,
                product_spread: product::avx512::product_spread,
                product16: product16::avx512::product,
                product16_spread: product16::avx512::product_spread,
                finish: product16::avx512::finish,
                transpose: product16::avx512::transpose,
                turn: product16::avx512::turn,
                tiles: None,
                tiles_per_chunk: TILES_PER_CHUNK,
            },
            #[cfg(target_arch = "x86_64")]
            Tier::Amx => Self {
                tier,
                product: product::avx512::product,
                product_transposed: product::avx512::product_transposed,
                product_spread: product::avx512::product_spread,
                product16: product16::amx::product,
                product16_spread: product16::avx512::product_spread,
                finish: product16::avx512::finish,
                transpose: product16::avx512::transpose,
                turn: product16::avx512::turn,
                tiles: Some(TileRegisters {
                    configure: product16::amx::configure,
                    release: product16::amx::release,
                }),
                tiles_per_chunk: TILES_PER_CHUNK_AMX,
            },
            #[cfg(not(target_arch = "x86_64"))]
            Tier::Avx2 | Tier::Avx512 | Tier::Avx512Bf16 | Tier::Amx => return None,
        })
    }

    /// The kernels of every tier that this processor has, slowest first.
    pub fn available() -> Vec<Self> {
        Tier::ALL.into_iter().filter_map(Self::for_tier).collect()
    }

    /// The kernels of the tier that [`Tier::choose`] chooses.
    ///
    /// # Errors
    /// As [`Tier::choose`].
    pub fn choose() -> Result<Self, TierError> {
        let tier = Tier::choose()?;
        Ok(Self::for_tier(tier).expect("a tier is chosen from those that are available"))
    }

    /// Makes the thread ready for bf16 products, until what is returned is dropped. A thread holds one
    /// at a time.
    pub(crate) fn tiles(&self) -> Tiles {
        if let Some(TileRegisters { configure, .. }) = self.tiles {
            // SAFETY: holding the kernels is the proof that this processor has them.
            unsafe { configure() };
        }
        Tiles { registers: self.tiles, of_this_thread: PhantomData }
    }

    /// The tier of this table.
    pub fn tier(&self) -> Tier {
        self.tier
    }
}

/// How a thread gets and gives up registers for tiles.
#[derive(Clone, Copy, Debug)]
struct TileRegisters {
    configure: unsafe fn(),
    release: unsafe fn(),
}

/// The state that a thread needs for bf16 products.
pub(crate) struct Tiles {
    registers: Option<TileRegisters>,
    /// Registers belong to the thread, so this may not be sent to another.
    of_this_thread: PhantomData<*const ()>,
}

impl Drop for Tiles {
    fn drop(&mut self) {
        if let Some(TileRegisters { release, .. }) = self.registers {
            // SAFETY: the kernels that this came from are the proof that this processor has them. It is
            // dropped by the thread whose registers it stands for, since it cannot be sent.
            unsafe { release() };
        }
    }
}

/// Defines a function that runs its body as compiled for the tier of the [`Kernels`] it is given:
/// the same plain Rust, once for each instruction set, vectorised by the compiler. The results are
/// the same on every tier, since the compiler neither reorders nor contracts floating-point sums.
/// The function may be generic over one [`crate::Element`].
macro_rules! per_tier {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident $(<$element:ident>)? ($($argument:ident: $type:ty),* $(,)?) $body:block
    ) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments)]
        $visibility fn $name $(<$element: $crate::Element>)? (kernels: &$crate::Kernels, $($argument: $type),*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body $(<$element: $crate::Element>)? ($($argument: $type),*) $body

            /// # Safety
            /// The processor has AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx2 $(<$element: $crate::Element>)? ($($argument: $type),*) {
                body($($argument),*)
            }

            /// # Safety
            /// The processor has these features.
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx512 $(<$element: $crate::Element>)? ($($argument: $type),*) {
                body($($argument),*)
            }

            match kernels.tier() {
                // SAFETY: a table of this tier exists only where the processor has AVX2 and FMA.
                #[cfg(target_arch = "x86_64")]
                $crate::Tier::Avx2 => unsafe { avx2($($argument),*) },
                // SAFETY: a table of this tier exists only where the processor has these features.
                #[cfg(target_arch = "x86_64")]
                $crate::Tier::Avx512 | $crate::Tier::Avx512Bf16 | $crate::Tier::Amx => unsafe {
                    avx512($($argument),*)
                },
                $crate::Tier::Portable => body($($argument),*),
                #[cfg(not(target_arch = "x86_64"))]
                $crate::Tier::Avx2
                | $crate::Tier::Avx512
                | $crate::Tier::Avx512Bf16
                | $crate::Tier::Amx => body($($argument),*),
            }
        }
    };
}
pub(crate) use per_tier;
