//! Attacks by system calls: networks, namespaces, mounts, other processes' memory, and whatever else a kernel offers.

use super::Known::{Loose, LooseUntried, Untried};
use super::{Attack, check_all};

pub(super) const ATTACKS: &[Attack] = &[
    ("a socket", Loose, "return socket.socket()"),
    ("a socket for datagrams", Loose, "return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"),
    ("a socket of IPv6", LooseUntried, "return socket.socket(socket.AF_INET6)"),
    ("a raw socket", LooseUntried, "return socket.socket(socket.AF_INET, socket.SOCK_RAW, 1) or socket.socket(17, 3)"),
    ("a local socket", Loose, "return socket.socket(socket.AF_UNIX)"),
    ("a pair of sockets", Loose, "return socket.socketpair()"),
    ("a socket to the kernel", Loose, "return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)"),
    ("listening", Loose, "return socket.create_server(('127.0.0.1', 0))"),
    ("names of hosts", Untried, "import socket\nsocket.getaddrinfo('example.org', 80)"),
    ("fetching a page", Untried, "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:80')"),
    ("tracing the parent", LooseUntried, "return libc.ptrace(16, os.getppid(), 0, 0) == 0"),
    ("being traced", Loose, "return libc.ptrace(0, 0, 0, 0) == 0"),
    (
        "reading another process's memory",
        LooseUntried,
        "return libc.process_vm_readv(os.getppid(), bytes(16), 1, bytes(16), 1, 0) >= 0",
    ),
    ("opening another process", Loose, "return os.pidfd_open(os.getpid())"),
    ("a namespace of its own", LooseUntried, "return libc.unshare(0x10000000) == 0"),
    ("a mount", LooseUntried, "return libc.mount(b'x', b'.', b'tmpfs', 0, None) == 0"),
    ("a mount of the host's root", LooseUntried, "return libc.syscall(428, -100, b'/', 1) >= 0"),
    ("taking a wall down", LooseUntried, "return libc.umount2(b'/', 2) == 0 or libc.umount2(b'/box/scratch', 2) == 0"),
    ("another root", LooseUntried, "os.chroot('.')\nreturn True"),
    ("being root", LooseUntried, "os.setuid(0)\nreturn True"),
    (
        "capabilities",
        LooseUntried,
        "import struct\nreturn libc.capset(struct.pack('Ii', 0x20080522, 0), b'\\xff' * 24) == 0",
    ),
    ("keys of the kernel", LooseUntried, "return libc.syscall(248, b'user', b't2', b'x', 1, -3) >= 0"),
    ("programs in the kernel", LooseUntried, "return libc.syscall(321, 0, bytes(128), 128) >= 0"),
    ("rings of requests", LooseUntried, "return libc.syscall(425, 1, bytes(120)) >= 0"),
    ("faults of its own", LooseUntried, "return libc.syscall(323, 1) >= 0"),
    ("events of the processor", LooseUntried, "return libc.syscall(298, bytes(128), 0, -1, -1, 0) >= 0"),
    ("files without a name", Loose, "return os.memfd_create('x')"),
    (
        "queues of messages",
        Loose,
        "queue = libc.msgget(0, 0o1600)\nreturn queue >= 0 and libc.msgctl(queue, 0, None) == 0",
    ),
    (
        "memory that is shared",
        Loose,
        "shared = libc.shmget(0, 4096, 0o1600)\nreturn shared >= 0 and libc.shmctl(shared, 0, None) == 0",
    ),
    ("watching files", Loose, "return libc.inotify_init() >= 0"),
    ("another system in place of this one", LooseUntried, "return libc.syscall(246, 0, 0, 0, 0) == 0"),
    ("the end of the system", LooseUntried, "return libc.reboot(0) == 0"),
    ("the clock", LooseUntried, "return libc.settimeofday(bytes(16), None) == 0"),
    ("the name of the machine", LooseUntried, "return libc.sethostname(b'x', 1) == 0"),
    ("loading a module", LooseUntried, "return libc.syscall(175, b'', 0, b'') == 0"),
    ("the ports of the machine", LooseUntried, "return libc.iopl(3) == 0"),
    ("calls of 32 bits", Untried, MACHINE_CODE),
    ("calls by a number that is not checked", LooseUntried, "return libc.syscall(0x40000000 | 39) > 0"),
];

/// `mov eax, 20; int 0x80; ret`: asks for the process's number in the way of 32-bit programs, whose calls have other
/// numbers. The page is 4096 bytes that may be written and run.
const MACHINE_CODE: &str = "import ctypes, mmap\n\
    page = mmap.mmap(-1, 4096, prot=7)\n\
    page.write(bytes.fromhex('b814000000cd80c3'))\n\
    at = ctypes.addressof(ctypes.c_char.from_buffer(page))\n\
    done = ctypes.CFUNCTYPE(ctypes.c_int)(at)()\n\
    def f(x): return x + 3 if done > 0 else None";

#[test]
fn none_gets_through_the_kernel() {
    check_all(ATTACKS);
}
