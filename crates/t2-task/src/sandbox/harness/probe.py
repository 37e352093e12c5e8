"""The first cell of a jail: tries what no program may do, and says which walls do not stand."""
import os
import resource
import socket
import sys
import threading

import syscalls
import wire


def is_refused(attempt, *args):
    """Nothing where the attempt fails as it should, else what happened."""
    try:
        return f"{attempt.__name__}{args!r} gave {attempt(*args)!r}"
    except OSError:
        return None


def read(path):
    with open(path, "rb") as file:
        return file.read(1)


def write(path):
    with open(path, "wb") as file:
        return file.write(b"x")


def call(name, *args):
    return syscalls.checked(getattr(syscalls.LIBC, name)(*args))


def open_files():
    held = set()
    # A file that was open before the limit was lowered may have a number above it.
    for number in range(4096):
        try:
            os.fstat(number)
            held.add(number)
        except OSError:
            pass
    return held


def overflow():
    """Writes more than the scratch folder holds, into several files, so that no limit of one file ends it."""
    for at in range(4):
        with open(f"overflow{at}", "wb") as file:
            file.write(bytes(resource.getrlimit(resource.RLIMIT_FSIZE)[0] // 2))


def thread_runs():
    ran = []
    thread = threading.Thread(target=ran.append, args=(1,))
    thread.start()
    thread.join()
    return ran == [1]


def scratch():
    """What is wrong with the scratch folder: it must be writable, and limited."""
    write("note")
    full = is_refused(overflow)
    for name in os.listdir("."):
        os.unlink(name)
    return full


def findings():
    """Each wall with what is wrong with it, or nothing."""
    seen = sorted(os.listdir("/"))
    library = {"/" + os.path.relpath(path, "/").split("/")[0] for path in sys.path}
    expected = sorted({name[1:] for name in library} | {"box", "dev"})
    yield "root", None if seen == expected else f"the root holds {seen}, expected {expected}"
    for path in ("/etc/passwd", "/proc/self/status", "/root", "/home"):
        yield "root", is_refused(read, path)
    for path in ("/note", "/box/note", sys.path[-1] + "/note", "/dev/note"):
        yield "root", is_refused(write, path)
    yield "scratch folder", scratch()
    yield "pid namespace", None if os.getpid() == 1 else f"this is process {os.getpid()}"
    yield "user", None if os.getresuid() == os.getresgid() == (1000,) * 3 else f"{os.getresuid()} {os.getresgid()}"
    yield "privileges", f"{syscalls.capabilities()}" if any(syscalls.capabilities()) else None
    privileged = syscalls.prctl(syscalls.PR_GET_NO_NEW_PRIVS) != 1
    yield "privileges", "new privileges could be gained" if privileged else None
    filtered = syscalls.prctl(syscalls.PR_GET_SECCOMP) == syscalls.SECCOMP_MODE_FILTER
    yield "seccomp", None if filtered else "there is no filter"
    yield "seccomp", is_refused(os.fork)
    yield "seccomp", is_refused(os.execv, sys.executable or "/bin/true", ["python"])
    for family in (socket.AF_INET, socket.AF_UNIX, socket.AF_NETLINK):
        yield "seccomp", is_refused(socket.socket, family)
    for name, args in (
        ("unshare", (syscalls.NEWUSER,)),
        ("mount", (b"x", b".", b"tmpfs", 0, None)),
        ("ptrace", (0, 0, 0, 0)),
        ("memfd_create", (b"x", 0)),
        ("sethostname", (b"x", 1)),
    ):
        yield "seccomp", is_refused(call, name, *args)
    yield "files", None if open_files() == {0, 1, 2, 3} else f"open are {sorted(open_files())}"
    yield "threads", None if thread_runs() else "a thread did not run"


def live(channel):
    """Waits to be asked, and sends a list of walls that do not stand, each with what is wrong."""
    wire.receive(channel)
    try:
        wrong = [{"wall": wall, "why": why} for wall, why in findings() if why is not None]
    except Exception as error:
        wrong = [{"wall": "probe", "why": f"{type(error).__name__}: {error}"}]
    wire.send(channel, b"W", wire.dumps(wrong))
