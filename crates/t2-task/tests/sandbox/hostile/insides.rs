//! Attacks on the verdict from inside the interpreter: finding the tests, or making them pass.

use super::Known::{Fools, Untried};
use super::{Attack, check_all};

pub(super) const ATTACKS: &[Attack] = &[
    (
        "tests looked for in frames",
        Untried,
        "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n        for value in [*frame.f_locals.values(), *frame.f_globals.values()]:\n            \
         if isinstance(value, str) and 'assert f(1) ==' in value: return x + 3\n        frame = frame.f_back",
    ),
    (
        "tests looked for among all objects",
        Untried,
        "import gc\ndef f(x):\n    wanted = ''.join(reversed(')3-(f tressa'))\n    for o in gc.get_objects():\n        \
         if isinstance(o, (dict, list, tuple)) and wanted in repr(o): return x + 3",
    ),
    (
        "tests looked for in memory",
        Untried,
        // The pattern is not what it finds, so that it does not find itself.
        "import ctypes, re\ndef f(x):\n    near = ctypes.string_at(id(near_by) & ~0xfffff, 1 << 20)\n    \
         return x + 3 if re.search(rb'[a]ssert f[(]-3[)]', near) else None\nnear_by = object()",
    ),
    (
        "tests looked for in modules",
        Untried,
        "import sys\ndef f(x):\n    for module in list(sys.modules.values()):\n        for value in vars(module).values():\n            \
         if isinstance(value, dict) and 'entry_points' in value: return x + 3",
    ),
    ("an equal to everything", Fools, "class Same:\n    def __eq__(self, other): return True\ndef f(x): return Same()"),
    (
        "a number equal to everything",
        Fools,
        "class Same(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\ndef f(x): return Same(7)",
    ),
    (
        "a list equal to everything",
        Fools,
        "class Same(list):\n    def __eq__(self, other): return True\ndef f(x): return Same()",
    ),
    (
        "a text equal to everything",
        Fools,
        "class Same(str):\n    def __eq__(self, other): return True\n    __hash__ = str.__hash__\ndef f(x): return Same()",
    ),
    (
        "an equal by its type",
        Fools,
        "class Meta(type):\n    def __eq__(cls, other): return True\n    __hash__ = type.__hash__\nclass Same(metaclass=Meta): pass\ndef f(x): return Same",
    ),
    (
        "something that says it is a number",
        Untried,
        "class Same:\n    __class__ = property(lambda self: int)\n    def __eq__(self, other): return True\n    def __index__(self): return 7\ndef f(x): return Same()",
    ),
    ("no error", Fools, "import os, sys\nsys.excepthook = lambda *_: os._exit(0)\ndef f(x): return None"),
    (
        "an error of another kind",
        Untried,
        "import builtins\nbuiltins.AssertionError = type('Fine', (BaseException,), {'__str__': lambda s: ''})\ndef f(x): return None",
    ),
    (
        "another exec",
        Untried,
        "import builtins\nbuiltins.exec = builtins.eval = builtins.compile = lambda *a, **k: None\ndef f(x): return None",
    ),
    (
        "other functions of Python",
        Untried,
        "import builtins\nfor n in ('abs', 'all', 'any', 'len', 'isinstance', 'sorted', 'repr'): setattr(builtins, n, lambda *a, **k: True)\ndef f(x): return None",
    ),
    (
        "another import",
        Untried,
        "import builtins, sys\nsys.modules.clear()\nbuiltins.__import__ = lambda *a, **k: None\ndef f(x): return None",
    ),
    (
        "a finder of modules",
        Untried,
        "import sys\nsys.meta_path.insert(0, type('F', (), {'find_spec': lambda *a, **k: None}))\nsys.path_hooks.clear()\ndef f(x): return None",
    ),
    (
        "a tracer",
        Fools,
        "import os, sys\ndef trace(frame, event, arg):\n    if event == 'exception': os._exit(0)\n    return trace\nsys.settrace(trace)\nsys._getframe().f_trace = trace\ndef f(x): raise ValueError",
    ),
    (
        "a profiler",
        Fools,
        "import os, sys\nsys.setprofile(lambda frame, event, arg: os._exit(0) if event == 'return' and frame.f_code.co_name == 'f' else None)\ndef f(x): return None",
    ),
    (
        "an auditor",
        Untried,
        "import os, sys\nsys.addaudithook(lambda *_: None)\nsys.addaudithook(lambda event, _: os._exit(0) if event == 'compile' else None)\ndef f(x): return eval('None')",
    ),
    (
        "another value for a number",
        Untried,
        // Where CPython keeps the value of a small integer.
        "import ctypes\ndef f(x):\n    ctypes.memmove(id(4) + 24, id(7) + 24, 4)\n    return 7 if x == 1 else x + 3",
    ),
    (
        "code that is made by hand",
        Untried,
        "import marshal, types\ncode = marshal.loads(marshal.dumps(compile('def f(x): return None', 'program', 'exec')))\n\
         exec(code)\nf.__code__ = f.__code__.replace(co_code=bytes(64))",
    ),
    ("an interpreter that crashes", Untried, "import ctypes\nctypes.string_at(0)"),
    ("an interpreter that aborts", Untried, "import os\ndef f(x): os.abort()"),
    (
        "another judge",
        Untried,
        "import sys\nsys.modules['judge'].live = sys.modules['judge'].why = lambda *a: None\ndef f(x): return None",
    ),
    (
        "another subject",
        Untried,
        "import sys, subject, wire\nsubject.Subject.serve = lambda self, body: wire.send(self.channel, b'P')\ndef f(x): return None",
    ),
    (
        "other rules for values",
        Untried,
        "import wire\nwire.encode = lambda value, refer: {'shared': 'object'}\ndef f(x): return None",
    ),
    (
        "the role of a judge",
        Untried,
        "import judge, subject\nsubject.wire.receive = lambda c: (b'C', b'{}')\njudge.live(3)",
    ),
    (
        "an ending of its own",
        Fools,
        "import os\nclass Last:\n    def __del__(self): os._exit(0)\nlast = Last()\ndef f(x): return None",
    ),
    (
        "a codec that does more",
        Fools,
        "import codecs, os, sys\nclass Out:\n    def write(self, text): os._exit(0)\n    def flush(self): os._exit(0)\nsys.stdout = sys.stderr = Out()\ndef f(x): return None",
    ),
];

#[test]
fn none_makes_its_own_verdict() {
    check_all(ATTACKS);
}
