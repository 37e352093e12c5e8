//! Attacks on the channel: what a program writes there in place of what it is asked for.

use super::Known::Untried;
use super::{Attack, check_all};

macro_rules! on_the_channel {
    ($code:literal) => {
        concat!(
            "import os, json\n",
            "def say(tag, body=b''): os.write(3, (len(body) + 1).to_bytes(4, 'little') + tag + body)\n",
            "def answer(**said): say(b'R', json.dumps(said).encode())\n",
            $code
        )
    };
}

pub(super) const ATTACKS: &[Attack] = &[
    ("the verdict, said by the program", Untried, on_the_channel!("say(b'P')\nsay(b'P')\ndef f(x): return None")),
    ("the verdict, in place of having loaded", Untried, on_the_channel!("say(b'P')\nos.close(3)")),
    ("the verdict, as an answer", Untried, on_the_channel!("def f(x): say(b'P')")),
    (
        "the verdict, everywhere",
        Untried,
        "import os\nfor n in range(64):\n    try: os.write(n, b'\\x01\\0\\0\\0P' * 9)\n    except OSError: pass\ndef f(x): return None",
    ),
    ("loaded twice", Untried, on_the_channel!("say(b'L')\nsay(b'L')\nsay(b'P')\ndef f(x): return None")),
    (
        "a wall that is said to be missing",
        Untried,
        on_the_channel!("say(b'!', b'{\"wall\": \"namespaces\", \"why\": \"no\"}')\ndef f(x): say(b'!', b'{}')"),
    ),
    ("being ready again", Untried, on_the_channel!("def f(x): say(b'r')")),
    (
        "an answer before the question",
        Untried,
        on_the_channel!("say(b'L')\nanswer(value=4)\nanswer(value=4)\ndef f(x): return None"),
    ),
    (
        "two answers",
        Untried,
        on_the_channel!("def f(x):\n    answer(value=4)\n    answer(value=4)\n    answer(value=4)"),
    ),
    (
        "half an answer",
        Untried,
        on_the_channel!("def f(x):\n    os.write(3, b'\\xff\\0\\0\\0R{')\n    while True: pass"),
    ),
    ("no answer", Untried, on_the_channel!("import time\ndef f(x): time.sleep(99)")),
    (
        "an answer a byte at a time",
        Untried,
        on_the_channel!(
            "import time\ndef f(x):\n    for byte in b'\\xff\\0\\0\\0R{':\n        os.write(3, bytes([byte]))\n        time.sleep(1)"
        ),
    ),
    ("four gigabytes, announced", Untried, on_the_channel!("def f(x): os.write(3, b'\\xff\\xff\\xff\\xffR')")),
    ("nothing, announced", Untried, on_the_channel!("def f(x): os.write(3, bytes(4))")),
    ("noise", Untried, on_the_channel!("def f(x): os.write(3, os.urandom(1 << 16))")),
    ("noise without end", Untried, on_the_channel!("while True: os.write(3, os.urandom(1 << 16))")),
    ("a closed channel", Untried, "import os\nos.close(3)\ndef f(x): return None"),
    ("another channel", Untried, "import os\nr, w = os.pipe()\nos.dup2(w, 3)\ndef f(x): return None"),
    (
        "a channel that reads itself",
        Untried,
        "import os\nr, w = os.pipe()\nos.write(w, b'\\x01\\0\\0\\0P')\nos.dup2(r, 3)\ndef f(x): return None",
    ),
    (
        "questions read behind the harness",
        Untried,
        on_the_channel!("say(b'L')\nwhile True: say(b'P', os.read(3, 1 << 16)[5:])"),
    ),
    ("no JSON", Untried, on_the_channel!("def f(x): say(b'R', b'\\xff{')")),
    ("JSON without sense", Untried, on_the_channel!("def f(x): say(b'R', b'[[[]]]')")),
    ("JSON too deep", Untried, on_the_channel!("def f(x): say(b'R', b'[' * (1 << 20))")),
    ("numbers that JSON does not know", Untried, on_the_channel!("def f(x): say(b'R', b'{\"value\": Infinity}')")),
    (
        "a number without end",
        Untried,
        on_the_channel!("def f(x): say(b'R', b'{\"value\": ' + b'9' * (8 << 20) + b'}')"),
    ),
    ("a value of two kinds", Untried, on_the_channel!("def f(x): answer(value={'int': '4', 'str': '4'})")),
    ("a value of an unknown kind", Untried, on_the_channel!("def f(x): answer(value={'eval': 'exit()'})")),
    ("Python's own eval", Untried, on_the_channel!("def f(x): answer(value={'shared': 'eval'})")),
    ("a function of the tests that there is not", Untried, on_the_channel!("def f(x): answer(value={'callable': 0})")),
    (
        "a call of a function that there is not",
        Untried,
        on_the_channel!("def f(x): say(b'B', b'{\"call\": 0, \"args\": [], \"kwargs\": {\"dict\": []}}')"),
    ),
    ("an object with the name of another", Untried, on_the_channel!("def f(x): answer(value={'handle': [1]})")),
    ("an object of the judge", Untried, on_the_channel!("def f(x): answer(value={'name': 'f'})")),
    ("keys that cannot be", Untried, on_the_channel!("def f(x): answer(value={'dict': [[[1], 2]]})")),
    ("a range without end", Untried, on_the_channel!("def f(x): answer(value={'range': ['0', 'f' * 99, '1']})")),
    ("a number of text without end", Untried, on_the_channel!("def f(x): answer(value={'decimal': '1e' + '9' * 18})")),
    ("a change to nothing", Untried, on_the_channel!("def f(x): answer(value=4, changed={'99': [1]})")),
    (
        "a change to the test",
        Untried,
        on_the_channel!("def f(x): answer(value=4, changed={'-1': [1], '0': 4, 'x': 1})"),
    ),
    ("an exit, said to be an error", Untried, on_the_channel!("def f(x): answer(raised=['SystemExit'], args=[0])")),
    (
        "the end of the file, said to be an error",
        Untried,
        on_the_channel!("def f(x): answer(raised=['EOFError'], args=[])"),
    ),
    (
        "an interrupt, said to be an error",
        Untried,
        on_the_channel!("def f(x): answer(raised=['KeyboardInterrupt', 'GeneratorExit'], args=[])"),
    ),
    (
        "an error that cannot be made",
        Untried,
        on_the_channel!("def f(x): answer(raised=['UnicodeDecodeError', 'type', 'object'], args=[1, 2, 3, 4, 5, 6])"),
    ),
    ("an error that is none", Untried, on_the_channel!("def f(x): answer(raised=7, args=7)")),
    (
        "an error with a surprise",
        Untried,
        on_the_channel!("def f(x): answer(raised=['ValueError'], args=[{'handle': 3}])"),
    ),
];

#[test]
fn none_speaks_for_its_judge() {
    check_all(ATTACKS);
}
