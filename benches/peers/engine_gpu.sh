#!/usr/bin/env bash
# Decoding and learning on the GPU of this machine, from binaries built elsewhere:
#
#     cargo test --release --package t2-linalg --package t2-model --features t2-linalg/cuda,t2-model/cuda --no-run
#     cargo build --release --package t2-benches --features cuda --example decoding --example products
#     cargo build --release --package t2-cli --features cuda
#     mkdir gpu && cp target/release/t2 target/release/examples/{decoding,products} gpu/
#     cp <the binary printed for tests/ops/main.rs> gpu/ops
#     cp <that for tests/launches.rs> gpu/launches && cp <that for tests/suite/main.rs> gpu/suite
#     benches/peers/engine_gpu.sh gpu cuda             # or wgpu, or cpu, which has no kernels to test
#
# Needs python3 with torch, transformers and safetensors, and NVRTC for CUDA. Sections come in order of what they are worth,
# each with a limit of its own; `SECTIONS="starts decode" LAYERS=2 BATCHES=1,8` runs some of them on a smaller model.
set -uo pipefail
binaries=$(realpath "${1:?usage: engine_gpu.sh BINARIES DEVICE}")
device=${2:?usage: engine_gpu.sh BINARIES DEVICE}
sections=${SECTIONS:-kernels starts decode train hunt levels}
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

# The kernels beside main memory, launches of a token, and an engine in which requests come and go.
kernels() {
    [ "$device" = cpu ] && return
    limited 300 "$binaries/ops" gpu:: --test-threads=1
    limited 300 "$binaries/launches" --nocapture --test-threads=1
    limited 600 "$binaries/suite" on_a_gpu --test-threads=1
}

# From nothing to the first token and to 64, with kernels still to compile, and once they are kept.
starts() {
    local tokens
    for tokens in 1 64; do
        for start in first second; do
            printf -- '-- %s start, %d tokens\n' "$start" "$tokens"
            T2_CACHE="$work/cache-$tokens" limited 300 "$binaries/t2" generate "$work/model" --prompt-ids 5,6,7,8 \
                --max-new-tokens "$tokens" --device "$device" --json --quiet > "$work/said"
            tail --lines 1 "$work/said"
        done
    done
}

decode() {
    local dtype
    for dtype in f32 bf16; do
        limited 900 python3 "$here/decode.py" "$binaries/decoding" "$work/model" "$device" "$dtype" \
            --batches "${BATCHES:-1,32,128}"
    done
}

# Three steps of learning, of the bundled model: how fast each sampled is in its metrics.
train() {
    T2_CACHE="$work/cache" limited 900 "$binaries/t2" train tiny --task tiny-math --steps 3 --device "$device" \
        --out "$work/run" --quiet --json > "$work/said"
    tail --lines 1 "$work/said"
    cat "$work/run/metrics.jsonl"
}

# Which product fails in bf16: one process each, told of every failure where it happens, with few kernels to choose among
# and with all.
hunt() {
    local shape level
    for level in minimal balanced full; do
        for shape in 128x576x1536 128x576x49152 32x576x1536 1x576x49152; do
            printf -- '-- bf16 %s, autotune %s\n' "$shape" "$level"
            CUBECL_AUTOTUNE_LEVEL=$level CUDA_LAUNCH_BLOCKING=1 RUST_BACKTRACE=0 limited 120 \
                "$binaries/products" "$device" bf16 "$shape"
        done
    done
    command -v compute-sanitizer > /dev/null || { echo 'no compute-sanitizer'; return; }
    for shape in 128x576x1536 128x576x49152; do
        printf -- '-- compute-sanitizer, bf16 %s\n' "$shape"
        CUDA_LAUNCH_BLOCKING=1 limited 600 compute-sanitizer --tool memcheck --print-limit 5 \
            "$binaries/products" "$device" bf16 "$shape" 2>&1 | tail --lines 60
    done
}

# What the first start takes with shorter and longer lists of kernels to choose among.
levels() {
    local level
    for level in minimal balanced extensive; do
        printf -- '-- first start, autotune %s\n' "$level"
        CUBECL_AUTOTUNE_LEVEL=$level T2_CACHE="$work/cache-$level" limited 300 "$binaries/t2" generate "$work/model" \
            --prompt-ids "$(seq --separator , 5 36)" --max-new-tokens 8 --device "$device" --json --quiet > "$work/said"
        tail --lines 1 "$work/said"
    done
}

python3 "$here/random_checkpoint.py" "$work/model" "${MODEL:-smollm2-135m}" "${LAYERS:-30}" "${VOCAB:-49152}" || exit 1
for section in $sections; do
    printf '\n== %s\n' "$section"
    "$section"
done
exit "$failed"
