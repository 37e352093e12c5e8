//! Programs as models write them: what is right passes, what is wrong does not, and the reason is given.

use std::time::{Duration, Instant};

use t2_task::sandbox::{Limits, Outcome, Program, Sandbox, SandboxConfig, Tests, Walls};

use crate::court::{alone, failure, program, python_is_missing, strict};

const ADDS_THREE: &str = "assert f(1) == 4\nassert f(-3) == 0";

/// Programs that are to add three: name, code, and a part of the reason why they fail, or nothing where they pass.
const PROGRAMS: &[(&str, &str, Option<&str>)] = &[
    ("right", "def f(x):\n    return x + 3", None),
    ("wrong", "def f(x):\n    return x - 3", Some("AssertionError (at `assert f(1) == 4`)")),
    ("right only once", "def f(x):\n    return 4", Some("assert f(-3) == 0")),
    ("imports", "import math, collections, re, itertools\ndef f(x):\n    return math.floor(x) + 3", None),
    ("imports what is compiled", "import hashlib, sqlite3, zlib, lzma, decimal\ndef f(x):\n    return x + 3", None),
    ("prints", "def f(x):\n    print(x)\n    return x + 3", None),
    ("no function", "x = 1", Some("NameError: name 'f' is not defined")),
    ("empty", "", Some("NameError")),
    ("syntax error", "def f(x)\n    return x + 3", Some("SyntaxError")),
    ("zero byte", "def f(x):\n    return x + 3\0", Some("null bytes")),
    ("infinite loop", "def f(x):\n    while True:\n        pass", Some("took ")),
    ("deep recursion", "def f(x):\n    return f(x)", Some("RecursionError")),
    ("memory bomb", "def f(x):\n    y = [0] * 10**9\n    return x + 3", Some("MemoryError")),
    ("sys.exit", "import sys\nsys.exit(0)", Some("SystemExit")),
    ("os._exit", "import os\nos._exit(0)", Some("left early, with exit status 0")),
    ("exit in the function", "def f(x):\n    raise SystemExit(0)", Some("SystemExit")),
    ("sleeps", "import time\ndef f(x):\n    time.sleep(99)", Some("took longer than")),
    ("division by zero", "def f(x):\n    return x / 0", Some("ZeroDivisionError: division by zero")),
    ("an error of its own", "class E(Exception): pass\ndef f(x):\n    raise E('no')", Some("no")),
    (
        "writes in its scratch folder",
        "def f(x):\n    open('note', 'w').write('3')\n    return x + int(open('note').read())",
        None,
    ),
    (
        "a temporary file",
        "import tempfile\ndef f(x):\n    with tempfile.TemporaryFile() as t:\n        return x + 3",
        None,
    ),
    (
        "dataclass with postponed annotations",
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n\
         def f(x):\n    return P(x).x + 3",
        None,
    ),
    (
        "type hints",
        "import typing\nclass P:\n    x: 'Q'\nclass Q: pass\n\
         def f(x):\n    return x + 3 * (typing.get_type_hints(P)['x'] is Q)",
        None,
    ),
    (
        "pickles its own class",
        "import pickle\nclass P: pass\ndef f(x):\n    p = P()\n    p.x = x\n    \
         return pickle.loads(pickle.dumps(p)).x + 3",
        None,
    ),
    (
        "asks for input of its own",
        "import io, sys\ndef f(x):\n    sys.stdin = io.StringIO('3')\n    return x + int(input())",
        None,
    ),
    ("sets a variable", "import os\nos.environ['A'] = '3'\ndef f(x):\n    return x + int(os.environ['A'])", None),
    ("waits a little", "import time\ntime.sleep(0.001)\ndef f(x):\n    return x + 3", None),
    ("has a main guard", "def f(x):\n    return x + 3\nif __name__ == '__main__':\n    print(f(int(input())))", None),
    (
        "threads",
        "from concurrent.futures import ThreadPoolExecutor\ndef f(x):\n    with ThreadPoolExecutor(4) as pool:\n        \
         return sum(pool.map(int, [x, 1, 1, 1]))",
        None,
    ),
    (
        "a timer with a handler",
        "import signal\nsignal.signal(signal.SIGALRM, print)\nsignal.alarm(9)\ndef f(x):\n    return x + 3",
        None,
    ),
    (
        "a cached recursion",
        "from functools import cache\n@cache\ndef f(x):\n    return 3 if x == 0 else f(x - (1 if x > 0 else -1)) + (1 if x > 0 else -1)",
        None,
    ),
];

