"""Compiles the CUDA source of one kernel, BASE.cu, for this CPU: `to_cpu.py BASE` makes BASE.so."""

import re
import subprocess
import sys
from pathlib import Path


def to_cpp(source: str) -> str:
    """The kernel as C++ over unit.hpp."""
    kernel = re.search(r"__global__ void (?:__launch_bounds__\([^)]*\))?\s*(\w+)\(", source)
    if kernel is None:
        raise SystemExit("no kernel in it")
    # The headers of CUDA are replaced by unit.hpp, which has these types from the standard library.
    source = re.sub(r"#include <[^>]*>\n", "", source)
    source = re.sub(r"typedef [a-z ]+ u?int\d+_t;\n", "", source)
    shared = r"extern __shared__ __align__\(\d+\) char (\w+)\[\];"
    source = re.sub(shared, r"\n#define \1 imitation::shared\n", source)
    add = r'asm volatile\("atom\.\w+\.add\.\w+ %0, \[%1\], %2;" : "=\w"\((\w+)\) : "l"\((\w+)\), "\w"\((\w+)\) ?\);'
    source = re.sub(add, r"\1 = imitation::atomic_add(\2, \3);", source)
    return f'#include "unit.hpp"\n{source}\nIMITATION_KERNEL({kernel[1]})\n'


def main() -> None:
    base = Path(sys.argv[1])
    cpp = base.with_suffix(".cpp")
    cpp.write_text(to_cpp(base.with_suffix(".cu").read_text()))
    # Products and sums are fused only where the kernel says so, as everywhere else.
    flags = ["-std=c++20", "-O2", "-march=native", "-ffp-contract=off", "-fno-strict-aliasing", "-w", "-shared", "-fPIC"]
    command = ["g++", *flags, f"-I{base.parent}", str(cpp), "-o", f"{base}.part"]
    if subprocess.run(command).returncode != 0:
        raise SystemExit(f"{cpp} does not compile")
    Path(f"{base}.part").rename(base.with_suffix(".so"))


if __name__ == "__main__":
    main()
