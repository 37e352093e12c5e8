"""The program's cell: loads the code of a program and does with it what the judge asks, a request at a time.

Nothing here is trusted, since the program can change all of it. It answers with values, and knows of the tests only
what they call it with.
"""
import operator
import sys
import types

import wire

# What the judge may ask for, beside calls.
OPERATIONS = {
    "get": getattr,
    "set": setattr,
    "item": operator.getitem,
    "put": operator.setitem,
    "remove": operator.delitem,
    "iterate": iter,
    "next": next,
    "length": len,
    "text": str,
    "picture": repr,
}
MUTABLE = ("list", "dict", "set", "bytearray", "deque")


class Callback:
    """A function of the tests, seen from the program."""

    def __init__(self, subject, number):
        self.subject, self.number = subject, number

    def __call__(self, *args, **kwargs):
        asked = {"call": self.number, "args": self.subject.encode(args), "kwargs": self.subject.encode(kwargs)}
        wire.send(self.subject.channel, b"B", wire.dumps(asked))
        return self.subject.answer_of(*wire.receive(self.subject.channel))


class Subject:
    """A loaded program, and the objects of it that the judge has been given a number for."""

    def __init__(self, channel):
        self.channel = channel
        self.module = types.ModuleType("program")
        self.objects = []
        self.numbers = {}

    def load(self, code):
        """Runs the code as a module that can be looked up by its name, like one that was imported."""
        sys.modules["program"] = self.module
        exec(compile(code, "program", "exec"), self.module.__dict__)

    def encode(self, value):
        return wire.encode(value, self.refer)

    def refer(self, value):
        if isinstance(value, Callback):
            return {"callable": value.number}
        at = self.numbers.setdefault(id(value), len(self.objects))
        if at == len(self.objects):
            self.objects.append(value)
        return {"handle": at}

    def find(self, kind, name):
        if kind == "name":
            if name in self.module.__dict__:
                return self.module.__dict__[name]
            raise NameError(f"name '{name}' is not defined")
        return self.objects[name] if kind == "handle" else Callback(self, name)

    def answer_of(self, tag, body):
        """What the judge says to a callback, which may be further requests first."""
        while tag == b"C":
            self.serve(body)
            tag, body = wire.receive(self.channel)
        said = wire.loads(body)
        if "raised" in said:
            raise wire.exception(said, self.find)
        return wire.decode(said["value"], self.find)

    def serve(self, body):
        """Does what one request asks and sends what came of it."""
        try:
            reply = self.do(wire.loads(body))
        except BaseException as error:
            reply = wire.raised(error)
        try:
            body = wire.dumps(reply)
        except Exception as error:
            body = wire.dumps(wire.raised(error))
        wire.send(self.channel, b"R", body)

    def do(self, request):
        on, *args = wire.decode(request["args"], self.find)
        kwargs = wire.decode(request["kwargs"], self.find)
        if request["do"] != "call":
            return {"value": self.encode(OPERATIONS[request["do"]](on, *args))}
        reply = {"value": self.encode(on(*args, **kwargs))}
        changed = {}
        for at, (value, sent) in enumerate(zip(args, request["args"][1:])):
            # Only what can change is sent back, and only if it did.
            if type(sent) is list or type(sent) is dict and not sent.keys().isdisjoint(MUTABLE + ("tuple",)):
                now = self.encode(value)
                if now != sent:
                    changed[at] = now
        if changed:
            reply["changed"] = changed
        return reply


def live(channel):
    """Takes the code from the channel, then requests until the channel is closed."""
    subject = Subject(channel)
    _, code = wire.receive(channel)
    try:
        subject.load(code.decode("utf-8", "surrogatepass"))
    except BaseException as error:
        wire.send(channel, b"E", f"{type(error).__name__}: {error}"[:300].encode("utf-8", "replace"))
        return
    wire.send(channel, b"L")
    while True:
        tag, body = wire.receive(channel)
        subject.serve(body)