/// What goes between a program and its tests: name, code, tests, whether they pass.
const VALUES: &[(&str, &str, &str, bool)] = &[
    (
        "numbers",
        "def f(x): return x",
        "for x in (0, -1, 10**30, 0.1, -0.0, 1e308, 2j): assert repr(f(x)) == repr(x)\nassert f(-10**5000) == -10**5000",
        true,
    ),
    (
        "what is no number",
        "def f(): return float('nan'), float('-inf')",
        "a, b = f()\nassert a != a and b < -1e308",
        true,
    ),
    ("text", "def f(x): return x", "for x in ('', 'ä\\n\\0', '\\ud800', '\\U0001f600' * 9): assert f(x) == x", true),
    (
        "bytes",
        "def f(x): return x",
        "for x in (b'\\x00a', bytearray(b'b')): assert f(x) == x and type(f(x)) is type(x)",
        true,
    ),
    (
        "containers",
        "def f(x): return x",
        "from collections import deque\nx = [1, (2, 'b'), {3}, frozenset('a'), {1: [None], (1, 2): True}, range(3), deque([1], 2)]\n\
         assert f(x) == x and [type(y) for y in f(x)] == [type(y) for y in x]",
        true,
    ),
    (
        "numbers and dates of the library",
        "def f(x): return x",
        "import datetime as d, decimal, fractions\nfor x in (decimal.Decimal('1.10'), fractions.Fraction(1, 3), d.date(2024, 2, 29), \
         d.datetime(2024, 2, 29, 1, 2, 3, 4), d.time(1), d.timedelta(1.5)): assert f(x) == x and type(f(x)) is type(x)",
        true,
    ),
    (
        "subclasses become plain",
        "from collections import Counter\ndef f(x): return Counter(x)",
        "assert f('aab') == {'a': 2, 'b': 1}",
        true,
    ),
    (
        "named tuples become plain",
        "from typing import NamedTuple\nclass P(NamedTuple):\n    x: int\ndef f(x): return P(x)",
        "assert f(1) == (1,) and type(f(1)) is tuple",
        true,
    ),
    ("views", "def f(): return {1: 2}.keys(), {1: 2}.items()", "k, i = f()\nassert k == {1} and i == {(1, 2)}", true),
    (
        "generators",
        "def f(n):\n    for i in range(n): yield i",
        "assert list(f(3)) == [0, 1, 2]\nassert next(f(1)) == 0",
        true,
    ),
    (
        "the end of a generator, by next",
        "def f(): yield 1",
        "it = f()\nassert next(it) == 1 and next(it, 2) == 2\ntry:\n    next(it)\nexcept StopIteration:\n    pass\nelse:\n    assert False",
        true,
    ),
    ("map and zip", "def f(x): return zip(map(str, x), x)", "assert dict(f([1, 2])) == {'1': 1, '2': 2}", true),
    (
        "objects",
        "class C:\n    def __init__(self, x): self.x = x\n    def add(self, y): self.x += y\n    def __len__(self): return self.x",
        "c = C(1)\nc.add(2)\nassert c.x == 3 and len(c) == 3 and c == c and C(1) != C(1)\nc.x = 5\nassert c.x == 5",
        true,
    ),
    ("keyword arguments", "def f(a, *, b=2): return a - b", "assert f(1) == -1 and f(b=1, a=5) == 4", true),
    ("an argument that is changed", "def f(x): x.sort()", "x = [3, 1, 2]\ny = x\nf(x)\nassert y == [1, 2, 3]", true),
    (
        "an argument that is changed inside",
        "def f(x): x[0].append(1); x[1]['a'] = 2; x.append(3)",
        "a, b = [], {}\nx = [a, b]\nf(x)\nassert a == [1] and b == {'a': 2} and x == [a, b, 3] and x[0] is a",
        true,
    ),
    ("an argument that is not changed", "def f(x): x = sorted(x)", "x = [3, 1, 2]\nf(x)\nassert x == [3, 1, 2]", true),
    ("functions of the tests", "def f(g, x): return g(g(x))", "assert f(lambda x: x * 2, 3) == 12", true),
    ("functions of Python", "def f(g, x): return g(x)", "assert f(len, 'abc') == 3 and f(int, '7') == 7", true),
    ("types", "def f(x): return type(x)", "assert f(1) is int and f('') == str", true),
    (
        "functions that call each other",
        "def f(g, n): return g(f, n)",
        "assert f(lambda f, n: n if n > 3 else f(lambda f, n: n + 1, n), 1) == 2",
        true,
    ),
    (
        "errors",
        "def f(x): raise ValueError('bad', x)",
        "try:\n    f(1)\nexcept ValueError as e:\n    assert e.args == ('bad', 1)\nelse:\n    assert False",
        true,
    ),
    (
        "errors of its own",
        "class E(KeyError): pass\ndef f(): raise E('k')",
        "try:\n    f()\nexcept KeyError:\n    pass\nelse:\n    assert False",
        true,
    ),
    ("errors that nobody expected", "def f(): raise ValueError", "try:\n    f()\nexcept KeyError:\n    pass", false),
    (
        "modules that the tests forgot to import",
        "import math\ndef f(x): return x + 1e-12",
        "assert math.isclose(f(1), 1)",
        true,
    ),
    (
        "a module that the program changed",
        "import math\nmath.isclose = lambda a, b: True\ndef f(x): return x + 1",
        "assert math.isclose(f(1), 1)",
        false,
    ),
    ("functions named as Python's own modules are", "def copy(x): return x + 1", "assert copy(1) == 2", true),
    ("other functions of the program", "def g(x): return x + 1\ndef f(x): return g(x)", "assert f(1) == g(1)", true),
    ("a constant", "LIMIT = 3\ndef f(x): return x < LIMIT", "assert f(2) and not f(3)", true),
    ("random numbers", "import random\ndef f(): return random.random()", "assert f() != f()", true),
    ("objects of the tests' own, which stay there", "def f(x): return str(x)", "class C:\n    pass\nf(C())", false),
];

