#!/usr/bin/env bash
# Fuzzes the readers of outside data with libFuzzer and AddressSanitizer:
#
#   scripts/fuzz.sh [SECONDS [TARGET...]]      600 seconds, all targets
#
# Prints one line for each target, with the processor time it got, and ends with 1 when anything was found. Corpora start from the seeds in
# crates/vgg-fuzz/seeds and are kept, with whatever was found, in $FUZZ_DIR (a new temporary folder by
# default). Needs a C++ compiler; a nightly toolchain is used where there is one.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-600}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for file in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

toolchain=()
if command -v rustup > /dev/null && rustup toolchain list | grep -q '^nightly'; then
    toolchain=(+nightly)
else
    export RUSTC_BOOTSTRAP=1
fi
host=$(rustc "${toolchain[@]}" -vV | sed -n 's/^host: //p')
# What cargo-fuzz would pass: coverage for libFuzzer, and AddressSanitizer. A --target keeps them away from
# build scripts and macros.
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Zsanitizer=address --cfg fuzzing"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/fuzz/target}
RUSTFLAGS=$flags cargo "${toolchain[@]}" build --release --locked --quiet --bins \
    --manifest-path fuzz/Cargo.toml --target "$host"

scratch=${FUZZ_DIR:-$(mktemp -d)}
# The files of each input go to memory where the system has a folder there.
files=$scratch
[ -w /dev/shm ] && files=$(mktemp -d -p /dev/shm)
trap '[ "$files" = "$scratch" ] || rm -rf "$files"' EXIT
mkdir -p "$scratch"
echo "corpora and logs in $scratch"
printf '%-12s %12s %9s %8s %8s  %s\n' target executions 'processor' corpus 'peak MB' result

TIMEFORMAT='%U %S'
failed=0
for target in "${targets[@]}"; do
    case $target in
        png | jpeg) longest=65536 ;;
        *) longest=16384 ;;
    esac
    corpus=$scratch/$target/corpus
    mkdir -p "$corpus" "$scratch/$target/found"
    cp crates/vgg-fuzz/seeds/"$target"/* "$corpus"/
    log=$scratch/$target/log
    # The targets themselves hold each input to the promised memory, and to ten seconds of processor time since
    # they are slow when watched. These limits catch what never comes back, and a single allocation out of all
    # proportion. AddressSanitizer's own memory is part of what libFuzzer counts. Leaks are not looked for after
    # every input: a thread that is just ending still holds what libc keeps for its end.
    result=ok
    { time TMPDIR=$files "$CARGO_TARGET_DIR/$host/release/$target" "$corpus" -max_total_time="$seconds" \
        -timeout=60 -detect_leaks=0 -malloc_limit_mb=128 -rss_limit_mb=1024 -max_len="$longest" \
        -print_final_stats=1 -artifact_prefix="$scratch/$target/found/" > "$log" 2>&1 || result=FOUND
    } 2> "$scratch/$target/time"
    if [ $result = FOUND ] || [ -n "$(ls -A "$scratch/$target/found")" ]; then
        result="FOUND: see $log"
        failed=1
    fi
    printf '%-12s %12s %9s %8s %8s  %s\n' "$target" \
        "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" "$(awk '{print $1 + $2}' "$scratch/$target/time") s" \
        "$(find "$corpus" -type f | wc -l)" "$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")" "$result"
    # What the project promises: a second at most, in a build that nobody watches.
    TMPDIR=$files cargo run --release --locked --quiet -p vgg-fuzz --example corpus -- "$target" "$corpus" || failed=1
done
exit $failed
