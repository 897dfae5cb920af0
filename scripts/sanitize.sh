#!/usr/bin/env bash
# Runs the tests of the crates with unsafe code, vgg-kernels and vgg-engine, under a sanitizer.
#
#   scripts/sanitize.sh            AddressSanitizer: reads and writes outside of what was allocated
#   scripts/sanitize.sh thread     ThreadSanitizer: data races; builds the standard library too
#
# It takes the nightly compiler where rustup has one, since sanitizers are not part of stable Rust; else
# the default compiler with RUSTC_BOOTSTRAP=1. ThreadSanitizer needs `rustup component add rust-src`.
# What follows the first argument goes to `cargo test`, such as `-p vgg-kernels --test guard_pages`.
#
# AddressSanitizer sees what the compiler emits, vector instructions included, but not inline assembly:
# AMX is left to the test guard_pages, which runs here and in every test run.
set -euo pipefail
cd "$(dirname "$0")/.."

sanitizer=${1:-address}
[ $# -gt 0 ] && shift
packages=("$@")
[ ${#packages[@]} -gt 0 ] || packages=(-p vgg-kernels -p vgg-engine --tests)

if rustup run nightly rustc --version >/dev/null 2>&1; then
    cargo=(cargo +nightly)
else
    cargo=(cargo)
    export RUSTC_BOOTSTRAP=1
fi
export RUSTFLAGS="-Zsanitizer=$sanitizer"
target=(--target x86_64-unknown-linux-gnu)
case $sanitizer in
address) export ASAN_OPTIONS="detect_stack_use_after_return=1:${ASAN_OPTIONS:-}" ;;
thread) target+=(-Zbuild-std) ;;
*)
    echo "unknown sanitizer $sanitizer; use address or thread" >&2
    exit 2
    ;;
esac

run() { "${cargo[@]}" test "${target[@]}" "$@"; }

echo "== $sanitizer: all tests; most go through every tier of the processor by themselves"
run "${packages[@]}"
# Only where nothing was picked: the engine's tests that run on the chosen tier alone, on the others too.
# The wide network is left out, since plain Rust takes hours for it under a sanitizer.
if [ $# -eq 0 ]; then
    for tier in portable avx2 avx512 avx512-bf16; do
        echo "== $sanitizer: the engine's tests on $tier"
        VGG_MAX_ISA=$tier run -p vgg-engine --test same_bits --test update -- \
            --skip every_batch --skip threads_gives --skip inside --skip single_picture
    done
fi
