//! bf16 products with AMX: one instruction multiplies a tile of A with a tile of B and adds the
//! result to a tile of C, all held in registers of 1 KiB.
//!
//! Two tiles of rows by two of columns are four sums. Each step of k takes four loads for four
//! products of 16 cycles, and a load takes half as long as a product, so the loads stay hidden.
//! Tiles of A pass by once, so they are loaded past the nearest cache (`tileloaddt1`), which is left to
//! those of B, to which the next products come back.
//! The instruction always computes 16 rows and 32 values of k: a part-filled tile saves nothing.
//! It takes denormal operands and results as zero.
//!
//! Tile registers belong to the thread: [`configure`] makes them usable, [`release`] gives them up.

use super::Product16;
use crate::product::Pair;
use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv, CpuidResult};
use std::mem::{offset_of, size_of};
use std::sync::OnceLock;

/// Bytes of a tile.
const TILE_BYTES: usize = 1024;

/// Whether this processor has AMX for bf16 and the operating system lets this process use it.
pub(crate) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| processor_has_tiles() && system_keeps_tiles() && permission_is_given())
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Palette 1, with all eight tiles of 16 rows of 64 bytes.
static CONFIGURATION: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Makes the tile registers of this thread ready for [`product`].
///
/// # Safety
/// [`is_available`] is true.
pub(crate) unsafe fn configure() {
    // SAFETY: the instruction is there, as the caller promises. It reads the 64 bytes of a valid
    // configuration, and clears the tile registers, which are named.
    unsafe {
        asm!(
            "ldtilecfg [{}]",
            in(reg) &raw const CONFIGURATION,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly, preserves_flags),
        );
    }
}

/// Gives the tile registers of this thread up, so that the system need not save them.
///
/// # Safety
/// [`is_available`] is true.
pub(crate) unsafe fn release() {
    // SAFETY: the instruction is there, as the caller promises. It clears the tile registers, which
    // are named, and touches no memory.
    unsafe {
        asm!(
            "tilerelease",
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, nomem, preserves_flags),
        );
    }
}

/// The addresses and distances of a product, in bytes, in the order in which [`block`] reads them:
/// eight bytes each. No two neighbours are copied from neighbours of a [`Product16`]: a compiler would copy
/// such two at once, and that load would wait until both, and all results stored before them, have reached
/// the cache.
#[repr(C)]
struct Addresses {
    /// Tiles of C at (row, column) (0, 0), (0, 1), (1, 0) and (1, 1). Offsets 0, 8, 16 and 24.
    c: [*mut f32; 4],
    /// Offset 32.
    a: *const u8,
    /// From the first tile of rows to the second, in A. Offset 40.
    a_row: usize,
    /// Offset 48.
    b: *const u8,
    /// From the first tile of columns to the second, in B. Offset 56.
    b_column: usize,
    /// Offset 64.
    k_blocks: usize,
    /// The end of the pairs. Offset 72.
    pairs_end: *const Pair,
}

/// Sums start with what C holds, so that the order of additions is that of the list.
///
/// # Safety
/// As [`super::Product16Fn`], with AMX for bf16 and after [`configure`] on this thread.
pub(crate) unsafe fn product(product: &Product16<'_>) {
    // SAFETY: the caller's promises are passed on.
    unsafe {
        match (product.rows[1] > 0, product.columns == 2) {
            (true, true) => two_by_two(product),
            (true, false) => two_by_one(product),
            (false, true) => one_by_two(product),
            (false, false) => one_by_one(product),
        }
    }
}

impl Addresses {
    fn of(product: &Product16<'_>) -> Self {
        let [row, column] = [product.c_row, product.c_column].map(|tiles| tiles * TILE_BYTES);
        Self {
            c: [0, column, row, row + column].map(|bytes| product.c.wrapping_byte_add(bytes)),
            a: product.a.cast(),
            a_row: product.a_row * TILE_BYTES,
            b: product.b.cast(),
            b_column: product.b_column * TILE_BYTES,
            k_blocks: product.k_blocks,
            pairs_end: product.pairs.as_ptr_range().end,
        }
    }
}

