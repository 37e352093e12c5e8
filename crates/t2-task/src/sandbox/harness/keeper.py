"""The keeper: starts cells, holds their leashes, and says how each ended. It is what the warm parent does all day."""
import os
import select
import shutil
import signal
import socket
import tempfile

import cell
import syscalls
import wire


class Held:
    """A cell that runs: its process, and its folder where it has no namespace to have one in."""

    def __init__(self, process, home):
        self.process, self.home, self.is_ending = process, home, False

    def end(self):
        """Ends it. It has not been waited for, so that its number can be nobody else's."""
        self.is_ending = True
        os.kill(self.process, signal.SIGKILL)

    def clear(self):
        """Ends what it started and removes what it wrote, where the system does not do that with its namespaces."""
        if self.home is None:
            return
        try:
            os.killpg(self.process, signal.SIGKILL)
        except OSError:
            pass  # it was alone
        shutil.rmtree(self.home, ignore_errors=True)


class Keeper:
    def __init__(self, control, config):
        self.control, self.config = control, {**config, "keeper": os.getpid()}
        self.cells = {}
        self.ended, woken = os.pipe()
        os.set_blocking(self.ended, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def work(self):
        """Starts and ends cells until nobody is left to ask for them."""
        try:
            while self.step():
                pass
        finally:
            self.clear()

    def step(self):
        """Waits for something to do, and does it; false once nobody asks for cells any more."""
        leashes = [leash for leash, held in self.cells.items() if not held.is_ending]
        ready, _, _ = select.select([self.control, self.ended, *leashes], [], [])
        for leash in set(leashes).intersection(ready):
            self.cells[leash].end()
        if self.ended in ready:
            os.read(self.ended, 4096)
            self.bury()
        return self.control not in ready or self.start()

    def clear(self):
        """Ends every cell, and removes what it wrote."""
        for held in self.cells.values():
            held.end()
        for held in self.cells.values():
            os.waitpid(held.process, 0)
            held.clear()

    def start(self):
        """Starts the cell that is asked for; false once nobody asks any more."""
        role, files, _, _ = socket.recv_fds(self.control, 1, 2)
        if not role:
            return False
        channel, leash = files
        home = None
        try:
            home = None if self.config["walls"] else tempfile.mkdtemp(prefix="t2-scratch-")
            child = syscalls.clone(cell.BORN_IN) if home is None else os.fork()
        except OSError as error:
            say(leash, b"!", cell.Refusal("processes", error).args[0])
            if home is not None:
                shutil.rmtree(home, ignore_errors=True)
        else:
            if child == 0:
                cell.live(role, channel, home, self.config)
            self.cells[leash] = Held(child, home)
        os.close(channel)
        return True

    def bury(self):
        """Says of each cell that has ended how it did."""
        for leash, held in list(self.cells.items()):
            process, status, used = os.wait4(held.process, os.WNOHANG)
            if process == 0:
                continue
            held.clear()
            report = {"status": status, "cpu_seconds": used.ru_utime + used.ru_stime}
            say(leash, b"e", report)
            del self.cells[leash]


def say(leash, tag, words):
    """Says the last of what there is to say of a cell."""
    try:
        wire.send(leash, tag, wire.dumps(words))
    except OSError:
        pass  # nobody wants to know
    os.close(leash)
