"""One table of SVD times: t2-linalg beside numpy, scipy, faer, torch with every driver, and cuSOLVER's Xgesvdp.

The parties take turns on matrices of the same shape, so that what disturbs one disturbs all; each cell is the smallest
of its times. Residual and skew (how far the vectors are from orthonormal, `|U^T U - I| / sqrt(k)`, the larger of both
sides) are those of the first matrix. Ratios are against the best driver of torch on the same device.

    cargo build --release -p t2-linalg --example svd_times           # or with --features wgpu,cuda
    python3 benches/peers/svd.py --ours target/release/examples/svd_times --devices cpu 32x576x1536 16x1024x1024

A party that would take longer than `--slow` seconds decomposes a part of the batch, or all of it once, in each of its
turns: the last column says which. One that fails gets a row that says so; one whose factors are not those of the matrix
is not compared.

Needs numpy, torch and, on the CPU, scipy; Xgesvdp is called in the cuSOLVER that torch for CUDA brings.
"""

import argparse
import ctypes
import json
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch

WRONG = 1e-3  # a residual above this is no rounding in f32, whatever the algorithm
FAILURES = RuntimeError, OSError, ImportError, AttributeError, ValueError, subprocess.CalledProcessError


@dataclass
class Found:
    seconds: float
    residual: float
    skew: float
    timed_by: str = ""  # where it is not the smallest of several times of the whole batch


def gaussian(shape, device):
    return torch.randn(shape, generator=torch.Generator().manual_seed(2501)).to(device)


