#!/usr/bin/env bash
# Every test of t2-linalg on the GPU of this machine, the table beside the peers, what each kernel takes, and a whole
# model; from binaries built elsewhere:
#
#     cargo test --release --package t2-linalg --features wgpu,cuda --no-run     # prints where the test binaries are
#     cargo build --release --package t2-linalg --features wgpu,cuda --example svd_times
#     cargo build --release --package t2-cli --features wgpu,cuda
#     mkdir gpu && cp target/release/examples/svd_times target/release/t2 gpu/
#     cp <the binary printed for src/lib.rs> gpu/library
#     cp <the binary printed for tests/solvers.rs> gpu/solvers && cp <that for tests/refusals.rs> gpu/refusals
#     benches/peers/gpu.sh gpu cuda                    # or cuda,wgpu where the machine has Vulkan too
#
# Needs python3 with numpy, torch and safetensors, NVRTC for CUDA, and the folders of libcusolver and libcublas on
# LD_LIBRARY_PATH if the system does not know them. Sections come in order of what they are worth,
# each command with a limit of its own; `SECTIONS="peers model" LAYERS=4` runs some of them, on four layers of the model.
set -uo pipefail
binaries=$(realpath "${1:?usage: gpu.sh BINARIES DEVICES}")
devices=${2:?usage: gpu.sh BINARIES DEVICES}
sections=${SECTIONS:-library peers shares model}
here=$(dirname "$(realpath "$0")")
work=$(mktemp --directory)
trap 'rm --recursive --force "$work"' EXIT
failed=0

nvidia-smi --query-gpu=name,driver_version --format=csv 2>/dev/null
date --utc +%F

# Runs a command for so many seconds at most, says how long it took, and how it ended if it did not end well.
limited() {
    local seconds=$1 start=$EPOCHREALTIME code=0
    shift
    timeout "$seconds" "$@" || code=$?
    awk -v start="$start" -v end="$EPOCHREALTIME" 'BEGIN { printf "%.1f s\n", end - start }'
    [ "$code" = 0 ] || { printf 'ended with %d: %s\n' "$code" "$*"; failed=1; }
}

# The tests, those of CUDA's cuSOLVER among them.
library() {
    local tests
    for tests in library solvers refusals; do
        limited 300 "$binaries/$tests" --test-threads=1
    done
}

# One table. Who is slow is timed by less, and the table says so: it takes some minutes in all.
peers() {
    limited 540 python3 "$here/svd.py" --ours "$binaries/svd_times" --devices "$devices" --rounds 1 --runs 3 \
        ${SHAPES:-1x4096x4096 2x4096x14336 16x4096x4096 64x1024x1024 1000x256x256 10000x64x64 1x1024x1024 1x2048x2048 \
        1x8192x8192}
}

# CubeCL times each kernel and prints a table of their shares at the end; what launches take is missing in it.
shares() {
    local device shape
    printf '[profiling]\nlogger = { stdout = true, level = "basic" }\n' > "$work/cubecl.toml"
    for device in ${devices//,/ }; do
        for shape in 1x4096x4096 1000x256x256; do
            printf -- '-- %s, %s\n' "$device" "$shape"
            (cd "$work" && timeout 120 "$binaries/svd_times" "$device" kernels "$shape" 1 > "$work/profile") || failed=1
            awk '/^\| Name/ { table = "" } { table = table $0 "\n" } /^\| Total/ { last = table } END { printf "%s", last }' \
                "$work/profile"
        done
    done
}

# From weights to factors on the disk, of random weights in the shape of a model. Twice: the second time finds every
# matrix in its folder.
model() {
    local device memory
    limited 300 python3 "$here/random_checkpoint.py" "$work/model" "${MODEL:-llama-3-8b}" ${LAYERS:+"$LAYERS"}
    for device in ${devices//,/ }; do
        for memory in ${MEMORY:-8GiB 32GiB}; do
            for _ in first again; do
                printf -- '-- %s, %s\n' "$device" "$memory"
                limited 600 python3 "$here/watch.py" "$binaries/t2" decompose "$work/model" --device "$device" \
                    --dtype bf16 --memory "$memory" --out "$work/factors" --quiet --json
            done
            rm --recursive --force "$work/factors"
        done
    done
}

for section in $sections; do
    printf '\n== %s\n' "$section"
    "$section"
done
exit "$failed"
