#!/usr/bin/env bash
# Every test of t2-linalg on the GPU of this machine, then the table beside the peers, from binaries built elsewhere:
#
#     cargo test --release --package t2-linalg --features wgpu,cuda --no-run     # prints where the test binaries are
#     cargo build --release --package t2-linalg --features wgpu,cuda --example svd_times
#     mkdir gpu && cp target/release/examples/svd_times gpu/
#     cp <the binary printed for tests/solvers.rs> gpu/solvers && cp <that for tests/refusals.rs> gpu/refusals
#     benches/peers/gpu.sh gpu cuda        # or cuda,wgpu where the machine has Vulkan too
#
# Needs python3 with numpy and torch for the peers, and NVRTC for CUDA.
set -euo pipefail
binaries=$(realpath "${1:?usage: gpu.sh BINARIES DEVICES}")
devices=${2:?usage: gpu.sh BINARIES DEVICES}
here=$(dirname "$0")

nvidia-smi --query-gpu=name,driver_version --format=csv || true
date --utc +%F

failed=0
for tests in solvers refusals; do
    printf '\n== %s\n' "$tests"
    "$binaries/$tests" --test-threads=1 || failed=1
done

# What the project promises on an H100, one table; the last line is the shape of a layer's gate, up and down.
printf '\n== peers\n'
python3 "$here/svd.py" --ours "$binaries/svd_times" --devices "$devices" --rounds 2 --runs 2 \
    1x4096x4096 16x4096x4096 1000x256x256 10000x64x64 64x1024x1024 3x4096x14336
exit "$failed"
