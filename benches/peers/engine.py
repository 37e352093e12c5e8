"""Tables of generation: t2 beside transformers, llama.cpp and candle, in turns, in f32 on the CPU; and t2 under experts.

    cargo build --release --package t2-cli --package t2-benches --bins --example decoding
    (cd benches/peers/candle && RUSTFLAGS="-C target-cpu=native" cargo build --release)
    python3 benches/peers/engine.py MODEL

MODEL is a folder in the layout of the Hub, or a GGUF file, which candle's program does not read; without one, a checkpoint
of random weights in the shape of SmolLM2-135M is made. llama.cpp gets the model as a GGUF file in f32, and what `--gguf`
names: the model as people have it, in 4 bits. Who is not there is named, with the reason, and left out.

In each turn everyone is started, in a process of its own, and asked for the same batches one after the other; who is not
asked is stopped. Cells are medians of the turns, and how many times better t2 is. Reading ends when every prompt has its
first token, decoding begins there. Memory is the peak of resident memory of a process so far, mapped files included.
Needs Linux; for the peers torch with transformers, and numpy with llama-cpp-python.
"""

import argparse
import collections
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import random_checkpoint

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHAPE, VOCAB = "smollm2-135m", 49152  # of random weights; prompts have ids below
SHORT, NEW = 16, 64  # tokens of the prompts before what is decoded, and tokens that are timed then
SAME = 8  # tokens that all who compute in f32 must agree on


class Batch:
    """Prompts to complete, of which one part is timed: reading them, or the tokens after the first of each."""

    def __init__(self, rows, length, new_tokens, under="base"):
        self.rows, self.length, self.reads, self.under = rows, length, new_tokens == 1, under
        # No two prompts begin alike: nobody is to read for one what another has read.
        prompts = [[(row * 7919 + column * 104_729 + 13) % VOCAB for column in range(length)] for row in range(rows)]
        self.request = json.dumps({"prompts": prompts, "new_tokens": new_tokens, "under": under})
        self.tokens = rows * (length if self.reads else new_tokens - 1)

    def rate(self, answer):
        return self.tokens / answer["first" if self.reads else "rest"]

    def __str__(self):
        return f"read {self.rows} x {self.length}" if self.reads else f"decode {self.rows}"


def read(rows, length, under="base"):
    return Batch(rows, length, 1, under)


def decode(rows, under="base"):
    return Batch(rows, SHORT, NEW + 1, under)


START = read(1, SHORT)
BESIDE_PEERS = [read(1, 512), *map(decode, (1, 8, 32, 128))]
UNDER = {"base": "all rows the base model", "one": "all rows one expert", "each": "each row a mixture of 8 experts",
         "each+base": "the same, one row the base model"}
UNDER_EXPERTS = [batch for under in UNDER for batch in (read(8, 64, under), decode(8, under))]


class Gone(Exception):
    """Somebody has ended; why."""


