"""A cell: the process that runs a program, or its tests. Its walls go up here, before it is told anything."""
import os
import resource
import signal
import sys
import traceback

import judge
import probe
import subject
import syscalls
import wire

CHANNEL = 3
SCRATCH = "/box/scratch"
# Who a cell is inside its user namespace: nobody in particular.
USER = 1000
# The namespaces that a cell is born in, and all that it has of its own, inside those of the jail.
BORN_IN = syscalls.NEWUSER | syscalls.NEWPID
NAMESPACES = BORN_IN | syscalls.NEWNS | syscalls.NEWIPC | syscalls.NEWNET
# What runs in a cell, by the byte that the warm parent is asked with.
ROLES = {b"j": judge.live, b"s": subject.live, b"p": probe.live}


class Refusal(Exception):
    """A wall that could not be put up, and why."""

    def __init__(self, wall, error):
        called = [frame.name for frame in traceback.extract_tb(error.__traceback__)][1:]
        place = f" in {' > '.join(called)}" if called else ""
        super().__init__({"wall": wall, "why": f"{type(error).__name__}: {error}{place}"})


class wall:
    """What is put up inside a `with` block, by a name for people; an error in it becomes a [`Refusal`]."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, Exception) and not isinstance(error, Refusal):
            raise Refusal(self.name, error) from error


def write_maps(process, proc, users, groups, deny):
    """Says who the users of a process's namespace are; `deny` that groups can be dropped, as ordinary users must."""
    for file, text in [("setgroups", "deny")] * deny + [("uid_map", users), ("gid_map", groups)]:
        opened = os.open(f"{process}/{file}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
        try:
            os.write(opened, text.encode())
        finally:
            os.close(opened)


def namespaces(proc):
    """What the system calls the namespaces of this process. That of process numbers, the process itself can tell."""
    return {os.readlink(f"self/ns/{name}", dir_fd=proc) for name in ("user", "mnt", "ipc", "net")}


def separate(config):
    """Makes the namespaces that it was not born in, and sees to it that each is another one than that of the jail."""
    alone = f"{USER} {USER} 1"
    write_maps("self", config["proc"], alone, alone, deny=True)
    syscalls.unshare(NAMESPACES & ~BORN_IN)
    shared = config["namespaces"] & namespaces(config["proc"])
    if shared:
        raise PermissionError(f"{sorted(shared)} are still those of the jail")
    if os.getpid() != 1:
        raise PermissionError(f"this is process {os.getpid()}, expected to be the first of a namespace")


def scratch(limits):
    """An empty folder of limited size, which is all that can be written to, and the current one."""
    if limits["scratch_bytes"] < 1 or limits["scratch_files"] < 1:
        raise ValueError("no room was given, which the system takes for no limit")
    options = f"size={limits['scratch_bytes']},nr_inodes={limits['scratch_files']},mode=700"
    syscalls.mount("scratch", SCRATCH, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC, options)
    os.chdir(SCRATCH)


def hold_only(channel):
    """Keeps the channel and closes every other file; standard input is empty, and output goes nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.dup2(channel, CHANNEL)
    os.closerange(CHANNEL + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8")


def limit(limits, walls):
    """Sets each limit, hard and soft, to what is asked or to less where the system allows only less."""
    wanted_limits = {
        "RLIMIT_CPU": limits["cpu_seconds"],
        "RLIMIT_AS": limits["memory_bytes"],
        "RLIMIT_FSIZE": limits["scratch_bytes"],
        "RLIMIT_NPROC": limits["threads"],
        "RLIMIT_NOFILE": limits["open_files"],
        "RLIMIT_STACK": limits["stack_bytes"],
        "RLIMIT_CORE": 0,
    }
    if not walls and sys.platform == "linux":
        # It would count all that the user runs: only a namespace makes it the cell's own.
        del wanted_limits["RLIMIT_NPROC"]
    for name, wanted in wanted_limits.items():
        with wall(f"limit {name}"):
            kind = getattr(resource, name)
            allowed = resource.getrlimit(kind)[1]
            value = wanted if allowed == resource.RLIM_INFINITY else min(wanted, allowed)
            resource.setrlimit(kind, (value, value))
            if resource.getrlimit(kind) != (value, value):
                raise ValueError(f"it was set to {value} and is {resource.getrlimit(kind)}")


def die_with(parent):
    """Has the system end this process with its parent, where there is no namespace that ends, and the system can."""
    if sys.platform == "linux":
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # it ended before that was asked for


def privileges():
    """Gives up every privilege for good, and life itself once the warm parent is gone."""
    syscalls.drop_capabilities()
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if any(syscalls.capabilities()) or syscalls.prctl(syscalls.PR_GET_NO_NEW_PRIVS) != 1:
        raise PermissionError("privileges were given up and are still there")


def enclose(config, channel):
    """Puts up every wall that a cell has of its own. Each step takes away what the next ones can do without."""
    if config["walls"]:
        with wall("namespaces"):
            separate(config)
        with wall("scratch folder"):
            scratch(config["limits"])
        with wall("Landlock"):
            syscalls.restrict_files(config["ruleset"])
    with wall("files"):
        hold_only(channel)
    limit(config["limits"], config["walls"])
    if config["walls"]:
        with wall("privileges"):
            privileges()
        with wall("seccomp"):
            for program in config["filters"]:
                syscalls.filter_calls(program)


def live(role, channel, home, config):
    """The life of a cell, from its fork to its end. It has a `home` where it has no namespace to make a folder in."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with wall("cell"):
            if home is not None:
                os.setsid()
                os.chdir(home)
                die_with(config["keeper"])
            enclose(config, channel)
        wire.send(CHANNEL, b"r")
        ROLES[role](CHANNEL)
    except Refusal as refusal:
        refuse(channel, refusal)
    except (wire.Closed, BrokenPipeError):
        pass
    finally:
        os._exit(0)


def refuse(channel, refusal):
    """Says which wall is missing, on the channel, which has one of two numbers by then."""
    for each in (channel, CHANNEL):
        try:
            return wire.send(each, b"!", wire.dumps(refusal.args[0]))
        except OSError:
            continue