/// Defines the function for a number of tiles of rows and columns. Registers `tmm4` to `tmm7` are
/// the sums at (0, 0), (0, 1), (1, 0) and (1, 1); `tmm0` and `tmm1` are tiles of A, `tmm2` and
/// `tmm3` tiles of B. `{a0}`, `{a1}`, `{b0}` and `{b1}` point to these; `{row}` holds 64, the
/// distance between rows of a tile.
macro_rules! block {
    ($name:ident, zero: [$($zero:literal),*], load: [$($load:literal),*], step: [$($step:literal),*],
     store: [$($store:literal),*]) => {
        /// # Safety
        /// As [`product`], for a product of this size.
        unsafe fn $name(product: &Product16<'_>) {
            let addresses = Addresses::of(product);
            // SAFETY: the caller promises that the processor has the instructions, that the tile
            // registers are configured and that all tiles named lie inside their buffers. Only
            // tiles of C are written. The offsets are those of `Addresses` and `Pair`, and the
            // registers that change are named.
            unsafe {
                asm!(
                    "test {accumulate}, {accumulate}",
                    "jnz 2f",
                    $($zero,)*
                    "jmp 5f",
                    "2:",
                    $($load,)*
                    "jmp 5f",
                    // The next pair.
                    "3:",
                    "mov {a0:e}, dword ptr [{pair} + {pair_a}]",
                    "mov {b0:e}, dword ptr [{pair} + {pair_b}]",
                    "add {pair}, {pair_bytes}",
                    "shl {a0}, 10",
                    "shl {b0}, 10",
                    "add {a0}, qword ptr [{addresses} + 32]",
                    "add {b0}, qword ptr [{addresses} + 48]",
                    "mov {a1}, qword ptr [{addresses} + 40]",
                    "mov {b1}, qword ptr [{addresses} + 56]",
                    "add {a1}, {a0}",
                    "add {b1}, {b0}",
                    "mov {left}, qword ptr [{addresses} + 64]",
                    ".p2align 4",
                    "4:",
                    $($step,)*
                    "add {a0}, {a_step}",
                    "add {a1}, {a_step}",
                    "add {b0}, {b_step}",
                    "add {b1}, {b_step}",
                    "dec {left}",
                    "jnz 4b",
                    "5:",
                    "cmp {pair}, qword ptr [{addresses} + 72]",
                    "jne 3b",
                    $($store,)*
                    addresses = in(reg) &raw const addresses,
                    accumulate = in(reg) usize::from(product.accumulate),
                    pair = inout(reg) product.pairs.as_ptr() => _,
                    a_step = in(reg) product.a_step * TILE_BYTES,
                    b_step = in(reg) product.b_step * TILE_BYTES,
                    row = in(reg) 64usize,
                    a0 = out(reg) _,
                    a1 = out(reg) _,
                    b0 = out(reg) _,
                    b1 = out(reg) _,
                    left = out(reg) _,
                    pair_a = const offset_of!(Pair, a),
                    pair_b = const offset_of!(Pair, b),
                    pair_bytes = const size_of::<Pair>(),
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

block!(
    two_by_two,
    zero: ["tilezero tmm4", "tilezero tmm5", "tilezero tmm6", "tilezero tmm7"],
    load: [
        "mov {left}, qword ptr [{addresses}]", "tileloadd tmm4, [{left} + {row}]",
        "mov {left}, qword ptr [{addresses} + 8]", "tileloadd tmm5, [{left} + {row}]",
        "mov {left}, qword ptr [{addresses} + 16]", "tileloadd tmm6, [{left} + {row}]",
        "mov {left}, qword ptr [{addresses} + 24]", "tileloadd tmm7, [{left} + {row}]"
    ],
    step: [
        "tileloaddt1 tmm0, [{a0} + {row}]", "tileloadd tmm2, [{b0} + {row}]", "tdpbf16ps tmm4, tmm0, tmm2",
        "tileloadd tmm3, [{b1} + {row}]", "tdpbf16ps tmm5, tmm0, tmm3",
        "tileloaddt1 tmm1, [{a1} + {row}]", "tdpbf16ps tmm6, tmm1, tmm2", "tdpbf16ps tmm7, tmm1, tmm3"
    ],
    store: [
        "mov {left}, qword ptr [{addresses}]", "tilestored [{left} + {row}], tmm4",
        "mov {left}, qword ptr [{addresses} + 8]", "tilestored [{left} + {row}], tmm5",
        "mov {left}, qword ptr [{addresses} + 16]", "tilestored [{left} + {row}], tmm6",
        "mov {left}, qword ptr [{addresses} + 24]", "tilestored [{left} + {row}], tmm7"
    ]
);

block!(
    two_by_one,
    zero: ["tilezero tmm4", "tilezero tmm6"],
    load: [
        "mov {left}, qword ptr [{addresses}]", "tileloadd tmm4, [{left} + {row}]",
        "mov {left}, qword ptr [{addresses} + 16]", "tileloadd tmm6, [{left} + {row}]"
    ],
    step: [
        "tileloaddt1 tmm0, [{a0} + {row}]", "tileloadd tmm2, [{b0} + {row}]", "tdpbf16ps tmm4, tmm0, tmm2",
        "tileloaddt1 tmm1, [{a1} + {row}]", "tdpbf16ps tmm6, tmm1, tmm2"
    ],
    store: [
        "mov {left}, qword ptr [{addresses}]", "tilestored [{left} + {row}], tmm4",
        "mov {left}, qword ptr [{addresses} + 16]", "tilestored [{left} + {row}], tmm6"
    ]
);

block!(
    one_by_two,
    zero: ["tilezero tmm4", "tilezero tmm5"],
    load: [
        "mov {left}, qword ptr [{addresses}]", "tileloadd tmm4, [{left} + {row}]",
        "mov {left}, qword ptr [{addresses} + 8]", "tileloadd tmm5, [{left} + {row}]"
    ],
    step: [
        "tileloaddt1 tmm0, [{a0} + {row}]", "tileloadd tmm2, [{b0} + {row}]", "tdpbf16ps tmm4, tmm0, tmm2",
        "tileloadd tmm3, [{b1} + {row}]", "tdpbf16ps tmm5, tmm0, tmm3"
    ],
    store: [
        "mov {left}, qword ptr [{addresses}]", "tilestored [{left} + {row}], tmm4",
        "mov {left}, qword ptr [{addresses} + 8]", "tilestored [{left} + {row}], tmm5"
    ]
);

block!(
    one_by_one,
    zero: ["tilezero tmm4"],
    load: ["mov {left}, qword ptr [{addresses}]", "tileloadd tmm4, [{left} + {row}]"],
    step: ["tileloaddt1 tmm0, [{a0} + {row}]", "tileloadd tmm2, [{b0} + {row}]", "tdpbf16ps tmm4, tmm0, tmm2"],
    store: ["mov {left}, qword ptr [{addresses}]", "tilestored [{left} + {row}], tmm4"]
);

/// Whether the processor has tiles of 16 rows × 64 bytes, eight of them, and multiplies bf16 in
/// them (Intel, Software Developer's Manual, volume 2, CPUID, leaves 7 and 1Dh).
fn processor_has_tiles() -> bool {
    if cpuid(0, 0).eax < 0x1D {
        return false;
    }
    let features = cpuid(7, 0).edx;
    let (amx_bf16, amx_tile) = (features & (1 << 22) != 0, features & (1 << 24) != 0);
    let palette = cpuid(0x1D, 1);
    amx_bf16
        && amx_tile
        && palette.eax == (1024 << 16 | 8192)
        && palette.ebx == (8 << 16 | 64)
        && palette.ecx & 0xFFFF == 16
}

#[allow(unused_unsafe)] // The oldest Rust that builds this counts the call as unsafe, later ones do not.
pub(super) fn cpuid(leaf: u32, part: u32) -> CpuidResult {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { __cpuid_count(leaf, part) }
}

/// Whether the operating system keeps the tiles of each thread: bits 17 and 18 of XCR0.
fn system_keeps_tiles() -> bool {
    let osxsave = cpuid(1, 0).ecx & (1 << 27) != 0;
    // SAFETY: the processor has the instruction and the system has enabled it, as the bit says.
    osxsave && unsafe { enabled_states() } & (0b11 << 17) == 0b11 << 17
}

/// # Safety
/// The processor has XGETBV, and the system has enabled it.
#[target_feature(enable = "xsave")]
fn enabled_states() -> u64 {
    // SAFETY: register 0 always exists.
    unsafe { _xgetbv(0) }
}

/// Asks Linux to let this process use tiles; its present and future threads may then use them
/// (Linux, Documentation/arch/x86/xstate.rst).
#[cfg(target_os = "linux")]
fn permission_is_given() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and touches no memory of this process.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
}

/// Nobody has run this tier on another system.
#[cfg(not(target_os = "linux"))]
fn permission_is_given() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tier;
    use crate::element::{Bf16, Element};
    use crate::product16::{TILE16_LEN, portable};
    use std::io::Write;

    /// Whether the tests can run. Where they cannot, this says so, straight to standard error,
    /// which a test harness does not keep to itself; with `VGG_REQUIRE_ISA=amx` it fails.
    fn amx_or_skip(test: &str) -> bool {
        let available = is_available();
        if !available {
            let required = std::env::var("VGG_REQUIRE_ISA").is_ok_and(|name| name.parse() == Ok(Tier::Amx));
            assert!(!required, "{test}: AMX is not available");
            let _ = writeln!(std::io::stderr(), "{test}: SKIPPED, since AMX is not available here");
        }
        available
    }

    /// A tile of A or B, aligned as tiles are in the arena.
    #[derive(Clone)]
    #[repr(C, align(64))]
    struct Tile16([Bf16; TILE16_LEN]);

    /// A tile of C.
    #[derive(Clone, Debug, PartialEq)]
    #[repr(C, align(64))]
    struct Sums([f32; 256]);

    /// Small integers, so that every sum is exact whatever its order.
    fn small_integers(tiles: usize, factor: usize) -> Vec<Tile16> {
        let value = |i: usize| Bf16::from_f32((i * factor % 11) as f32 - 5.0);
        let tile = |tile| Tile16(std::array::from_fn(|i| value(tile * TILE16_LEN + i + i / 7)));
        (0..tiles).map(tile).collect()
    }

    /// The product with plain loops, all 16 rows.
    fn expected(product: &Product16<'_>, c: &[Sums]) -> Vec<Sums> {
        let mut c = c.to_vec();
        let plain = Product16 {
            c: c.as_mut_ptr().cast(),
            rows: product.rows.map(|rows| if rows > 0 { 16 } else { 0 }),
            k_pairs_last: 16,
            ..*product
        };
        // SAFETY: the tiles named by the tests lie in their buffers.
        unsafe { portable::baseline::product(&plain) };
        c
    }

    #[test]
    fn every_shape_is_exact_on_small_integers() {
        if !amx_or_skip("every_shape_is_exact_on_small_integers") {
            return;
        }
        let (a, b) = (small_integers(64, 7), small_integers(64, 13));
        let start: Vec<Sums> = (0..12).map(|i| Sums([i as f32; 256])).collect();
        let pairs = [Pair { a: 0, b: 40 }, Pair { a: 17, b: 3 }, Pair { a: 9, b: 9 }, Pair { a: 1, b: 0 }];
        // SAFETY: AMX is available.
        unsafe { configure() };
        for (second_rows, columns) in [(16, 2), (5, 2), (16, 1), (1, 1), (0, 2), (0, 1)] {
            for (terms, k_blocks) in [(0, 1), (1, 1), (1, 5), (3, 2), (4, 3)] {
                for accumulate in [false, true] {
                    let mut c = start.clone();
                    let product = Product16 {
                        a: a.as_ptr().cast(),
                        b: b.as_ptr().cast(),
                        c: c.as_mut_ptr().cast(),
                        pairs: &pairs[..terms],
                        k_blocks,
                        a_step: 2,
                        b_step: 3,
                        k_pairs_last: 16,
                        rows: [16, second_rows],
                        a_line: 1,
                        a_row: 21,
                        c_row: 5,
                        columns,
                        b_column: 7,
                        c_column: 3,
                        accumulate,
                    };
                    let expected = expected(&product, &start);
                    // SAFETY: AMX is available and configured, and all tiles lie in the buffers:
                    // the last of A is 17 + 2·4 + 21, of B 40 + 3·4 + 7, of C 5 + 3.
                    unsafe { super::product(&product) };
                    assert!(c == expected, "{product:?}");
                }
            }
        }
        // SAFETY: AMX is available.
        unsafe { release() };
    }
}
