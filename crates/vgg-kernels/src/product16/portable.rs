//! bf16 products by conversion to `f32`, as plain Rust: the judge of the other tiers, and what
//! processors without instructions for bf16 run. It is compiled once for each instruction set.

use super::{Finish, Product16, TILE16_LEN};
use crate::TILE;
use crate::element::{Bf16, Element};

/// Defines a module with the kernels compiled for a set of features.
macro_rules! compiled_for {
    ($(#[$attribute:meta])* $name:ident) => {
        pub(crate) mod $name {
            use super::*;

            /// # Safety
            /// As [`crate::product16::Product16Fn`].
            $(#[$attribute])*
            pub(crate) unsafe fn product(product: &Product16<'_>) {
                // SAFETY: the caller's promises are passed on.
                unsafe { super::product::<false>(product) }
            }

            /// # Safety
            /// As [`crate::product16::Product16Fn`].
            $(#[$attribute])*
            pub(crate) unsafe fn product_spread(product: &Product16<'_>) {
                // SAFETY: the caller's promises are passed on.
                unsafe { super::product::<true>(product) }
            }

            /// # Safety
            /// As [`crate::product16::FinishFn`].
            $(#[$attribute])*
            pub(crate) unsafe fn finish(finish: &Finish<'_>, y: *mut Bf16) {
                // SAFETY: the caller's promises are passed on.
                unsafe { super::finish(finish, y) }
            }
        }
    };
}

compiled_for!(baseline);
#[cfg(target_arch = "x86_64")]
compiled_for!(
    #[target_feature(enable = "avx2,fma")]
    avx2
);
#[cfg(target_arch = "x86_64")]
compiled_for!(
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    avx512
);

/// # Safety
/// As [`super::Product16Fn`].
#[inline(always)] // Into each of the functions above, to be compiled with its instructions.
unsafe fn product<const SPREAD: bool>(product: &Product16<'_>) {
    for tile in 0..2 {
        for row in 0..product.rows[tile] {
            for column in 0..product.columns {
                // SAFETY: the caller's promises cover every row and column named.
                unsafe { product_row::<SPREAD>(product, tile, row, column) };
            }
        }
    }
}

/// One row of one tile of C.
///
/// # Safety
/// As [`super::Product16Fn`], for a row and a column of the product.
#[inline(always)] // As above.
unsafe fn product_row<const SPREAD: bool>(product: &Product16<'_>, tile: usize, row: usize, column: usize) {
    let (unit, line) = if SPREAD { (32, product.a_line * 32) } else { (TILE16_LEN, 32) };
    let mut sums = [0.0f32; TILE];
    // SAFETY: the caller promises that every tile named lies inside its buffer.
    unsafe {
        for pair in product.pairs {
            for block in 0..product.k_blocks {
                let a_tile = pair.a as usize + tile * product.a_row + block * product.a_step;
                let b_tile = pair.b as usize + column * product.b_column + block * product.b_step;
                let a = product.a.add(a_tile * unit + row * line).cast::<[[Bf16; 2]; 16]>();
                let b = product.b.add(b_tile * TILE16_LEN).cast::<[[[Bf16; 2]; TILE]; 16]>();
                let last = block + 1 == product.k_blocks;
                let k_pairs = if last { product.k_pairs_last } else { 16 };
                for (a, b) in (*a).iter().zip(&*b).take(k_pairs) {
                    let [even, odd] = a.map(Element::to_f32);
                    for (sum, b) in sums.iter_mut().zip(b) {
                        *sum += odd * b[1].to_f32();
                        *sum += even * b[0].to_f32();
                    }
                }
            }
        }
        let c_tile = tile * product.c_row + column * product.c_column;
        let c = &mut *product.c.add(c_tile * 256 + row * TILE).cast::<[f32; TILE]>();
        for (c, sum) in c.iter_mut().zip(sums) {
            *c = if product.accumulate { *c + sum } else { sum };
        }
    }
}

/// ReLU keeps NaN, so that a run that diverges shows.
///
/// # Safety
/// As [`super::FinishFn`].
#[inline(always)] // As above.
unsafe fn finish(finish: &Finish<'_>, y: *mut Bf16) {
    let bias = finish.bias.unwrap_or(&[0.0; 32]);
    for row in 0..finish.rows {
        // SAFETY: the caller promises that the rows lie inside the buffer and are ours.
        let y = unsafe { &mut *y.add(row * finish.y_line * 32).cast::<[Bf16; 32]>() };
        for (column, y) in y.chunks_exact_mut(TILE).enumerate() {
            let c = &finish.c[column * 256 + row * TILE..][..TILE];
            let bias = &bias[column * TILE..][..TILE];
            for ((y, c), bias) in y.iter_mut().zip(c).zip(bias) {
                let value = c + bias;
                *y = Bf16::from_f32(if finish.relu && value <= 0.0 { 0.0 } else { value });
            }
        }
    }
}

/// The compiler makes the same of it whatever the instruction set.
///
/// # Safety
/// None is needed; the type is that of the table.
pub(crate) unsafe fn transpose(from: &[Bf16; TILE16_LEN], used: usize, to: &mut [u32; 256]) {
    for (row, values) in from.as_chunks::<32>().0.iter().enumerate() {
        for (pair, values) in values.as_chunks::<2>().0.iter().enumerate() {
            let bits = u32::from(values[0].0) | u32::from(values[1].0) << 16;
            to[pair * TILE + row] = if row < used { bits } else { 0 };
        }
    }
}

/// # Safety
/// None is needed; the type is that of the table.
pub(crate) unsafe fn turn(from: &[Bf16; TILE16_LEN], to: [&mut [Bf16; TILE16_LEN / 2]; 2]) {
    for (half, to) in to.into_iter().enumerate() {
        for (index, to) in to.iter_mut().enumerate() {
            let (column, k) = (index / 32 * 2 + index % 2, half * TILE + index % 32 / 2);
            *to = from[k / 2 * 32 + column * 2 + k % 2];
        }
    }
}
