#!/bin/sh
# Makes the four .zst files beside this script from the four public MNIST files.
#
#   data/make.sh FOLDER
#
# FOLDER holds train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and
# t10k-labels-idx1-ubyte.gz. Each is unpacked, checked against its SHA-256 and compressed again with the
# zstd command line (1.5 or later), which makes them a sixth smaller than the public gzip files. Nothing else is
# done to the bytes: `zstd -dc FILE.zst` gives back the public file.
set -eu

if [ $# -ne 1 ] || [ ! -d "$1" ]; then
    echo "usage: $0 FOLDER   (the folder with the four MNIST .gz files)" >&2
    exit 2
fi
source_folder=$1
data_folder=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

pack() {
    gzip -dc "$source_folder/$1.gz" > "$scratch/$1"
    echo "$2  $scratch/$1" | sha256sum --check --quiet -
    # A window of 2^27 bytes covers the longest file, so that one frame sees all its pictures.
    zstd --quiet --force --ultra -22 --long=27 "$scratch/$1" -o "$data_folder/$1.zst"
}

pack train-images-idx3-ubyte ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db
pack train-labels-idx1-ubyte 65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5
pack t10k-images-idx3-ubyte 0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7
pack t10k-labels-idx1-ubyte ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2

# A crate may weigh 10 MiB packed; 100 kB stay free for the code, the licence and the archive's own headers.
total=$(cat "$data_folder"/*.zst | wc -c)
limit=$((10 * 1024 * 1024 - 100000))
echo "$total bytes in all, the limit is $limit"
[ "$total" -lt "$limit" ]
