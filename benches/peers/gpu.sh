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
#     benches/peers/gpu.sh gpu cuda llama-3-8b         # and this model's matrices, 15 GB of random weights
#
# Needs python3 with numpy, torch and safetensors, and NVRTC for CUDA.
set -euo pipefail
binaries=$(realpath "${1:?usage: gpu.sh BINARIES DEVICES [MODEL]}")
devices=${2:?usage: gpu.sh BINARIES DEVICES [MODEL]}
model=${3:-smollm2-135m}
here=$(dirname "$(realpath "$0")")
work=$(mktemp --directory)
trap 'rm --recursive --force "$work"' EXIT
failed=0

nvidia-smi --query-gpu=name,driver_version --format=csv || true
date --utc +%F

for tests in library solvers refusals; do
    printf '\n== %s\n' "$tests"
    "$binaries/$tests" --test-threads=1 || failed=1
done

# What the project promises on an H100, one table; the last line is the shape of a layer's gate, up and down.
printf '\n== peers\n'
python3 "$here/svd.py" --ours "$binaries/svd_times" --devices "$devices" --rounds 2 --runs 2 \
    1x4096x4096 16x4096x4096 1000x256x256 10000x64x64 64x1024x1024 3x4096x14336 || failed=1

# CubeCL times each kernel and prints a table of their shares at the end; what launches take is missing in it.
printf '[profiling]\nlogger = { stdout = true, level = "basic" }\n' > "$work/cubecl.toml"
for device in ${devices//,/ }; do
    for shape in 1x4096x4096 1000x256x256; do
        printf '\n== shares of the kernels, %s, %s\n' "$device" "$shape"
        (cd "$work" && "$binaries/svd_times" "$device" kernels "$shape" 1 > "$work/profile") || failed=1
        awk '/^\| Name/ { table = "" } { table = table $0 "\n" } /^\| Total/ { last = table } END { printf "%s", last }' \
            "$work/profile"
    done
done

# Twice: the second time finds every matrix in its folder. Factors go to a disk that must take them in this time.
printf '\n== %s\n' "$model"
python3 "$here/random_checkpoint.py" "$work/model" "$model"
for device in ${devices//,/ }; do
    for memory in 8GiB 32GiB; do
        for _ in first again; do
            python3 "$here/watch.py" "$binaries/t2" decompose "$work/model" --device "$device" --dtype bf16 \
                --memory "$memory" --out "$work/factors" --quiet --json || failed=1
        done
        rm --recursive --force "$work/factors"
    done
done
exit "$failed"
