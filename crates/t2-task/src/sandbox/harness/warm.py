"""The warm parent: an interpreter with its modules loaded, that forks a cell whenever it is asked for one.

It goes to jail first, so that its children are there from the start. No program and no test ever passes through it: it
is told who is wanted, and handed the channel and the leash of the cell, which it passes on.
"""
import gc
import importlib.machinery
import os
import resource
import socket
import sys
import warnings

import cell
import jail
import wire
from keeper import Keeper

# What programs like to import, beside what is compiled.
POPULAR = (
    "abc bisect calendar collections.abc contextlib copy csv dataclasses datetime decimal enum fractions functools hashlib"
    " heapq html inspect io itertools json math numbers operator pprint queue random re secrets statistics string textwrap"
    " threading time timeit traceback types typing unicodedata urllib.parse uuid"
).split()
# Compiled modules that want a terminal or a library that is rarely installed, and those that test Python itself.
UNWANTED = ("_curses", "_dbm", "_gdbm", "_test", "_tkinter", "_xx", "nis", "readline", "xx", "_ctypes_test")
OPEN_FILES = 1024


def main():
    control = socket.socket(fileno=os.dup(0))
    _, body = wire.receive(control.fileno())
    config = wire.loads(body)
    config["filters"] = [bytes.fromhex(program) for program in config["filters"]]
    config["control"] = control.fileno()
    os.environ.clear()
    try:
        with cell.wall("files"):
            hold_only(control.fileno())
        with cell.wall("limit RLIMIT_NOFILE"):
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard) if hard >= 0 else OPEN_FILES, hard))
        be_the_first_to_go()
        with cell.wall("Python's modules"):
            preload()
        with cell.wall("jail"):
            settle(control, config)
    except cell.Refusal as refusal:
        control.sendall(b"!")
        wire.send(control.fileno(), b"!", wire.dumps(refusal.args[0]))
        os._exit(1)
    sys.argv = [""]
    gc.collect()
    gc.freeze()
    Keeper(control, config).work()
    os._exit(0)


def hold_only(control):
    """Closes every file but the control socket, which was standard input at first, and standard error."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    for name in os.listdir("/dev/fd"):
        if int(name) not in (0, 1, 2, control):
            try:
                os.close(int(name))
            except OSError:
                pass  # the folder itself, which is closed by now


def be_the_first_to_go():
    """Where memory runs out, a cell is to be ended, not the process that all of this is for."""
    try:
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("1000")
    except OSError:
        pass  # a system that does not ask


def preload():
    """Imports what programs may want, and everything that needs a shared library: those stay outside of the jail."""
    compiled = (name.split(".")[0] for folder in sys.path if os.path.isdir(folder) for name in os.listdir(folder)
                if name.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in [*POPULAR, *sorted(compiled)]:
            if not name.startswith(UNWANTED):
                try:
                    __import__(name)
                except ImportError:
                    pass  # programs that import it will be told the same


def settle(control, config):
    """Goes to jail, and gets the Landlock ruleset for it: shows which files there are, and is sent rules for them."""
    if not config["walls"]:
        control.sendall(b"j")
        return
    config["proc"] = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    jail.enter(config)
    shown = [os.open(name, os.O_PATH) for name in ("/", os.devnull, "/box")]
    socket.send_fds(control, [b"j"], shown)
    for each in shown:
        os.close(each)
    _, (config["ruleset"],), _, _ = socket.recv_fds(control, 1, 1)