def found(a, svd, args):
    """Times `svd`, which takes a batch like `a` and returns u, s and vh, and measures what it returned."""
    synced = torch.cuda.synchronize if a.is_cuda else lambda: None

    def run(batch):
        synced()
        start = time.perf_counter()
        factors = svd(batch)
        synced()
        return time.perf_counter() - start, factors

    run(a[:1, :16, :16].contiguous())  # loads the libraries
    part = a[: max(1, len(a) // 16)]
    first = run(part)
    if first[0] * len(a) > args.slow * len(part) and len(part) < len(a):
        first = min(first, run(part), key=lambda timed: timed[0])
    estimate, factors = first[0] * len(a) / len(part), first[1]
    if estimate > args.slow:
        timed_by = "its first run" if len(part) == len(a) else f"{len(part)} of {len(a)} matrices"
        return Found(estimate, *quality(a, *factors), timed_by)
    run(a)
    seconds, factors = min((run(a) for _ in range(args.runs)), key=lambda timed: timed[0])
    return Found(seconds, *quality(a, *factors))


def quality(a, u, s, vh):
    """Residual and skew of the first matrix, in f64."""
    a, u, s, vh = (torch.as_tensor(x[0], device=a.device).double() for x in (a, u, s, vh))
    skew = max((q.T @ q - torch.eye(len(s), dtype=q.dtype, device=q.device)).norm().item() for q in (u, vh.T))
    return ((a - (u * s) @ vh).norm() / a.norm()).item(), skew / len(s) ** 0.5


def ours(device, solver, shape, args):
    """The example times the whole batch itself, after a run that compiles."""

    def run(runs):
        command = [args.ours, device, solver, shape, str(runs)]
        line = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        return Found(min(line["seconds"]), line["residual"], line["skew"])

    first = run(1)
    if first.seconds > args.slow or args.runs == 1:
        first.timed_by = "one run" if first.seconds > args.slow else ""
        return first
    return min(first, run(args.runs - 1), key=lambda one: one.seconds)


def torch_svd(shape, device, driver, args):
    svd = lambda batch: torch.linalg.svd(batch, full_matrices=False, driver=driver)
    return found(gaussian(shape, device), svd, args)


def numpy_svd(shape, args):
    return found(gaussian(shape, "cpu"), lambda batch: np.linalg.svd(batch.numpy(), full_matrices=False), args)


def scipy_svd(shape, driver, args):
    import scipy.linalg

    def svd(batch):
        how = {"full_matrices": False, "lapack_driver": driver, "check_finite": False}
        return [*zip(*(scipy.linalg.svd(x, **how) for x in batch.numpy()))]

    return found(gaussian(shape, "cpu"), svd, args)


class Cusolver:
    """cuSOLVER's polar decomposition, which no framework calls: `cusolverDnXgesvdp`, in f32, a matrix at a time."""

    VECTORS, ECONOMY, R_32F = ctypes.c_int(1), ctypes.c_int(1), ctypes.c_int(0)

    def __init__(self):
        torch.linalg.svd(torch.eye(2, device="cuda"))  # loads the cuSOLVER that torch brings, and makes the context
        names = ("libcusolver.so.12", "libcusolver.so.11", "libcusolver.so")
        self.library = next(filter(None, map(load, names)), None)
        if self.library is None:
            raise OSError("no cuSOLVER")
        self.handle, self.params = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cusolverDnCreate", ctypes.byref(self.handle))
        self.call("cusolverDnCreateParams", ctypes.byref(self.params))
        self.call("cusolverDnSetStream", self.handle, ctypes.c_void_p(torch.cuda.current_stream().cuda_stream))
        self.kept, self.work, self.said = None, None, None

    def version(self):
        version = ctypes.c_int()
        self.call("cusolverGetVersion", ctypes.byref(version))
        return version.value

    def call(self, name, *arguments):
        status = getattr(self.library, name)(*arguments)
        if status != 0:
            raise RuntimeError(f"{name} returned {status}")

    def svd(self, a):
        """`u, s, vh` of a batch `[batch, m, n]`; torch is row-major, so cuSOLVER is shown the transposes, `[n, m]`.

        What is returned for those is `left`, `[n, k]`, and `right`, `[m, k]`, not its transpose, both column-major: as
        rows they are `[k, n]`, the vectors on our right, and `[k, m]`.
        """
        batch, n, m = a.shape
        k = min(m, n)
        new = lambda *shape, **kind: torch.empty(*shape, device=a.device, **kind)
        self.work, s, left, right = a.clone(), new(batch, k), new(batch, k, m), new(batch, k, n)
        info, errors = torch.full((batch,), -1, dtype=torch.int32, device=a.device), []
        for at in range(batch):
            problem = self.problem(m, n, self.work[at], s[at], left[at], right[at])
            buffers = self.buffers((m, n), problem)
            error = ctypes.c_double()
            self.call("cusolverDnXgesvdp", *problem, *buffers, pointer(info[at]), ctypes.byref(error))
            errors.append(error.value)
        self.said = info, errors
        return right.mT, s, left

    def problem(self, m, n, work, s, left, right):
        size, kind = ctypes.c_int64, self.R_32F
        return (
            self.handle, self.params, self.VECTORS, self.ECONOMY, size(m), size(n),
            kind, pointer(work), size(m), kind, pointer(s),
            kind, pointer(left), size(m), kind, pointer(right), size(n), kind,
        )  # fmt: skip

    def buffers(self, shape, problem):
        """The workspaces of a shape, made once, and kept until the GPU has come to the end."""
        if self.kept is None or self.kept[0] != shape:
            on_device, on_host = ctypes.c_size_t(), ctypes.c_size_t()
            self.call("cusolverDnXgesvdp_bufferSize", *problem, ctypes.byref(on_device), ctypes.byref(on_host))
            device_work = torch.empty(max(on_device.value, 1), dtype=torch.uint8, device="cuda")
            host_work = ctypes.create_string_buffer(max(on_host.value, 1))
            self.kept = shape, device_work, (pointer(device_work), on_device, host_work, on_host)
        return self.kept[2]

    def complain(self, shape):
        """Says what cuSOLVER reported of the last batch: no convergence, or values shifted to make them converge."""
        info, errors = self.said[0].tolist(), self.said[1]
        if any(info) or any(errors):
            what = f"info up to {max(info, key=abs)}, h_err_sigma up to {max(errors, key=abs):.1e}"
            print(f"Xgesvdp (cuSOLVER {self.version()}) on {shape}: {what}", file=sys.stderr)


def pointer(tensor):
    return ctypes.c_void_p(tensor.data_ptr())


def load(name):
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def xgesvdp(shape, args):
    solver = Cusolver()
    result = found(gaussian(shape, "cuda"), solver.svd, args)
    solver.complain(shape)
    return result


def parties(device, shape, args):
    """Name, and a call for everyone who can decompose on `device`."""
    dims = tuple(map(int, shape.split("x")))
    solvers = {"cpu": ["auto"], "wgpu": ["auto", "kernels"], "cuda": ["auto", "kernels", "cusolver"]}[device]
    for solver in solvers:
        yield f"t2 {solver}", lambda solver=solver: ours(device, solver, shape, args)
    if device == "cpu":
        yield "faer", lambda: ours(device, "faer", shape, args)
        yield "numpy", lambda: numpy_svd(dims, args)
        for driver in ("gesdd", "gesvd"):
            yield f"scipy {driver}", lambda driver=driver: scipy_svd(dims, driver, args)
        yield "torch", lambda: torch_svd(dims, "cpu", None, args)
    if device == "cuda" and torch.cuda.is_available():
        for driver in ("gesvd", "gesvdj", "gesvda"):
            yield f"torch {driver}", lambda driver=driver: torch_svd(dims, "cuda", driver, args)
        yield "cuSOLVER Xgesvdp", lambda: xgesvdp(dims, args)


def refusal(error):
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) and error.stderr else str(error)
    first = next(filter(None, map(str.strip, said.splitlines())), type(error).__name__)
    return f"refused: {first[:120]}".replace("|", "/")


def best_of_rounds(device, shape, args):
    """What each party found at best, or why it found nothing: then it is not asked in the next round."""
    best = {}
    for _ in range(args.rounds):
        for name, call in parties(device, shape, args):
            before = best.get(name)
            if name in args.skip or isinstance(before, str):
                continue
            try:
                now = call()
            except FAILURES as error:
                best[name] = refusal(error)
                continue
            best[name] = min(before or now, now, key=lambda one: one.seconds)
    return best


def rows(device, shape, args):
    best = best_of_rounds(device, shape, args)
    right = {name: it for name, it in best.items() if isinstance(it, Found) and it.residual <= WRONG}
    rival = min((it.seconds for name, it in right.items() if name.startswith("torch")), default=None)
    for name, it in best.items():
        if isinstance(it, str):
            yield f"| {device} | {shape} | {name} | {it} | | | | |"
            continue
        ratio = "-" if rival is None else f"{rival / it.seconds:.2f}" if name in right else "wrong, not compared"
        numbers = f"{it.seconds:.4f} | {it.residual:.1e} | {it.skew:.1e}"
        yield f"| {device} | {shape} | {name} | {numbers} | {ratio} | {it.timed_by} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required=True, help="the compiled example svd_times")
    parser.add_argument("--devices", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; all if 0")
    parser.add_argument("--rounds", type=int, default=3, help="turns each party takes")
    parser.add_argument("--runs", type=int, default=3, help="timed runs in a turn")
    parser.add_argument("--slow", type=float, default=3.0, help="seconds above which a party is timed by less")
    parser.add_argument("--skip", action="append", default=[], metavar="NAME", help="a party that takes no turn")
    parser.add_argument("shapes", nargs="+")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    where = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; numpy {np.__version__}{where}\n")
    print("| device | shape | who | seconds | residual | skew | torch / it | timed by |\n|" + " --- |" * 8)
    for device in args.devices.split(","):
        for shape in args.shapes:
            for row in rows(device, shape, args):
                print(row, flush=True)


if __name__ == "__main__":
    main()
