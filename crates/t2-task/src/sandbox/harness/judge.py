"""The judge's cell: runs the tests, and asks the program for what they call, over the channel.

The verdict is made here, of values that were rebuilt from plain ones; the program has no part in this process.
"""
import ast
import builtins
import sys
import symtable
import traceback
from collections import deque
from importlib.machinery import PathFinder

import wire

WHY_LENGTH = 300


class Handle:
    """Something of the program's that is no plain value: a function, a class, an object, an iterator.

    What is done with it is done there. It is true, it equals itself and nothing else, and it has no order; whether it
    holds something is found out by going through it. What the tests compare is compared here.
    """

    def __init__(self, asker, told):
        object.__setattr__(self, "_asker", asker)
        object.__setattr__(self, "_told", told)

    def __eq__(self, other):
        return type(other) is Handle and self._told == other._told

    def __hash__(self):
        return hash(str(self._told))

    def __bool__(self):
        return True

    def __call__(self, *args, **kwargs):
        return self._asker.ask("call", self, *args, **kwargs)

    def __getattr__(self, name):
        return self._asker.ask("get", self, name)

    def __setattr__(self, name, value):
        self._asker.ask("set", self, name, value)

    def __getitem__(self, key):
        return self._asker.ask("item", self, key)

    def __setitem__(self, key, value):
        self._asker.ask("put", self, key, value)

    def __delitem__(self, key):
        self._asker.ask("remove", self, key)

    def __iter__(self):
        return self._asker.ask("iterate", self)

    def __next__(self):
        return self._asker.ask("next", self)

    def __len__(self):
        return self._asker.ask("length", self)

    def __str__(self):
        return self._asker.ask("text", self)

    def __repr__(self):
        return self._asker.ask("picture", self)


class Asker:
    """The way to the program: sends what the tests ask for, and rebuilds what comes back."""

    def __init__(self, channel):
        self.channel = channel
        self.handles = {}
        self.callables = []

    def ask(self, do, *args, **kwargs):
        asked = {"do": do, "args": self.encode(list(args)), "kwargs": self.encode(kwargs)}
        wire.send(self.channel, b"C", wire.dumps(asked))
        tag, body = wire.receive(self.channel)
        while tag == b"B":
            wire.send(self.channel, b"A", wire.dumps(self.called_back(body)))
            tag, body = wire.receive(self.channel)
        said = wire.loads(body)
        if type(said) is not dict or "value" not in said and "raised" not in said:
            raise wire.Malformed("an answer that says nothing")
        for at, data in said.get("changed", {}).items():
            update(args[1 + int(at)], wire.read(data, self.find))
        if "raised" in said:
            error = wire.exception(said, self.find)
            if do != "next" and isinstance(error, StopIteration):
                # It would end a loop of the tests, as if all had been asked: `all(map(…))` is true then.
                error = RuntimeError("the program stopped an iteration that is not its own")
            raise error
        return wire.read(said["value"], self.find)

    def called_back(self, body):
        """What a function of the tests says to the program that was given it."""
        asked = wire.loads(body)
        function = self.callables[asked["call"]]
        args, kwargs = wire.read([asked["args"], asked["kwargs"]], self.find)
        try:
            return {"value": self.encode(function(*args, **kwargs))}
        except Exception as error:
            return wire.raised(error)

    def encode(self, value):
        return wire.encode(value, self.refer)

    def refer(self, value):
        if type(value) is Handle:
            return value._told
        if not callable(value):
            raise TypeError(f"a {type(value).__name__} cannot be handed to a program, only plain values and functions")
        self.callables.append(value)
        return {"callable": len(self.callables) - 1}

    def find(self, kind, name):
        if kind == "callable":
            return self.callables[name]
        if kind != "handle" or type(name) is not int:
            raise wire.Malformed(f"a value of the kind {kind!r}")
        return self.handles.setdefault(name, Handle(self, {"handle": name}))


def update(old, new):
    """Gives a container the contents of another one, in place, and so on inside, as the program changed its copy."""
    if type(old) is not type(new):
        return
    if type(old) in (list, deque):
        kept = [inside(was, now) for was, now in zip(old, new)]
        rest = list(new)[len(kept):]
        old.clear()
        old.extend(kept + rest)
    elif type(old) is dict:
        kept = {key: inside(old[key], now) if key in old else now for key, now in new.items()}
        old.clear()
        old.update(kept)
    elif type(old) is set:
        old.clear()
        old.update(new)
    elif type(old) is bytearray:
        old[:] = new
    elif type(old) is tuple:
        for was, now in zip(old, new):
            update(was, now)


def inside(was, now):
    """The old item where it is a container that can become the new one, else the new one."""
    if type(was) is type(now) and type(was) in (list, dict, set, bytearray, deque):
        update(was, now)
        return was
    return now


def tables(table):
    yield table
    for child in table.get_children():
        yield from tables(child)


def free_names(code):
    """The names that code uses without giving them a meaning anywhere at its top level."""
    top = symtable.symtable(code, "tests", "exec")
    own = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    used = set()
    for table in tables(top):
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (table is top or symbol.is_global()):
                used.add(symbol.get_name())
    return used - own


def called_names(code):
    """The names that code calls: what is called is no module."""
    calls = (node.func for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call))
    return {called.id for called in calls if isinstance(called, ast.Name)}


def is_module(name):
    """Whether Python's own library has a module of this name."""
    return name in sys.builtin_module_names or PathFinder.find_spec(name) is not None


def setting(asker, case):
    """The names that the tests find: those of the prelude, modules, and stand-ins for what is the program's."""
    scope = {"__name__": "tests"}
    exec(compile(case["prelude"], "prelude", "exec"), scope)
    if "StopIteration" not in case["prelude"] + case["code"]:
        scope.setdefault("next", next_of_program)
    called = called_names(case["code"])
    for name in free_names(case["code"]) - scope.keys() - vars(builtins).keys():
        if name not in called and is_module(name):
            scope[name] = __import__(name)
        else:
            scope[name] = Handle(asker, {"name": name})
    for name in case["entry_points"]:
        scope[name] = Handle(asker, {"name": name})
    return scope


def next_of_program(iterator, *default):
    """`next`, for tests that do not say what they make of an end: in what `map` calls it would end the tests' own loop."""
    try:
        return next(iterator, *default)
    except StopIteration:
        if type(iterator) is not Handle:
            raise
        raise RuntimeError("the program has no next element") from None


def why(error, code):
    """What went wrong, and in which line of the tests."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "tests"]
    text = code.splitlines()[lines[-1] - 1].strip() if lines else ""
    return f"{said} (at `{text}`)" if text else said


def live(channel):
    """Takes the tests from the channel, runs them, and sends the verdict: `P` where they ran to the end, else `F`."""
    _, body = wire.receive(channel)
    case = wire.loads(body)
    asker = Asker(channel)
    try:
        exec(compile(case["code"], "tests", "exec"), setting(asker, case))
    except BaseException as error:
        try:
            reason = why(error, case["code"])
        except BaseException:
            reason = type(error).__name__
        wire.send(channel, b"F", reason[:WHY_LENGTH].encode("utf-8", "replace"))
    else:
        wire.send(channel, b"P")
