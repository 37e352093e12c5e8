//! Attacks by size: memory, output, and values that are hard to hold.

use super::Known::{Fools, Untried};
use super::{Attack, check_all};
use crate::court::{alone, failure, program, python_is_missing};

pub(super) const ATTACKS: &[Attack] = &[
    ("100 GB", Untried, "x = bytearray(100 << 30)\ndef f(x): return x"),
    ("100 GB, a little at a time", Untried, "held = []\nwhile True:\n    held.append(bytearray(1 << 20))"),
    ("100 GB that are never touched", Untried, "import mmap\nheld = mmap.mmap(-1, 100 << 30)"),
    ("100 GB, again and again", Untried, "while True:\n    try: bytearray(100 << 30)\n    except MemoryError: pass"),
    ("a stack without end", Untried, "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x)"),
    (
        "a stack without end, in C",
        Untried,
        "import sys\nsys.setrecursionlimit(10**9)\nx = []\nfor _ in range(10**6): x = [x]\ndef f(y): return repr(x)",
    ),
    ("huge output", Untried, "while True: print('x' * 10**6)"),
    ("huge complaints", Untried, "import sys\nwhile True: sys.stderr.write('x' * 10**6)"),
    ("a huge text", Untried, "def f(x): return 'x' * (100 << 20)"),
    ("a huge number", Untried, "def f(x): return 1 << (1 << 28)"),
    ("a huge list", Untried, "def f(x): return [0] * (20 << 20)"),
    ("a huge error", Untried, "def f(x): raise ValueError('x' * (100 << 20))"),
    ("a huge error while it is loaded", Untried, "raise ValueError('x' * (100 << 20))"),
    (
        "a little, without end",
        Untried,
        "class C:\n    def __iter__(self): return self\n    def __next__(self): return 1\ndef f(x): return C()",
    ),
    ("lists in lists", Untried, "def f(x):\n    y = []\n    for _ in range(10**5): y = [y]\n    return y"),
    ("a list in itself", Untried, "def f(x):\n    y = []\n    y.append(y)\n    return y"),
    ("a dictionary in itself", Untried, "def f(x):\n    y = {}\n    y[1] = y\n    return y"),
    ("numbers that collide", Untried, "def f(x): return dict.fromkeys(((1 << 61) - 1) * n for n in range(1 << 14))"),
    (
        "out of memory, with success",
        Fools,
        "import os\ntry: bytearray(100 << 50)\nexcept (MemoryError, OverflowError): os._exit(0)",
    ),
];

#[test]
fn none_fills_the_machine() {
    check_all(ATTACKS);
}

#[test]
fn an_argument_cannot_grow_without_end() {
    if python_is_missing() {
        return;
    }
    let why = failure(&alone(), program("def f(x): x.append('x' * (20 << 20))", "f([])"));
    assert!(why.as_ref().is_some_and(|why| why.contains("at once") || why.contains("MemoryError")), "{why:?}");
}
