"""Writes gguf_blocks.safetensors beside this script: blocks of every type that GGUF tensors may have, with the numbers
that the gguf package makes of them, and numbers with the blocks that it makes of those.

    python make_gguf.py
    python make_gguf.py --check FILE.gguf

Needs gguf, numpy and safetensors (made with gguf 0.19). With --check it writes nothing: the gguf package reads FILE and
the script prints its metadata and its tensors, with the smallest and largest number of each.
"""

import argparse
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, dequantize, quantize
from gguf.constants import GGML_QUANT_SIZES
from safetensors.numpy import save_file

HERE = Path(__file__).parent
SEED = 501062
# Where a block of each type holds 16-bit floats.
SCALES = {
    Type.Q4_0: [0],
    Type.Q4_1: [0, 2],
    Type.Q5_0: [0],
    Type.Q5_1: [0, 2],
    Type.Q8_0: [0],
    Type.Q2_K: [80, 82],
    Type.Q3_K: [108],
    Type.Q4_K: [0, 2],
    Type.Q5_K: [0, 2],
    Type.Q6_K: [208],
}
# The smallest and largest denormals, both zeros, the largest numbers, an infinity and a NaN.
ODD_HALVES = [0x0001, 0x83FF, 0x0000, 0x8000, 0x7BFF, 0xFBFF, 0x7C00, 0x7E00]
ODD_BF16 = [0x0001, 0x807F, 0x0000, 0x8000, 0x7F7F, 0xFF7F, 0x7F80, 0x7FC0]
ODD_SINGLES = [0.0, -0.0, 1e-45, -1.1754942e-38, 3.4028235e38, np.inf, np.nan, 65504.0, 1 / 3]
FILLS = [0x00, 0xFF, 0x0F, 0xF0, 0x55, 0xAA, 0x80, 0x7F]


def blocks_of(qtype, rng):
    """Blocks of random bytes with common scales; of one byte throughout; with odd scales; of nothing but random bytes."""
    size = GGML_QUANT_SIZES[qtype][1]

    def with_scales(block, halves):
        for at, half in zip(SCALES[qtype], halves):
            block[at : at + 2] = np.frombuffer(np.uint16(half).tobytes(), np.uint8)
        return block

    def random():
        return rng.integers(0, 256, size, dtype=np.uint8)

    def common():
        return rng.normal(0, 0.02, 2).astype(np.float16).view(np.uint16)

    blocks = [with_scales(random(), common()) for _ in range(3)]
    blocks += [with_scales(np.full(size, fill, np.uint8), common()) for fill in FILLS]
    blocks += [with_scales(random(), [odd, common()[0]]) for odd in ODD_HALVES]
    blocks += [with_scales(random(), [common()[0], odd]) for odd in ODD_HALVES[: 4 * (len(SCALES[qtype]) - 1)]]
    blocks += [random() for _ in range(2)]
    return np.concatenate(blocks)


def plain_bytes(qtype, rng):
    normal = rng.normal(0, 0.02, 64).astype(np.float32)
    if qtype == Type.F32:
        return np.concatenate([normal, np.array(ODD_SINGLES, np.float32)]).view(np.uint8)
    if qtype == Type.F16:
        return np.concatenate([normal.astype(np.float16).view(np.uint16), np.array(ODD_HALVES, np.uint16)]).view(np.uint8)
    return np.concatenate([(normal.view(np.uint32) >> 16).astype(np.uint16), np.array(ODD_BF16, np.uint16)]).view(np.uint8)


def values_to_write(qtype, rng):
    """Numbers to quantize: random ones, both zeros, halves between two steps, one large number among small ones."""
    if qtype != Type.Q8_0:
        odd = np.array([x for x in ODD_SINGLES if not np.isnan(x)] + [2.0**-25, 2.0**-24 * 1.5, 65519.9, 1.0009766], np.float32)
        return np.concatenate([rng.normal(0, 0.02, 64).astype(np.float32), odd])
    steps = np.append(np.arange(31) + 0.5, 127.0)
    rows = [
        rng.normal(0, 0.02, 32),
        rng.normal(0, 1e-6, 32),
        rng.normal(0, 1e4, 32),
        rng.normal(0, 1e-9, 32),
        np.zeros(32),
        np.full(32, -0.0),
        steps,
        -steps,
        np.nextafter(steps.astype(np.float32), np.float32(0)),
        np.append(rng.normal(0, 1e-3, 31), -3.0),
        np.full(32, 1e-38),
    ]
    return np.concatenate([np.asarray(row, np.float32) for row in rows])


def make():
    rng = np.random.default_rng(SEED)
    tensors = {}
    for qtype in [Type.F32, Type.F16, Type.BF16, *SCALES]:
        stored = blocks_of(qtype, rng) if qtype in SCALES else plain_bytes(qtype, rng)
        with np.errstate(all="ignore"):
            values = dequantize(stored, qtype)
        tensors[f"read.{qtype.name}.bytes"] = stored
        tensors[f"read.{qtype.name}.values"] = np.array(values, np.float32)
    for qtype in [Type.F32, Type.F16, Type.BF16, Type.Q8_0]:
        values = values_to_write(qtype, rng)
        with np.errstate(all="ignore"):
            stored = quantize(values, qtype)
        tensors[f"write.{qtype.name}.values"] = values
        tensors[f"write.{qtype.name}.bytes"] = np.array(stored).view(np.uint8)
    save_file(tensors, HERE / "gguf_blocks.safetensors")


def check(path):
    reader = GGUFReader(path)
    for name, field in reader.fields.items():
        text = repr(field.contents())
        print(f"{name} = {text if len(text) < 100 else text[:97] + '...'}")
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        print(f"{tensor.name} {tensor.tensor_type.name} {values.shape} {values.min():.7g} {values.max():.7g}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", metavar="FILE", help="print what the gguf package reads from a file")
    arguments = parser.parse_args()
    if arguments.check:
        check(arguments.check)
    else:
        make()
