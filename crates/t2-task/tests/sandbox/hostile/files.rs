//! Attacks on files: reading what is none of a program's business, and writing anywhere.

use super::Known::{Loose, LooseUntried, Untried};
use super::{Attack, check_all};

pub(super) const ATTACKS: &[Attack] = &[
    ("reading /etc/passwd", Loose, "return open('/etc/passwd').read()"),
    ("reading /etc/shadow", LooseUntried, "return open('/etc/shadow').read()"),
    ("listing /etc", Loose, "return os.listdir('/etc')"),
    ("listing homes", Loose, "return os.stat('/home')"),
    ("reading root's home", LooseUntried, "return [name for name in os.listdir('/root') if name not in os.__file__]"),
    ("listing temporary files", Loose, "return os.stat('/tmp')"),
    ("its own process", Loose, "return open('/proc/self/status').read()"),
    ("other processes", Loose, "return [n for n in os.listdir('/proc') if n.isdigit()]"),
    (
        "other processes' environments",
        LooseUntried,
        "return [open(f'/proc/{n}/environ').read() for n in os.listdir('/proc') if n.isdigit()]",
    ),
    ("other processes' memory", LooseUntried, "return open(f'/proc/{os.getppid()}/mem', 'rb')"),
    ("its own environment", LooseUntried, "return dict(os.environ)"),
    (
        "the environment that libc knows",
        LooseUntried,
        "libc.getenv.restype = ctypes.c_char_p\nreturn libc.getenv(b'PATH') or libc.getenv(b'HOME')",
    ),
    ("the machine's name", Loose, "return os.uname().nodename != 't2'"),
    ("the system's own files", Loose, "return os.listdir('/sys')"),
    ("sockets of services", LooseUntried, "return os.listdir('/run') or os.stat('/var/run/docker.sock')"),
    ("the interpreter", Loose, "return open(sys.executable, 'rb').read(4)"),
    ("climbing out of the folder", Loose, "return open('../' * 40 + 'etc/passwd').read()"),
    ("a symlink to /etc", Loose, "os.symlink('/etc', 'etc')\nreturn open('etc/passwd').read()"),
    (
        "a symlink to where it may not write",
        Untried,
        "import os\nos.symlink('/t2-trace-of-a-program', 'out')\nopen('out', 'w').write('x')",
    ),
    ("a hard link to a library", LooseUntried, "os.link(os.__file__, 'os.py')\nreturn open('os.py', 'a')"),
    ("opening by handle", LooseUntried, "return libc.open_by_handle_at(-100, bytes(128), 0) >= 0"),
    ("writing to the root", LooseUntried, "return open('/t2-trace-of-a-program', 'w').write('x')"),
    ("writing to /tmp", Loose, "return open('/tmp' + '/t2-trace-of-a-program', 'w').write('x')"),
    ("writing to /var/tmp", Loose, "return open('/var/tmp/t2-trace-of-a-program', 'w').write('x')"),
    ("writing to shared memory", LooseUntried, "return open('/dev/shm/t2-trace-of-a-program', 'w').write('x')"),
    (
        "shared memory by its own call",
        Loose,
        "import _posixshmem\nreturn _posixshmem.shm_open('/t2-trace', os.O_CREAT | os.O_RDWR, mode=0o600) and not _posixshmem.shm_unlink('/t2-trace')",
    ),
    ("writing beside its folder", LooseUntried, "return open('/box/t2-trace-of-a-program', 'w').write('x')"),
    ("a library that is tampered with", LooseUntried, "return open(os.__file__, 'a')"),
    (
        "a tampered site",
        LooseUntried,
        "folder = os.path.dirname(os.__file__)\nopen(folder + '/sitecustomize.py', 'w').write('')\nreturn open(folder + '/t2-trace-of-a-program.pth', 'w').write('x')",
    ),
    ("removing a library", LooseUntried, "os.unlink(os.path.dirname(os.__file__) + '/this.py')\nreturn True"),
    (
        "renaming a library",
        LooseUntried,
        "folder = os.path.dirname(os.__file__)\nos.rename(folder + '/this.py', folder + '/that.py')\nreturn True",
    ),
    ("permissions of a library", LooseUntried, "os.chmod(os.__file__, 0o777)\nreturn True"),
    ("installed packages", Untried, "import sys\nsys.path += [p + '/site-packages' for p in sys.path]\nimport pip"),
    (
        "a file with somebody else's rights",
        LooseUntried,
        "open('s', 'w').close()\nos.chmod('s', 0o6755)\nos.chown('s', 0, 0)\nreturn True",
    ),
    (
        "running a file of its own",
        Loose,
        "open('s', 'w').write('#!/bin/sh\\nexit 0')\nos.chmod('s', 0o755)\nreturn os.spawnl(os.P_WAIT, './s', 's') in (0, 127)",
    ),
    ("a device of its own", LooseUntried, "os.mknod('d', 0o60666, os.makedev(8, 0))\nreturn True"),
    ("devices of the machine", Loose, "return open('/dev/urandom', 'rb').read(1) or open('/dev/zero', 'rb').read(1)"),
    ("memory as a device", LooseUntried, "return open('/dev/mem', 'rb') or open('/dev/kmsg', 'rb')"),
    ("a terminal", LooseUntried, "return os.open('/dev/tty', os.O_RDWR) or os.open('/dev/ptmx', os.O_RDWR)"),
    ("filling the disk", Untried, "n = 0\nwhile True:\n    open(str(n), 'wb').write(bytes(1 << 20))\n    n += 1"),
    ("filling the disk by a hole", LooseUntried, "with open('x', 'wb') as x: x.truncate(1 << 40)\nreturn True"),
    ("a file without number of names", Untried, "n = 0\nwhile True:\n    open(str(n), 'w')\n    n += 1"),
    ("files that stay open", Untried, "held = []\nwhile True: held.append(open('/dev/null'))"),
    ("a folder too deep to remove", Untried, "import os\nwhile True:\n    os.mkdir('d')\n    os.chdir('d')"),
];

#[test]
fn none_reaches_files() {
    check_all(ATTACKS);
}
