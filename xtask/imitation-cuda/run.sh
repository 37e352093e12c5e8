#!/usr/bin/env bash
# Runs a command on a machine without a GPU as if it had an H100: CUDA kernels are compiled for this CPU and run there.
#
#     cargo test --package t2-linalg --features cuda --no-run                      # prints where the test binaries are
#     xtask/imitation-cuda/run.sh <the binary printed for tests/solvers.rs> --test-threads=1
#
# It shows that the kernels compute the right thing as CUDA code, launched as CUDA launches them; not how fast, nor what
# units do that truly run at once. Tensor cores are not imitated. What t2-linalg calls of cuBLAS and cuSOLVER is there
# too: IMITATION_CUSOLVER_OLD=1 leaves out what came with CUDA 12.6, IMITATION_CUSOLVER_ABSENT=1 both libraries, and
# IMITATION_CUSOLVER_FAILS=cusolverDnXsyevd makes that function fail. IMITATION_CUDA_COUNTS=1 counts launches and waits;
# IMITATION_CUDA_GENERATION=6 makes it an older GPU, for models, whose products are not tried on tensor cores then. Where
# a libnvrtc is installed (`pip install nvidia-cuda-nvrtc nvidia-cuda-runtime`, or CUDA itself) every kernel must compile
# there too. Needs g++ and Python 3.11.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
IMITATION_CUDA=$(mktemp --directory)
trap 'rm --recursive --force "$IMITATION_CUDA"' EXIT
export IMITATION_CUDA

cp "$here/unit.hpp" "$here/to_cpu.py" "$IMITATION_CUDA"
for pair in driver:libcuda compiler:libnvrtc; do
    g++ -std=c++20 -O2 -Wall -shared -fPIC "$here/${pair%:*}.cpp" -o "$IMITATION_CUDA/${pair#*:}.so" -ldl
done
# Under every name, so that no genuine one in a later folder is found; the loader stops at a file that is no library.
for pair in blas:libcublas solver:libcusolver; do
    library="$IMITATION_CUDA/${pair#*:}.so"
    if [ -n "${IMITATION_CUSOLVER_ABSENT:-}" ]; then
        printf 'absent\n' > "$library"
    else
        g++ -std=c++20 -O3 -march=native -fopenmp-simd -Wall -shared -fPIC ${IMITATION_CUSOLVER_OLD:+-DOLD} \
            "$here/${pair%:*}.cpp" -o "$library"
    fi
    for version in 1 9 10 11 12 13; do ln --symbolic "$library" "$library.$version"; done
done

# The newest libnvrtc of the linker or of this Python, and CUDA's headers beside it.
packages=$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
IMITATION_NVRTC=$({ ldconfig -p | sed -n 's/.*=> \(.*libnvrtc\.so\.[0-9]*\)$/\1/p'
    find "$packages/nvidia" -name 'libnvrtc.so.*' 2>/dev/null || true; } | sort --version-sort | tail --lines=1)
export IMITATION_NVRTC
if [ -n "$IMITATION_NVRTC" ]; then
    libraries=$(dirname "$IMITATION_NVRTC")
    export CUDA_PATH=${CUDA_PATH:-$(dirname "$libraries")} LD_LIBRARY_PATH=$libraries:${LD_LIBRARY_PATH:-}
    printf 'imitation of CUDA: kernels are compiled by %s too\n' "$IMITATION_NVRTC" >&2
else
    export CUDA_PATH=${CUDA_PATH:-$IMITATION_CUDA}
    printf 'imitation of CUDA: no libnvrtc found, so kernels are not compiled by NVRTC\n' >&2
fi
export LD_LIBRARY_PATH=$IMITATION_CUDA:${LD_LIBRARY_PATH:-}
"$@"
