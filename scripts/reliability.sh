#!/usr/bin/env bash
# The full counts behind docs/reliability.md. The tests of every day do a part of each.
#
#   scripts/reliability.sh                      everything: some four hours on two cores
#   scripts/reliability.sh kills power errors   a part: kills power errors damage resume bits soak hostile sanitize deny
set -euo pipefail
cd "$(dirname "$0")/.."

test_of() { # package, test, and what else cargo test takes
    cargo test --release --locked -p "$1" --test "$2" "${@:3}" -- --nocapture
}

kills() {  # 1: 1,000 random kills of the program, one kill at every file operation of a run
    VGG_KILLS=1000 test_of vgg kills
    VGG_KILL_POINTS=all test_of vgg-train kill_points
}
power() {  # 2: at every file operation, 64 states of the disk after a power cut
    VGG_POWER_CUTS=64 test_of vgg-train power_cuts
}
errors() {  # 3: every file operation fails with every error, once and for good
    VGG_IO_ERRORS=all test_of vgg-train io_errors
}
damage() {  # 4
    test_of vgg-formats damage
}
resume() {  # 5, and 7
    test_of vgg-train resume
    test_of vgg-train not_finite
}
bits() {  # 6
    test_of vgg-engine same_bits
    test_of vgg-engine golden_hashes
}
soak() {  # 11: half an hour of training
    VGG_SOAK_SECONDS=1800 test_of vgg soak
}
hostile() {  # 8: ten minutes for each target; needs cargo's libFuzzer crate and a C++ compiler
    scripts/fuzz.sh 600
}
sanitize() {  # 12: AddressSanitizer over kernels and engine
    scripts/sanitize.sh
}
deny() {  # 12: licences, sources, and known advisories
    cargo deny check
}

parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(kills power errors damage resume bits soak hostile sanitize deny)
for part in "${parts[@]}"; do
    echo "== $part"
    "$part"
done
