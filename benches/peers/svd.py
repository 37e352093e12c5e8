"""One table of SVD times: t2-linalg beside numpy, torch with every driver it has, and cuSOLVER's Xgesvdp.

The parties take turns on the same matrices' shapes in one process tree, so that what disturbs one disturbs all; each
cell is the smallest of its times. Ratios are against the best torch driver of the same device.

    cargo build --release -p t2-linalg --example svd_times           # or with --features wgpu,cuda
    python3 benches/peers/svd.py --ours target/release/examples/svd_times --devices cpu 32x576x1536 16x1024x1024

Needs numpy and torch; Xgesvdp is called in the cuSOLVER that torch for CUDA brings.
"""

import argparse
import ctypes
import json
import subprocess
import time

import numpy as np
import torch


def ours(binary, device, solver, shape, runs):
    out = subprocess.run([binary, device, solver, shape, str(runs)], check=True, capture_output=True, text=True).stdout
    line = json.loads(out)
    return min(line["seconds"]), line["residual"]


def timed(call, runs, sync):
    call()  # compiles, allocates
    best = float("inf")
    for _ in range(runs):
        sync()
        start = time.perf_counter()
        out = call()
        sync()
        best = min(best, time.perf_counter() - start)
    return best, out


def residual(a, u, s, vh):
    a, u, s, vh = (x[0].double().cpu() for x in (a, u, s, vh))
    return ((a - (u * s) @ vh).norm() / a.norm()).item()


def torch_svd(shape, device, driver, runs):
    a = torch.randn(shape, generator=torch.Generator().manual_seed(2501)).to(device)
    sync = torch.cuda.synchronize if device == "cuda" else lambda: None
    best, (u, s, vh) = timed(lambda: torch.linalg.svd(a, full_matrices=False, driver=driver), runs, sync)
    return best, residual(a, u, s, vh)


def numpy_svd(shape, runs):
    a = np.random.default_rng(2501).standard_normal(shape, dtype=np.float32)
    best, (u, s, vh) = timed(lambda: np.linalg.svd(a, full_matrices=False), runs, lambda: None)
    return best, residual(*(torch.from_numpy(x) for x in (a, u, s, vh)))


class Cusolver:
    """cuSOLVER's polar decomposition, which no framework calls: `cusolverDnXgesvdp`, in f32, a matrix at a time."""

    VECTORS, ECONOMY, R_32F = 1, 1, 0

    def __init__(self):
        torch.zeros(1, device="cuda")  # loads the libraries that torch brings, and makes the context
        names = ("libcusolver.so.12", "libcusolver.so.11", "libcusolver.so")
        self.library = next(filter(None, map(load, names)), None)
        if self.library is None:
            raise OSError("no cuSOLVER")
        self.handle, self.params = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cusolverDnCreate", ctypes.byref(self.handle))
        self.call("cusolverDnCreateParams", ctypes.byref(self.params))

    def call(self, name, *arguments):
        status = getattr(self.library, name)(*arguments)
        if status != 0:
            raise RuntimeError(f"{name} returned {status}")

    def gesvdp(self, a):
        """`u, s, v` of one matrix `[m, n]`; torch is row-major, so cuSOLVER is shown the transpose, `[n, m]`."""
        work = a.clone()
        (m, n), k = a.shape[::-1], min(a.shape)
        s = torch.empty(k, device="cuda")
        left, right = torch.empty(k, m, device="cuda"), torch.empty(k, n, device="cuda")
        info = torch.zeros(1, dtype=torch.int32, device="cuda")
        pointer = lambda x: ctypes.c_void_p(x.data_ptr())
        size = ctypes.c_int64
        matrices = (
            self.handle, self.params, self.VECTORS, self.ECONOMY, size(m), size(n),
            self.R_32F, pointer(work), size(m), self.R_32F, pointer(s),
            self.R_32F, pointer(left), size(m), self.R_32F, pointer(right), size(n), self.R_32F,
        )
        on_device, on_host, error = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_double()
        self.call("cusolverDnXgesvdp_bufferSize", *matrices, ctypes.byref(on_device), ctypes.byref(on_host))
        device_work = torch.empty(max(on_device.value, 1), dtype=torch.uint8, device="cuda")
        host_work = ctypes.create_string_buffer(max(on_host.value, 1))
        self.call(
            "cusolverDnXgesvdp", *matrices, pointer(device_work), on_device, host_work, on_host,
            pointer(info), ctypes.byref(error),
        )
        # Column-major [n, k] of the transpose is row-major [k, n] of the vectors on our right.
        return right.T, s, left


def load(name):
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def xgesvdp(shape, runs):
    """`Cusolver.gesvdp` on a batch; None without cuSOLVER."""
    try:
        solver = Cusolver()
    except OSError:
        return None
    a = torch.randn(shape, generator=torch.Generator().manual_seed(2501)).to("cuda")
    best, parts = timed(lambda: [solver.gesvdp(x) for x in a], runs, torch.cuda.synchronize)
    return best, residual(a, *(x[None] for x in parts[0]))


def parties(args, device, shape):
    """Name, whether it is torch, and a call for everyone who can decompose on `device`."""
    dims = tuple(map(int, shape.split("x")))
    yield "t2 auto", False, lambda: ours(args.ours, device, "auto", shape, args.runs)
    if device in ("wgpu", "cuda"):
        yield "t2 kernels", False, lambda: ours(args.ours, device, "kernels", shape, args.runs)
    if device == "cpu":
        yield "numpy", False, lambda: numpy_svd(dims, args.runs)
        yield "torch", True, lambda: torch_svd(dims, "cpu", None, args.runs)
    if device == "cuda" and torch.cuda.is_available():
        for driver in ("gesvd", "gesvdj", "gesvda"):
            yield f"torch {driver}", True, lambda driver=driver: torch_svd(dims, "cuda", driver, args.runs)
        yield "cuSOLVER Xgesvdp", False, lambda: xgesvdp(dims, args.runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required=True, help="the compiled example svd_times")
    parser.add_argument("--devices", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; all if 0")
    parser.add_argument("--rounds", type=int, default=3, help="turns each party takes")
    parser.add_argument("--runs", type=int, default=3, help="timed runs in a turn")
    parser.add_argument("shapes", nargs="+")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; numpy {np.__version__}\n")
    print("| device | shape | who | seconds | residual | torch / it |\n| --- | --- | --- | --- | --- | --- |")
    for device in args.devices.split(","):
        for shape in args.shapes:
            best = {}
            for _ in range(args.rounds):
                for name, is_torch, call in parties(args, device, shape):
                    found = call()
                    if found and found[0] < best.get(name, (float("inf"),))[0]:
                        best[name] = (*found, is_torch)
            rival = min((seconds for seconds, _, is_torch in best.values() if is_torch), default=None)
            for name, (seconds, error, _) in best.items():
                ratio = f"{rival / seconds:.2f}" if rival else "-"
                print(f"| {device} | {shape} | {name} | {seconds:.4f} | {error:.1e} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
