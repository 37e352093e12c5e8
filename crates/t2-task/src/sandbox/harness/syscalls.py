"""System calls of Linux that Python has no name for, by way of ctypes, and the numbers that they take."""
import ctypes
import os
import platform
import signal
import struct

LIBC = ctypes.CDLL(None, use_errno=True)

# Namespaces, from sched.h.
NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000

# Mounts, from sys/mount.h and linux/mount.h.
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC = 1, 2, 4, 8
AT_FDCWD, AT_RECURSIVE = -100, 0x8000

# What a process may ask of itself, from linux/prctl.h.
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_GET_SECCOMP, PR_SET_SECCOMP = 1, 4, 21, 22
PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 23, 24, 38, 39
SECCOMP_MODE_FILTER = 2
CAPABILITY_VERSION_3 = 0x20080522

# These calls are younger than the one table of numbers for all processors, so they have the same number everywhere.
SYS_MOUNT_SETATTR, SYS_LANDLOCK_RESTRICT_SELF = 442, 446
SYS_CLONE = 56 if platform.machine() == "x86_64" else 220


def checked(result):
    """The result of a call, or the error that it left behind."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def path(text):
    return None if text is None else os.fsencode(text)


def unshare(flags):
    checked(LIBC.unshare(flags))


def clone(flags):
    """Forks, as `os.fork` does, into new namespaces: one that makes its own after a fork needs one more process."""
    python = ctypes.PyDLL(None, use_errno=True)
    python.PyOS_BeforeFork()
    child = python.syscall(ctypes.c_long(SYS_CLONE), ctypes.c_long(flags | signal.SIGCHLD), None, None, None, None)
    (python.PyOS_AfterFork_Child if child == 0 else python.PyOS_AfterFork_Parent)()
    return checked(child)


def mount(source, target, kind=None, flags=0, data=None):
    checked(LIBC.mount(path(source), path(target), path(kind), ctypes.c_ulong(flags), path(data)))


def set_attributes(target, attributes, flags=0):
    """Adds attributes to a mount; unlike a remount it need not know those that a mount of the host is locked to."""
    wanted = struct.pack("QQQQ", attributes, 0, 0, 0)
    number = ctypes.c_long(SYS_MOUNT_SETATTR)
    checked(LIBC.syscall(number, AT_FDCWD, path(target), flags, wanted, ctypes.c_size_t(len(wanted))))


def enter_root(target):
    """Makes `target`, a mount, the root of this mount namespace, and lets go of the old one."""
    os.chdir(target)
    # Both on the same folder: the old root is then stacked on the new one, and no folder is needed to put it in.
    checked(LIBC.pivot_root(b".", b"."))
    checked(LIBC.umount2(b".", MNT_DETACH))
    os.chdir("/")


def set_hostname(name):
    checked(LIBC.sethostname(os.fsencode(name), ctypes.c_size_t(len(name))))


def prctl(option, value=0):
    return checked(LIBC.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)))


def capabilities():
    """The effective, permitted and inheritable capabilities of this process, as numbers."""
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    checked(LIBC.capget(header, data))
    low = struct.unpack("6I", data.raw)
    return tuple(low[at] | low[at + 3] << 32 for at in range(3))


def drop_capabilities():
    """Gives up every capability, and the chance to get one back."""
    capability = 0
    while LIBC.prctl(PR_CAPBSET_READ, ctypes.c_ulong(capability), 0, 0, 0) >= 0:
        prctl(PR_CAPBSET_DROP, capability)
        capability += 1
    checked(LIBC.capset(struct.pack("Ii", CAPABILITY_VERSION_3, 0), bytes(24)))


def restrict_files(ruleset):
    """Enforces a Landlock ruleset on this process."""
    checked(LIBC.syscall(ctypes.c_long(SYS_LANDLOCK_RESTRICT_SELF), ruleset, 0))


def filter_calls(program):
    """Enforces a seccomp filter, the bytes of a BPF program, on this process."""
    held = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: how many instructions of eight bytes, and where they are.
    described = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(held))
    address = ctypes.create_string_buffer(described, len(described))
    checked(LIBC.prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), address, 0, 0))