class Participant:
    """Somebody who answers a batch with what it took, a JSON line each, as benches/examples/decoding.rs does."""

    def __init__(self, name, *command, under=("base",)):
        self.name, self.command, self.under = name, [str(word) for word in command], under
        self.process, self.gone = None, None

    def start(self, threads):
        names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"]
        self.errors = tempfile.TemporaryFile("w+")
        # As the binary `t2` tells its allocator, see crates/t2-cli/src/memory.rs; to candle, which has the same, too.
        environment = {name: str(threads) for name in names} | {"MIMALLOC_PURGE_DELAY": "1000"}
        try:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                            text=True, env=os.environ | environment)
        except OSError as error:
            raise Gone(error)

    def ask(self, batch):
        try:
            self.process.send_signal(signal.SIGCONT)
            print(batch.request, file=self.process.stdin, flush=True)
            answer = json.loads(self.process.stdout.readline())
            self.process.send_signal(signal.SIGSTOP)
            return answer
        except (BrokenPipeError, json.JSONDecodeError):
            self.process.wait()
            self.errors.seek(0)
            said = self.errors.read().strip().splitlines()
            raise Gone(said[-1] if said else f"exit code {self.process.returncode}")

    def memory(self):
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))

    def end(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Run:
    """What all turns gave."""

    def __init__(self, participants, batches, args):
        self.participants, self.batches = participants, batches
        self.found = collections.defaultdict(list)  # by what was measured and by whom
        self.ids = {}
        try:
            for turn in range(args.turns):
                self.turn(turn, args.threads)
        finally:
            for participant in participants:
                participant.end()

    def turn(self, turn, threads):
        for participant in self.participants:
            self.attempt(participant, lambda: self.start(participant, threads))
        for batch in self.batches:
            first = turn % len(self.participants)  # everybody begins some time
            for participant in self.participants[first:] + self.participants[:first]:
                if batch.under in participant.under:
                    self.attempt(participant, lambda: self.ask(participant, batch))
        for participant in self.participants:
            participant.end()

    def attempt(self, participant, action):
        if participant.gone is None:
            try:
                action()
            except Gone as why:
                participant.gone = str(why)

    def start(self, participant, threads):
        start = time.perf_counter()
        participant.start(threads)
        participant.ask(START)
        self.say(participant, "start", time.perf_counter() - start)

    def ask(self, participant, batch):
        answer = participant.ask(batch)
        self.say(participant, (str(batch), batch.under), batch.rate(answer))
        self.say(participant, ("memory", str(batch)), participant.memory())
        self.ids[participant.name, str(batch), batch.under] = answer["ids"][:SAME]

    def say(self, participant, what, value):
        self.found[what, participant.name].append(value)
        print(json.dumps({"who": participant.name, "what": what, "value": value}), file=sys.stderr, flush=True)

    def median(self, what, participant):
        values = self.found.get((what, participant.name))
        return statistics.median(values) if values else None


def beside_peers(run):
    """The table of everybody, a line for each measurement."""
    t2, *peers = run.participants
    rates = [(f"{batch}, tokens/s", (str(batch), "base"), -1) for batch in run.batches]
    memory = [(f"memory after {batch}, MiB", ("memory", batch), 1) for batch in ("decode 1", str(run.batches[-1]))]
    lines = [("start to first token, s", "start", 1), *rates, *memory]
    yield ["", *(participant.name for participant in run.participants)]
    for title, what, sign in lines:
        ours, cells = run.median(what, t2), []
        for peer in peers:
            theirs = run.median(what, peer)
            cells.append(f"{number(theirs)} ({(theirs / ours) ** sign:.2f})" if theirs and ours else "")
        yield [title, number(ours), *cells]


def under_experts(run):
    """The table of t2 under experts: what the rows run under, with how many experts at hand."""
    plain = run.participants[0]
    kinds = ["read 8 x 64", "decode 8"]
    yield ["experts at hand", "rows", *(f"{kind}, tokens/s" for kind in kinds)]
    for participant in run.participants:
        for under in participant.under:
            cells = []
            for kind in kinds:
                base, rate = run.median((kind, "base"), plain), run.median((kind, under), participant)
                cells.append(f"{number(rate)} ({rate / base:.2f})" if base and rate else "")
            yield [participant.name, UNDER[under], *cells]


def number(value):
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def show(rows, run):
    for index, row in enumerate(rows):
        print("|", " | ".join(row), "|")
        if index == 0:
            print("|", " --- |" * len(row), sep="")
    for participant in run.participants:
        if participant.gone is not None:
            print(f"\n{participant.name} left out: {participant.gone}")
    print(flush=True)


def differences(run, who):
    """Who of `who` does not say what the first of them says. All compute the same, or the table compares nothing."""
    for batch in run.batches:
        said = {name: run.ids[name, str(batch), "base"] for name in who if (name, str(batch), "base") in run.ids}
        expected = next(iter(said.items()), None)
        for name, ids in said.items():
            if ids != expected[1]:
                yield f"{batch}: {name} says {ids}, {expected[0]} says {expected[1]}"


def transformers(path):
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache

    torch.set_grad_enabled(False)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    where = (path, {}) if path.is_dir() else (path.parent, {"gguf_file": path.name})
    model = AutoModelForCausalLM.from_pretrained(where[0], dtype=torch.float32, **where[1]).eval()

    def begin(rows, length):
        cache = DynamicCache()

        def step(tokens):
            logits = model(torch.tensor(tokens), past_key_values=cache, use_cache=True, logits_to_keep=1).logits
            return logits[:, -1].argmax(-1).tolist()
        return step
    return begin


def llama_cpp(path):
    import llama_cpp as llama
    import numpy

    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
    vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    contexts = []

    def begin(rows, length):
        while contexts:
            llama.llama_free(contexts.pop())
        params = llama.llama_context_default_params()
        params.n_threads = params.n_threads_batch = int(os.environ["OMP_NUM_THREADS"])
        # Each sequence has columns of its own, of which there are multiples of 256.
        params.n_seq_max, params.n_ctx, params.n_batch = rows, rows * (-(-length // 256) * 256), rows * length
        context = llama.llama_init_from_model(model, params)
        contexts.append(context)
        batch, at = llama.llama_batch_init(rows * length, 0, 1), 0

        def step(tokens):
            nonlocal at
            seq = len(tokens[0])
            for row, ids in enumerate(tokens):
                for column, token in enumerate(ids):
                    index = row * seq + column
                    batch.token[index], batch.pos[index], batch.logits[index] = token, at + column, column == seq - 1
                    batch.n_seq_id[index], batch.seq_id[index][0] = 1, row
            batch.n_tokens, at = rows * seq, at + seq
            if llama.llama_decode(context, batch) != 0:
                raise RuntimeError("llama_decode refused the batch")
            logits = numpy.ctypeslib.as_array(llama.llama_get_logits(context), (rows, vocab))
            return logits.argmax(1).tolist()
        return step
    return begin


PEERS = {"transformers": transformers, "llama.cpp": llama_cpp}


def answer(begin):
    """Answers batches as a participant does: all prompts are of one length."""
    for line in sys.stdin:
        request = json.loads(line)
        prompts, new_tokens, ids = request["prompts"], request["new_tokens"], []
        step = begin(len(prompts), len(prompts[0]) + new_tokens)
        start = time.perf_counter()
        last = step(prompts)
        first = time.perf_counter() - start
        ids.append(last[0])
        for _ in range(1, new_tokens):
            last = step([[token] for token in last])
            ids.append(last[0])
        rest = time.perf_counter() - start - first
        print(json.dumps({"first": first, "rest": rest, "ids": ids}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=pathlib.Path)
    parser.add_argument("--built", default=ROOT / "target/release", type=pathlib.Path, help="where cargo put t2")
    parser.add_argument("--candle", default=ROOT / "benches/peers/candle/target/release/t2-peer-candle")
    parser.add_argument("--gguf", nargs="*", default=[], type=pathlib.Path, help="more files for llama.cpp")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--experts", nargs="*", type=int, default=[10, 1000], help="how many t2 has at hand")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.model is None:
            args.model = pathlib.Path(folder) / SHAPE
            random_checkpoint.write(args.model, SHAPE, vocab=VOCAB)
        peer = lambda name, path, title: Participant(title, sys.executable, __file__, "--peer", name, path)
        t2 = lambda name, *experts, **rest: Participant(name, args.built / "examples/decoding", args.model, *experts, **rest)
        in_f32 = [t2("t2"), peer("llama.cpp", in_gguf(args, folder), "llama.cpp"),
                  peer("transformers", args.model, "transformers"), Participant("candle", args.candle, args.model)]
        quantized = [peer("llama.cpp", path, f"llama.cpp, {path.name}") for path in args.gguf]
        run = Run(in_f32 + quantized, BESIDE_PEERS, args)
        show(beside_peers(run), run)
        print(*differences(run, [participant.name for participant in in_f32]), sep="\n")
        if args.experts:
            at_hand = [t2(str(count), count, under=list(UNDER)) for count in args.experts]
            run = Run([t2("none"), *at_hand], UNDER_EXPERTS, args)
            show(under_experts(run), run)


def in_gguf(args, folder):
    """The model in f32 as llama.cpp reads it."""
    path = pathlib.Path(folder) / "f32.gguf"
    try:
        command = [args.built / "t2", "export", args.model, "--to", "gguf", path, "--dtype", "f32", "--quiet"]
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"no GGUF file for llama.cpp: {error}", file=sys.stderr)
    return path


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        answer(PEERS[sys.argv[2]](pathlib.Path(sys.argv[3])))
    else:
        main()
