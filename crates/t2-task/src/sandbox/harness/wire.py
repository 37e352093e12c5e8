"""What goes over a channel: frames of a tag and a body, and plain values as JSON.

A plain value is rebuilt on the other side from nothing but numbers and text, so that whatever it was there, here it is
a number, a text or a container of such, with the equality that Python gives those. A subclass (a named tuple, a
counter) arrives as the plain type that it extends. What is not plain is left to `refer`, which names it.
"""
import builtins
import datetime
import json
import math
import os
from collections import deque
from decimal import Decimal
from fractions import Fraction

# Larger integers go as hexadecimal digits: they are read in linear time, and without the limit on decimal ones.
LARGEST_INT = 1 << 63
# Types and functions that have the same meaning on both sides and go by their names.
SHARED = {
    each.__name__: each
    for each in (
        bool, bytearray, bytes, complex, dict, float, frozenset, int, list, object, range, set, str, tuple, type,
        abs, all, any, chr, divmod, hash, hex, len, max, min, oct, ord, pow, repr, reversed, round, sorted, sum,
        Decimal, Fraction, deque, datetime.date, datetime.datetime, datetime.time, datetime.timedelta,
    )
}
SHARED_NAMES = {id(value): name for name, value in SHARED.items()}


class Closed(Exception):
    """The channel came to its end."""


class Malformed(Exception):
    """A value that does not follow the rules of this file."""


def send(channel, tag, body=b""):
    """Writes a frame: its length in four bytes, a byte that says what it is, and its body."""
    left = memoryview((len(body) + 1).to_bytes(4, "little") + tag + body)
    while left:
        left = left[os.write(channel, left):]


def receive(channel):
    """Reads a frame: its tag and its body."""
    frame = exactly(channel, int.from_bytes(exactly(channel, 4), "little"))
    return frame[:1], frame[1:]


def exactly(channel, count):
    parts = []
    while count:
        part = os.read(channel, min(count, 1 << 20))
        if not part:
            raise Closed("nobody is at the other end")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def dumps(data):
    return json.dumps(data, separators=(",", ":")).encode()


def loads(body):
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no JSON: {error}") from None


def many(values, refer):
    return [encode(value, refer) for value in values]


def pairs(value, refer):
    return [[encode(key, refer), encode(item, refer)] for key, item in value.items()]


# Type, its name on the wire, what is sent of a value. A type stands before what it extends.
SENT = (
    (bool, "bool", lambda value, refer: bool(value)),
    (int, "int", lambda value, refer: hex(value)),
    (float, "float", lambda value, refer: float.__repr__(value)),
    (complex, "complex", lambda value, refer: [repr(value.real), repr(value.imag)]),
    (str, "str", lambda value, refer: str.__str__(value)),
    (bytes, "bytes", lambda value, refer: value.hex()),
    (bytearray, "bytearray", lambda value, refer: value.hex()),
    (tuple, "tuple", many),
    (list, "list", many),
    (dict, "dict", pairs),
    (set, "set", many),
    (frozenset, "frozenset", many),
    (deque, "deque", lambda value, refer: [many(value, refer), value.maxlen]),
    (range, "range", lambda value, refer: [hex(value.start), hex(value.stop), hex(value.step)]),
    (type({}.keys()), "keys", many),
    (type({}.values()), "values", many),
    (type({}.items()), "items", lambda value, refer: [many(pair, refer) for pair in value]),
    (Decimal, "decimal", lambda value, refer: str(value)),
    (Fraction, "fraction", lambda value, refer: [hex(value.numerator), hex(value.denominator)]),
    (datetime.datetime, "datetime", lambda value, refer: value.isoformat()),
    (datetime.date, "date", lambda value, refer: value.isoformat()),
    (datetime.time, "time", lambda value, refer: value.isoformat()),
    (datetime.timedelta, "timedelta", lambda value, refer: [value.days, value.seconds, value.microseconds]),
)


def encode(value, refer):
    """A value as what JSON can say; `refer` gives the name of one that is not plain."""
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int and -LARGEST_INT < value < LARGEST_INT:
        return value
    if kind is float and math.isfinite(value):
        return value
    if kind is list:
        return [encode(item, refer) for item in value]
    for base, name, take in SENT:
        if isinstance(value, base):
            return {name: take(value, refer)}
    if id(value) in SHARED_NAMES:
        return {"shared": SHARED_NAMES[id(value)]}
    return refer(value)


def each(data, find):
    return [decode(item, find) for item in data]


def mapping(data, find):
    return {decode(key, find): decode(item, find) for key, item in data}


def number(digits):
    return int(digits, 16)


# How a value is rebuilt from what was sent of it.
REBUILT = {
    "bool": lambda data, find: data is True,
    "int": lambda data, find: number(data),
    "float": lambda data, find: float(data),
    "complex": lambda data, find: complex(*map(float, data)),
    "str": lambda data, find: str(data),
    "bytes": lambda data, find: bytes.fromhex(data),
    "bytearray": lambda data, find: bytearray.fromhex(data),
    "tuple": lambda data, find: tuple(each(data, find)),
    "list": each,
    "dict": mapping,
    "set": lambda data, find: set(each(data, find)),
    "frozenset": lambda data, find: frozenset(each(data, find)),
    "deque": lambda data, find: deque(each(data[0], find), data[1]),
    "range": lambda data, find: range(*map(number, data)),
    "keys": lambda data, find: dict.fromkeys(each(data, find)).keys(),
    "values": lambda data, find: dict(enumerate(each(data, find))).values(),
    "items": lambda data, find: mapping(data, find).items(),
    "decimal": lambda data, find: Decimal(data),
    "fraction": lambda data, find: Fraction(*map(number, data)),
    "datetime": lambda data, find: datetime.datetime.fromisoformat(data),
    "date": lambda data, find: datetime.date.fromisoformat(data),
    "time": lambda data, find: datetime.time.fromisoformat(data),
    "timedelta": lambda data, find: datetime.timedelta(*data),
    "shared": lambda data, find: SHARED[data],
}


def decode(data, find):
    """The value that `data` describes; `find` gives what a name of the other side stands for."""
    if type(data) is list:
        return [decode(item, find) for item in data]
    if type(data) is not dict:
        return data
    if len(data) != 1:
        raise Malformed(f"a value of {len(data)} kinds")
    ((name, inner),) = data.items()
    return REBUILT[name](inner, find) if name in REBUILT else find(name, inner)


def read(data, find):
    """Like [`decode`], with [`Malformed`] for whatever the other side did wrong."""
    try:
        return decode(data, find)
    except Malformed:
        raise
    except Exception as error:
        raise Malformed(f"{type(error).__name__}: {error}") from None


def raised(error, refer=lambda value: str(value)[:200]):
    """An exception as the names of its types, nearest first, and its arguments as far as they are plain."""
    names = [kind.__name__ for kind in type(error).__mro__]
    try:
        args = [encode(arg, refer) for arg in error.args]
        dumps(args)
    except Exception:
        args = []
    return {"raised": names, "args": args}


def exception(said, find):
    """The exception that [`raised`] describes: of the nearest type that is an `Exception` of Python's own."""
    names, args = [str(name) for name in said["raised"]], [read(arg, find) for arg in said.get("args", [])]
    kinds = [getattr(builtins, name, None) for name in names]
    kinds = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Exception)]
    try:
        return kinds[0](*args)
    except Exception:
        return Exception(": ".join([*names[:1], *map(str, args)]))
