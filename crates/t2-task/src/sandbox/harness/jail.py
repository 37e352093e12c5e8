"""The jail of the warm parent and of all its cells: namespaces, and a root that holds Python's library and no more."""
import os
import select
import signal
import sys

import cell
import syscalls
from cell import NAMESPACES, USER, write_maps

# Where the new root is put together; nobody outside of the namespace sees it.
BUILT_AT = "/tmp"
# Packages that are no part of Python, inside the folder of those that are.
HIDDEN = ("site-packages", "dist-packages")
NOBODY = 65534


def enter(config):
    """Moves this process into the jail, and what it does from here on into a child of it, the first of its kind."""
    with cell.wall("namespaces"):
        separate(config)
    with cell.wall("root"):
        # They are opened here: what was opened outside of the namespace cannot be mounted in it.
        build(library())
        syscalls.set_hostname("t2")
    with cell.wall("processes"):
        # Nothing is ever written: the one outside lives as long as there is no end to read.
        outside, held = os.pipe()
        child = os.fork()
    if child != 0:
        # Nobody waits for what a jail has to say but by its socket, which the child has.
        os.close(config["control"])
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0x7F)
    os.close(held)
    with cell.wall("user"):
        become_nobody(config)
        if select.select([outside], [], [], 0)[0]:
            os._exit(1)  # the one outside ended before its end was tied to that of this process
        os.close(outside)


def library():
    """The folders and files that Python imports from: each by its name, held open so that it stays within reach."""
    return [(each, os.open(os.path.realpath(each), os.O_PATH)) for each in sys.path if os.path.exists(each)]


def separate(config):
    """Makes the namespaces. Only root can be somebody else in there, and has to, to be held to limits."""
    flags = NAMESPACES | syscalls.NEWUTS
    if os.geteuid() != 0:
        user, group = os.geteuid(), os.getegid()
        syscalls.unshare(flags)
        write_maps("self", config["proc"], f"{USER} {user} 1", f"{USER} {group} 1", deny=True)
        return
    os.setgroups([])
    ready, go = os.pipe()
    done, say = os.pipe()
    parent = os.getpid()
    mapper = os.fork()
    if mapper == 0:
        # Only from outside of a namespace can more than one user be mapped into it.
        failed = 0
        try:
            os.close(go)
            os.read(ready, 1)
            both = f"0 0 1\n{USER} {NOBODY} 1"
            write_maps(str(parent), config["proc"], both, both, deny=False)
        except OSError as error:
            failed = error.errno
        os.write(say, b"%d" % failed)
        os._exit(0)
    syscalls.unshare(flags)
    os.write(go, b"1")
    failed = int(os.read(done, 16))
    os.waitpid(mapper, 0)
    for each in (ready, go, done, say):
        os.close(each)
    if failed != 0:
        raise OSError(failed, os.strerror(failed))


def build(sources):
    """Puts the new root together in memory, and enters it."""
    null = os.open(os.devnull, os.O_PATH)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("jail", BUILT_AT, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "size=1m,mode=755")
    for folder in ("/dev", "/box", "/box/empty", cell.SCRATCH):
        os.mkdir(BUILT_AT + folder, 0o755)
    os.close(os.open(BUILT_AT + os.devnull, os.O_CREAT | os.O_WRONLY, 0o666))
    bind(null, os.devnull, 0)
    for name, source in sources:
        if os.path.exists(BUILT_AT + name):
            continue  # in a folder that is there already
        place(name, source)
        bind(source, name, syscalls.ATTR_NODEV)
        for hidden in HIDDEN:
            if os.path.isdir(f"{BUILT_AT}{name}/{hidden}"):
                syscalls.mount(BUILT_AT + "/box/empty", f"{BUILT_AT}{name}/{hidden}", None, syscalls.MS_BIND)
    syscalls.enter_root(BUILT_AT)
    only_read = syscalls.ATTR_RDONLY | syscalls.ATTR_NOSUID | syscalls.ATTR_NODEV | syscalls.ATTR_NOEXEC
    syscalls.set_attributes("/", only_read)
    for _, source in sources:
        os.close(source)
    os.close(null)


def place(name, source):
    """Makes an empty file or folder to bind `source` to."""
    target = BUILT_AT + name
    if os.path.isdir(f"/proc/self/fd/{source}"):
        os.makedirs(target, 0o755)
    else:
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))


def bind(source, name, attributes):
    target = BUILT_AT + name
    syscalls.mount(f"/proc/self/fd/{source}", target, None, syscalls.MS_BIND | syscalls.MS_REC)
    attributes |= syscalls.ATTR_RDONLY | syscalls.ATTR_NOSUID
    syscalls.set_attributes(target, attributes, syscalls.AT_RECURSIVE)


def become_nobody(config):
    """Leaves root behind where this is root, and dies with the process outside of the jail."""
    if os.getuid() != USER:
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
        # A process that changed its user can no longer write the maps of its own namespaces, unless it says so.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
    else:
        syscalls.drop_capabilities()
    config["namespaces"] = cell.namespaces(config["proc"])
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getpid() != 1 or os.getuid() != USER or any(syscalls.capabilities()[:2]):
        raise PermissionError(f"process {os.getpid()} is user {os.getuid()} with {syscalls.capabilities()}")
