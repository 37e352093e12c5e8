"""A keeper: the process that makes the namespaces of one cell, holds its leash, and says how it ended."""
import os
import select
import shutil
import signal
import tempfile

import cell
import syscalls
import wire

# The namespaces of a cell; of each it gets its own, inside those of the jail.
NAMESPACES = {
    "user": syscalls.NEWUSER,
    "mount": syscalls.NEWNS,
    "pid": syscalls.NEWPID,
    "ipc": syscalls.NEWIPC,
    "network": syscalls.NEWNET,
}
# Who a cell is inside its user namespace: nobody in particular.
USER = 1000


def write_maps(process, proc, users, groups, deny):
    """Says who the users of a process's namespace are; `deny` that groups stay as they are, which ordinary users must."""
    for file, text in [("setgroups", "deny")] * deny + [("uid_map", users), ("gid_map", groups)]:
        opened = os.open(f"{process}/{file}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
        try:
            os.write(opened, text.encode())
        finally:
            os.close(opened)


def separate(config):
    """Makes the namespaces of a cell, and sees to it that each is another one than before."""
    with cell.wall("namespaces"):
        before = namespaces(config["proc"])
        syscalls.unshare(sum(NAMESPACES.values()))
        alone = f"{USER} {USER} 1"
        write_maps("self", config["proc"], alone, alone, deny=True)
        shared = before & namespaces(config["proc"])
        if shared:
            raise PermissionError(f"{sorted(shared)} are still those of the jail")


def namespaces(proc):
    """What the system calls the namespaces of this process. That of its child's numbers, the child itself can tell."""
    return {os.readlink(f"self/ns/{name}", dir_fd=proc) for name in ("user", "mnt", "ipc", "net")}


def watch(leash, ended):
    """Waits until the cell ends or the leash is let go."""
    select.select([leash, ended], [], [])


def keep(role, channel, leash, config):
    """The life of a keeper, from its fork to its end."""
    home = None
    try:
        ended, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        if config["walls"]:
            separate(config)
        else:
            home = tempfile.mkdtemp(prefix="t2-scratch-")
        with cell.wall("processes"):
            child = os.fork()
        if child == 0:
            signal.set_wakeup_fd(-1)
            if home is not None:
                os.setsid()
                os.chdir(home)
            cell.live(role, channel, config)
        os.close(channel)
        watch(leash, ended)
        kill(child, group=home is not None)
        _, status, used = os.wait4(child, 0)
        cpu = used.ru_utime + used.ru_stime
        report = {"status": status, "cpu_seconds": cpu, "memory_bytes": used.ru_maxrss * 1024}
    except cell.Refusal as refusal:
        report = refusal.args[0]
    except BaseException as error:
        report = cell.Refusal("keeper", error).args[0]
    if home is not None:
        shutil.rmtree(home, ignore_errors=True)
    try:
        wire.send(leash, b"!" if "wall" in report else b"e", wire.dumps(report))
    finally:
        os._exit(0)


def kill(child, group):
    """Ends a cell and what it started. It has not been waited for, so that its number can be nobody else's."""
    for end in (os.kill, os.killpg) if group else (os.kill,):
        try:
            end(child, signal.SIGKILL)
        except OSError:
            pass
