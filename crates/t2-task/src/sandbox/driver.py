"""Grades Python programs, each in a child process with limits.

Reads JSON lines {"id", "code", "checks"} until the end of the input, then writes a JSON line {"id", "ok"} for each, in
the order in which they finish. A program passes when its code and every check ran to the end within the limits.
The CPU-time limit decides about slow programs, so that a busy machine changes no verdict; the wall-clock limit is for
programs that wait. This keeps honest mistakes of a model from doing harm; it is no defence against an attacker.
"""
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time

CPU_SECONDS = 2
WALL_SECONDS = 30
MEMORY_BYTES = 256 * 1024 * 1024
NONCE_BYTES = 16

# What graded code may do besides computing. Anything else (files, processes, sockets, ctypes, ...) raises an error.
ALLOWED = {
    "array.__new__", "builtins.id", "code.__new__", "compile", "exec", "function.__new__", "import", "marshal.load",
    "marshal.loads", "object.__delattr__", "object.__getattr__", "object.__setattr__", "os.listdir", "os.scandir",
    "sys._getframe", "sys._getframemodulename", "sys.excepthook", "sys.unraisablehook",
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def audit(event, args):
    """Raises unless `event` is harmless."""
    reading = event == "open" and args[1] in ("r", "rb", None) and not (args[2] or 0) & WRITING
    if event not in ALLOWED and not reading:
        raise PermissionError(event)


def limit():
    """Limits this process."""
    for kind, value in [
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 16),
        (resource.RLIMIT_NPROC, 0),
    ]:
        resource.setrlimit(kind, (value, value))


def run(program, nonce, verdict):
    """Runs a program in this (child) process and writes the nonce to `verdict` if all of it passed."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.environ.clear()
    sys.argv = [""]
    limit()
    sys.addaudithook(audit)
    names = {"__name__": "program"}
    exec(compile(program["code"], "program", "exec"), names)
    for check in program["checks"]:
        exec(compile(check, "check", "exec"), names)
    os.write(verdict, nonce)


def start(program):
    """Starts a child; returns where its verdict can be read, and what is needed to judge it."""
    nonce = os.urandom(NONCE_BYTES)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.setsid()
            run(program, nonce, writer)
        finally:
            os._exit(0)
    os.close(writer)
    return reader, (child, program["id"], nonce, time.monotonic() + WALL_SECONDS)


def finish(reader, job, output):
    """Reads a verdict, makes sure that the child is gone, and reports."""
    child, number, nonce, _ = job
    if select.select([reader], [], [], 0)[0]:
        ok = os.read(reader, NONCE_BYTES) == nonce
    else:
        ok = False
    os.close(reader)
    try:
        os.killpg(child, signal.SIGKILL)
    except OSError:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    output.write(json.dumps({"id": number, "ok": ok}) + "\n")
    output.flush()


def main():
    """Grades everything on standard input, a few programs at a time."""
    waiting = [json.loads(line) for line in sys.stdin][::-1]
    workers = os.cpu_count() or 1
    running = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        while waiting or running:
            while waiting and len(running) < workers:
                reader, job = start(waiting.pop())
                running[reader] = job
            done = select.select(list(running), [], [], 1.0)[0]
            now = time.monotonic()
            for reader in [r for r, job in running.items() if r in done or job[3] < now]:
                finish(reader, running.pop(reader), sys.stdout)
        os.chdir("/")


main()
