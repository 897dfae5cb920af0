//! What becomes of the gradient of weights: it is kept, or applied to the weights at once.
//!
//! Backward by weights computes it in *squares* of a few tiles. Applied at once, a finished square is
//! used while it is in the nearest cache, and most layers need no memory for their gradient. The
//! values are the same either way, so the weights get the same bits.

use crate::element::Bf16;
use crate::kernels::Kernels;
use crate::layout::TILE_LEN;
use crate::parallel::SharedMut;
use crate::update::{self, Sgd};
use std::sync::atomic::AtomicBool;

/// Where backward-by-weights leaves its result. All slices are in packed form.
#[derive(Debug)]
pub enum WeightGradient<'a> {
    /// The gradient is written here.
    Keep(&'a mut [f32]),
    /// The gradient is used to update weights, and not kept.
    Apply(Apply<'a>),
}

/// An update of weights by their gradient.
#[derive(Debug)]
pub struct Apply<'a> {
    /// The rule.
    pub rule: &'a Sgd,
    /// The weights.
    pub weights: &'a mut [f32],
    /// As long as the weights, or empty without momentum.
    pub velocity: &'a mut [f32],
    /// As long as the weights, or empty where operands are the weights themselves.
    pub operands: &'a mut [Bf16],
    /// Room for sums that are not finished: [`crate::Contraction::partial_len`] values at least.
    pub partial: &'a mut [f32],
    /// Becomes true when a new weight is no finite number.
    pub diverged: &'a AtomicBool,
}

impl WeightGradient<'_> {
    /// Panics unless slices fit `weights_len` weights and `partial_len` partial sums.
    pub(super) fn check(&self, weights_len: usize, partial_len: usize) {
        match self {
            Self::Keep(gradient) => assert_eq!(gradient.len(), weights_len, "gradient"),
            Self::Apply(apply) => {
                assert_eq!(apply.weights.len(), weights_len, "weights");
                assert!([0, weights_len].contains(&apply.velocity.len()), "velocity");
                assert!([0, weights_len].contains(&apply.operands.len()), "operands");
                assert!(apply.partial.len() >= partial_len, "room for partial sums");
            }
        }
    }
}

/// [`WeightGradient`] as pointers that tasks share, each to squares of its own.
#[derive(Clone, Copy)]
pub(super) struct Sink<'a> {
    sums: SharedMut<f32>,
    apply: Option<Shared<'a>>,
    /// Whether a square is summed in several products, with what is not finished in `sums`.
    chunked: bool,
}

#[derive(Clone, Copy)]
struct Shared<'a> {
    rule: &'a Sgd,
    weights: SharedMut<f32>,
    velocity: Option<SharedMut<f32>>,
    operands: Option<SharedMut<Bf16>>,
    diverged: &'a AtomicBool,
}

/// The tiles of a square in the packed weights: `columns` runs of `rows` tiles, `column_step` apart.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) column_step: usize,
}

/// Room for the sums of a square of two by two tiles, aligned so that no row crosses a cache line.
#[repr(align(64))]
pub(super) struct Square(pub(super) [f32; 4 * TILE_LEN]);

impl<'a> Sink<'a> {
    pub(super) fn new(gradient: WeightGradient<'a>, chunked: bool) -> Self {
        match gradient {
            WeightGradient::Keep(gradient) => {
                Self { sums: SharedMut(gradient.as_mut_ptr()), apply: None, chunked }
            }
            WeightGradient::Apply(Apply { rule, weights, velocity, operands, partial, diverged }) => {
                let weights = SharedMut(weights.as_mut_ptr());
                let velocity = (!velocity.is_empty()).then_some(SharedMut(velocity.as_mut_ptr()));
                let operands = (!operands.is_empty()).then_some(SharedMut(operands.as_mut_ptr()));
                let apply = Some(Shared { rule, weights, velocity, operands, diverged });
                Self { sums: SharedMut(partial.as_mut_ptr()), apply, chunked }
            }
        }
    }

    /// Where the product writes a square, and how many tiles apart its columns are: in memory, or in
    /// `square` when it is applied right after one product.
    pub(super) fn target(&self, place: Place, square: &mut Square) -> (*mut f32, usize) {
        if self.apply.is_some() && !self.chunked {
            return (square.0.as_mut_ptr(), 2);
        }
        // SAFETY: the tile is inside the sums, whose length was checked.
        (unsafe { self.sums.pointer().add(place.first * TILE_LEN) }, place.column_step)
    }

    /// Applies a finished square, if that is what is wanted.
    pub(super) fn finish(&self, kernels: &Kernels, place: Place, square: &mut Square) {
        let Some(apply) = self.apply else { return };
        let (sums, column_step) = self.target(place, square);
        let len = place.rows * TILE_LEN;
        for column in 0..place.columns {
            let start = (place.first + column * place.column_step) * TILE_LEN;
            // SAFETY: the tiles are inside weights, velocity and operands, whose lengths were checked
            // and which are borrowed for the whole operation; each square belongs to one task. An
            // empty slice covers nothing. The sums are the square's own or inside the partial sums.
            unsafe {
                let gradient = std::slice::from_raw_parts(sums.add(column * column_step * TILE_LEN), len);
                let weights = std::slice::from_raw_parts_mut(apply.weights.pointer().add(start), len);
                let velocity = apply.velocity.map_or(&mut [][..], |velocity| {
                    std::slice::from_raw_parts_mut(velocity.pointer().add(start), len)
                });
                let operands = apply.operands.map_or(&mut [][..], |operands| {
                    std::slice::from_raw_parts_mut(operands.pointer().add(start), len)
                });
                let Shared { rule, diverged, .. } = apply;
                update::update_values(kernels, rule, weights, gradient, velocity, operands, diverged);
            }
        }
    }
}
