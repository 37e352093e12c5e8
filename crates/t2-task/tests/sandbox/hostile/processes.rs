//! Attacks by processes, threads, signals and time.

use super::Known::{Fools, Loose, LooseUntried, Untried};
use super::{Attack, check_all};

pub(super) const ATTACKS: &[Attack] = &[
    ("fork bomb", Untried, "import os\nwhile True:\n    os.fork()"),
    (
        "fork bomb that goes on when it fails",
        Untried,
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    ),
    ("a fork", Loose, "child = os.fork()\nif child == 0: os._exit(0)\nreturn os.waitpid(child, 0)"),
    (
        "a fork by another name",
        Loose,
        "child = os.forkpty()[0]\nif child == 0: os._exit(0)\nreturn os.waitpid(child, 0)",
    ),
    ("a program", Loose, "return subprocess.run([sys.executable, '-I', '-c', '']).returncode == 0"),
    ("a program by posix_spawn", Loose, "return os.posix_spawn(sys.executable, [sys.executable, '-I', '-c', ''], {})"),
    ("a shell", Loose, "return os.system('true') == 0"),
    ("a program in place of this one", Untried, "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', ''])"),
    (
        "a pool of processes",
        Loose,
        "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(2) as pool:\n    return pool.map(abs, [-1]) == [1]",
    ),
    (
        "a tree of processes that nobody waits for",
        Untried,
        "import os\nfor _ in range(9):\n    if os.fork() == 0:\n        os.setsid()\n        os.fork()\n        while True: pass",
    ),
    ("killing the parent", LooseUntried, "os.kill(os.getppid(), 9)\nreturn True"),
    ("killing everybody", LooseUntried, "os.kill(-1, 9)\nreturn True"),
    (
        "killing by numbers",
        LooseUntried,
        "killed = []\nfor n in range(2, 40000):\n    try:\n        os.kill(n, 9)\n        killed.append(n)\n    except OSError: pass\nreturn killed",
    ),
    ("killing itself", Untried, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\nwhile True: pass"),
    ("stopping itself", Untried, "import os, signal, time\nos.kill(os.getpid(), signal.SIGSTOP)\ntime.sleep(99)"),
    (
        "handlers for every signal",
        Untried,
        "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, lambda *_: None)\n    except (OSError, ValueError): pass\nwhile True: pass",
    ),
    (
        "blocked signals",
        Untried,
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass",
    ),
    (
        "a timer that never lets go",
        Untried,
        "import signal\ndef again(*_): signal.setitimer(signal.ITIMER_REAL, 1e-6)\nsignal.signal(signal.SIGALRM, again)\nagain()\nwhile True: pass",
    ),
    ("an endless loop", Untried, "while True: pass"),
    (
        "an endless loop that catches all",
        Untried,
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    ),
    ("an endless sleep", Untried, "import time\ntime.sleep(10**6)"),
    ("an endless sleep in the function", Untried, "import time\ndef f(x):\n    time.sleep(10**6)"),
    ("a computation that cannot be interrupted", Untried, "def f(x): return 10 ** 10 ** 10 % 7"),
    ("a regular expression without end", Untried, "import re\ndef f(x): return re.match('(a*)*b', 'a' * 99)"),
    (
        "threads that outlive the main one",
        Fools,
        "import os, threading, time\ndef rest():\n    time.sleep(0.1)\n    os._exit(0)\nthreading.Thread(target=rest).start()\nraise SystemExit",
    ),
    (
        "threads that never end",
        Untried,
        "import threading\ndef spin():\n    while True: pass\nfor _ in range(8): threading.Thread(target=spin).start()\nraise SystemExit",
    ),
    (
        "threads without number",
        Untried,
        "import threading, time\nthreading.stack_size(32768)\nwhile True:\n    try: threading.Thread(target=time.sleep, args=(999,)).start()\n    except RuntimeError: pass",
    ),
    (
        "raising its own limits",
        Untried,
        "import resource\nfor kind in range(16): resource.setrlimit(kind, (resource.RLIM_INFINITY,) * 2)",
    ),
    (
        "more time on the processor than allowed, limit or no limit",
        Untried,
        "import resource\ntry: resource.setrlimit(resource.RLIMIT_CPU, (99, 99))\nexcept (OSError, ValueError): pass\nwhile True: pass",
    ),
    ("being more important than others", LooseUntried, "os.setpriority(os.PRIO_PROCESS, 0, -5)\nreturn True"),
    ("real time", LooseUntried, "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))\nreturn True"),
    ("leaving with success", Fools, "import os\nos._exit(0)"),
    ("leaving with success, politely", Fools, "raise SystemExit(0)"),
    ("leaving once it is called", Fools, "import os\ndef f(x): os._exit(0)"),
    ("leaving at the very end", Fools, "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): return None"),
];

#[test]
fn none_gets_away_with_processes_and_time() {
    check_all(ATTACKS);
}