#[track_caller]
fn check(name: &str, code: &str, tests: &str, reason: Option<&str>) {
    let why = failure(&alone(), program(code, tests));
    match (&why, reason) {
        (None, None) => {}
        (Some(why), Some(reason)) if why.contains(reason) => {}
        _ => panic!("{name}: failed for {why:?}, expected {reason:?}"),
    }
}

#[test]
fn programs_get_the_verdict_they_deserve() {
    if python_is_missing() {
        return;
    }
    for (name, code, reason) in PROGRAMS {
        check(name, code, ADDS_THREE, *reason);
    }
}

#[test]
fn values_are_what_they_were() {
    if python_is_missing() {
        return;
    }
    for (name, code, tests, passes) in VALUES {
        check(name, code, tests, if *passes { None } else { Some("") });
    }
}

#[test]
fn a_prelude_defines_what_the_question_gives() {
    if python_is_missing() {
        return;
    }
    let tests = |entry: &[&str]| Tests {
        prelude: "import math\ndef given(x): return x + 1\ndef f(x):\n    \"\"\"Add two.\"\"\"\n".into(),
        code: "assert f(math.floor(1.5)) == given(given(1))".into(),
        entry_points: entry.iter().map(|name| (*name).into()).collect(),
    };
    // The program's `given` is another one, and is not asked.
    let code = "def given(x): return x\ndef f(x): return given(x) + 2";
    for (entry, passes) in [(&["f"][..], true), (&[], false), (&["f", "given"], false)] {
        let program = Program { code: code.into(), tests: tests(entry) };
        assert_eq!(failure(&alone(), program).is_none(), passes, "{entry:?}");
    }
}

#[test]
fn a_large_batch_keeps_its_order() {
    if python_is_missing() {
        return;
    }
    let programs: Vec<_> =
        (0..60).map(|n| program("def f(x):\n    return x % 3", &format!("assert f({n}) == 0"))).collect();
    let outcomes = alone().run(&programs).unwrap();
    assert!(outcomes.iter().enumerate().all(|(n, outcome)| outcome.is_passed() == (n % 3 == 0)), "{outcomes:?}");
}

#[test]
fn equal_programs_are_run_once() {
    if python_is_missing() {
        return;
    }
    let slow = program("while True:\n    pass", "");
    let started = Instant::now();
    let _alone = alone();
    // As long as a busy machine may take for a second on a processor.
    let limits = Limits { cpu_seconds: 1, ..Limits::default() };
    let outcomes = Sandbox::new(SandboxConfig { limits, ..strict() }).run(&vec![slow; 50]).unwrap();
    assert!(matches!(&outcomes[0], Outcome::Failed { why } if why.contains("processor time")), "{outcomes:?}");
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0] && !outcome.is_passed()), "{outcomes:?}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn nothing_is_started_for_no_program() {
    let python = Some("no-such-python".into());
    let sandbox = Sandbox::new(SandboxConfig { python, ..SandboxConfig::default() });
    assert_eq!(sandbox.run(&[]).unwrap(), []);
}

#[test]
fn two_threads_share_a_sandbox() {
    if python_is_missing() {
        return;
    }
    let sandbox = alone();
    let sandbox = &*sandbox;
    std::thread::scope(|scope| {
        for n in 0..2 {
            scope.spawn(move || {
                let right = program(&format!("def f():\n    return {n}"), &format!("assert f() == {n}"));
                assert_eq!(sandbox.run(&[right]).unwrap(), [Outcome::Passed]);
            });
        }
    });
}

#[test]
fn without_walls_the_verdicts_are_the_same() {
    if python_is_missing() {
        return;
    }
    let _alone = alone();
    // Without a wall an infinite loop still ends, and takes what it started with it.
    let limits = Limits { cpu_seconds: 1, ..Limits::default() };
    let sandbox = Sandbox::new(SandboxConfig { walls: Walls::None, limits, ..SandboxConfig::default() });
    let some = PROGRAMS.iter().filter(|(name, ..)| *name != "sleeps");
    let programs: Vec<_> = some.clone().map(|(_, code, _)| program(code, ADDS_THREE)).collect();
    let outcomes = sandbox.run(&programs).unwrap();
    for ((name, _, reason), outcome) in some.zip(outcomes) {
        assert_eq!(outcome.is_passed(), reason.is_none(), "{name}: {outcome:?}");
    }
}
