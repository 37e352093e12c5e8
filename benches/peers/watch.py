"""Runs a command and says, on stderr, how long it took and the most memory it had: its own, and the GPU's.

    python3 benches/peers/watch.py t2 decompose MODEL --out DIR

Its own is anonymous resident memory (Linux): pages of mapped files, which the system takes back at will, do not count.
The GPU's is that of all processes on it together.
"""

import subprocess
import sys
import time


def own(pid):
    try:
        lines = open(f"/proc/{pid}/status").read().splitlines()
    except FileNotFoundError:
        return 0
    return max((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:")), default=0)


def gpu():
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])
    except (OSError, subprocess.CalledProcessError):
        return None


def main():
    before, start = gpu(), time.monotonic()
    process = subprocess.Popen(sys.argv[1:])
    peak, on_gpu = 0, before
    while process.poll() is None:
        peak = max(peak, own(process.pid))
        if on_gpu is not None:
            on_gpu = max(on_gpu, gpu() or 0)
        time.sleep(0.01)
    said = f"{time.monotonic() - start:.1f} s, at most {peak:.0f} MiB of its own"
    if on_gpu is not None:
        said += f" and {on_gpu - before:.0f} MiB of the GPU"
    print(said, file=sys.stderr)
    sys.exit(process.returncode)


if __name__ == "__main__":
    main()
