"""Grades Python programs, each in a child process with limits.

Reads JSON lines {"id", "code", "checks"} until the end of the input, then writes a JSON line for each, in the order in
which they finish: {"id", "ok"}, with "why" where a program did not pass, and with "fault" where it could not be run as it
should be. A program passes when its code and every check ran to the end within the
limits. The CPU-time limit decides about slow programs, so that a busy machine changes no verdict; the wall-clock limit
is for programs that wait. This keeps honest mistakes of a model from doing harm; it is no defence against an attacker.

A child writes its nonce when its limits are set and the program starts, and once more when all of it passed, or else
why not.
"""
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import types

CPU_SECONDS = 2
WALL_SECONDS = 30
NONCE_BYTES = 16
REPORT_BYTES = 400
LIMITS = {
    "RLIMIT_CPU": CPU_SECONDS,
    "RLIMIT_AS": 256 * 1024 * 1024,
    "RLIMIT_FSIZE": 0,
    "RLIMIT_CORE": 0,
    "RLIMIT_NOFILE": 16,
    "RLIMIT_NPROC": 0,
}

# What graded code may do besides computing. Anything else (files, processes, sockets, ctypes, ...) raises an error.
ALLOWED = {
    "array.__new__", "builtins.id", "builtins.input", "builtins.input/result", "code.__new__", "compile", "exec",
    "function.__new__", "import", "marshal.dumps", "marshal.load", "marshal.loads", "object.__delattr__",
    "object.__getattr__", "object.__setattr__", "os.listdir", "os.putenv", "os.scandir", "os.unsetenv",
    "pickle.find_class", "sys._getframe", "sys._getframemodulename", "sys.excepthook", "sys.unraisablehook", "time.sleep",
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def audit(event, args):
    """Raises unless `event` is harmless."""
    reading = event == "open" and args[1] in ("r", "rb", None) and not (args[2] or 0) & WRITING
    if event not in ALLOWED and not reading:
        raise PermissionError(event)


def limit():
    """Limits this process, or says which limit cannot be set."""
    for name, value in LIMITS.items():
        kind = getattr(resource, name)
        try:
            resource.setrlimit(kind, (value, value))
        except (OSError, ValueError) as error:
            raise RuntimeError(f"{name} cannot be set to {value}: {error}") from error
        if resource.getrlimit(kind) != (value, value):
            raise RuntimeError(f"{name} was set to {value} and is {resource.getrlimit(kind)}")
    signal.alarm(WALL_SECONDS + 5)  # in case that nobody is left to end a program that waits


def prepare(others):
    """Makes this process one that may run a program; `others` are the files of other children."""
    os.setsid()
    for reader in others:
        os.close(reader)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8")
    sys.argv = [""]
    sys.dont_write_bytecode = True
    os.environ.clear()
    limit()
    sys.addaudithook(audit)


def run(program):
    """Runs a program and its checks as a module that can be looked up by its name, like one that was imported."""
    module = types.ModuleType("program")
    sys.modules["program"] = module
    exec(compile(program["code"], "program", "exec"), module.__dict__)
    for check in program["checks"]:
        exec(compile(check, "check", "exec"), module.__dict__)


def start(program, others):
    """Starts a child; returns where its report can be read, and what is needed to judge it."""
    nonce = os.urandom(NONCE_BYTES)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            prepare([reader, *others])
            os.write(writer, nonce)
            run(program)
            os.write(writer, nonce)
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode(errors="replace")[:REPORT_BYTES])
        finally:
            os._exit(0)
    os.close(writer)
    deadline = time.monotonic() + WALL_SECONDS
    return reader, types.SimpleNamespace(child=child, id=program["id"], nonce=nonce, deadline=deadline, report=b"")


def receive(reader, job):
    """Reads more of a report; says whether there may be still more."""
    chunk = os.read(reader, REPORT_BYTES)
    job.report = (job.report + chunk)[:NONCE_BYTES + REPORT_BYTES]
    return bool(chunk)


def finish(reader, job):
    """Makes sure that a child is gone, and judges it."""
    os.close(reader)
    try:
        os.killpg(job.child, signal.SIGKILL)
    except OSError:
        os.kill(job.child, signal.SIGKILL)
    _, status = os.waitpid(job.child, 0)
    killed = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else None
    started = job.report.startswith(job.nonce)
    said = job.report[NONCE_BYTES if started else 0:]
    if started and said == job.nonce:
        return {"id": job.id, "ok": True}
    why = said.decode(errors="replace") or (f"it was ended by {killed}" if killed else "it ended early")
    return {"id": job.id, "ok": False, "why" if started else "fault": why}


def main():
    """Grades everything on standard input, as many programs at a time as the last argument says."""
    waiting = [json.loads(line) for line in sys.stdin.buffer][::-1]
    workers = int(sys.argv[-1])
    running = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        while waiting or running:
            while waiting and len(running) < workers:
                reader, job = start(waiting.pop(), running)
                running[reader] = job
            ready = select.select(list(running), [], [], 1.0)[0]
            now = time.monotonic()
            for reader, job in list(running.items()):
                ended = reader in ready and not receive(reader, job)
                if ended or job.deadline < now:
                    del running[reader]
                    print(json.dumps(finish(reader, job)), flush=True)
        os.chdir("/")


main()
