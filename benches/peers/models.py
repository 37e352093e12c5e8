"""Real models: our logits, tokens and speed beside those of transformers and, for GGUF files, llama.cpp.

    python3 benches/peers/models.py T2 MODEL.gguf… [--decompose] [--speed]

T2 is the binary. The reference for logits and greedy tokens is transformers in f32, with the weights that it reads from the
same file. Needs torch, transformers, gguf and llama-cpp-python, and GNU time as /usr/bin/time.
Prints one JSON line for each model and check; exits with 1 when a bound is broken.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

LOGITS = 1e-4  # largest difference of a logit, relative to the largest logit
GREEDY = 64  # tokens that must be the same
RESIDUAL = 1e-5  # of a decomposition
PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):\n    \"\"\"The n-th Fibonacci number.\"\"\"\n",
    "Once upon a time, in a village by the sea, there lived an old fisherman who",
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("t2")
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--decompose", action="store_true")
    parser.add_argument("--speed", action="store_true")
    args = parser.parse_args()
    failed = []
    for model in args.models:
        for check in checks(args):
            result = check(args, model)
            print(json.dumps({"model": model.name, "check": check.__name__, **result}), flush=True)
            failed += [(model.name, check.__name__)] if not result.get("ok", True) else []
    sys.exit(f"broken: {failed}" if failed else 0)


def checks(args):
    yield parity
    if args.decompose:
        yield decompose
    if args.speed:
        yield speed


THREADS = os.cpu_count()


def t2(args, *words):
    """What a command of t2 says, its seconds and its peak memory in bytes."""
    with tempfile.NamedTemporaryFile() as usage:
        command = ["/usr/bin/time", "-o", usage.name, "-f", "%e %M", args.t2, *map(str, words), "--json", "-q", "--device", "cpu"]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        seconds, kilobytes = open(usage.name).read().split()[-2:]
    return json.loads(out), float(seconds), int(kilobytes) * 1024


def reference(model):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_grad_enabled(False)
    return AutoModelForCausalLM.from_pretrained(model.parent, gguf_file=model.name, dtype=torch.float32).eval()


def llama(model, **options):
    from llama_cpp import Llama

    return Llama(str(model), verbose=False, n_threads=THREADS, n_threads_batch=THREADS, **options)


def ids_of(model):
    tokenizer = llama(model, vocab_only=True)
    return [tokenizer.tokenize(text.encode(), add_bos=True, special=True) for text in PROMPTS]


def parity(args, model):
    """Logits of each prompt, and greedy tokens after it, against transformers with the same weights."""
    import torch

    theirs, worst, same, expected = reference(model), [], [], []
    ends = t2(args, "info", model)[0]["model"]["eos_token_ids"]
    prompts = ids_of(model)
    for ids in prompts:
        tokens = torch.tensor([ids])
        logits = theirs(tokens).logits[0, -1]
        words = ",".join(map(str, ids))
        ours = torch.tensor(t2(args, "logits", model, "--ids", words)[0]["last_logits"])
        worst.append(((ours - logits).abs().max() / logits.abs().max()).item())
        greedy = theirs.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=GREEDY, do_sample=False,
                                 repetition_penalty=1.0, eos_token_id=-1)[0, len(ids):].tolist()
        found = t2(args, "generate", model, "--prompt-ids", words, "--max-new-tokens", GREEDY, "--temperature", 0)[0]
        # We stop at the end of a text, whose token is the last, the reference does not.
        count = len(found["token_ids"])
        same.append(found["token_ids"] == greedy[:count] and (count == GREEDY or count > 0 and found["token_ids"][-1] in ends))
        expected.append(count)
    # A NaN is no number within the bound.
    ok = all(error <= LOGITS for error in worst) and all(same)
    return {"ok": ok, "logits": worst, "greedy_tokens": expected, "greedy_same": same}


def decompose(args, model):
    """The residual of all factors, and the text under an expert of ones."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        os.environ["T2_CACHE"] = str(folder / "cache")
        done, seconds, memory = t2(args, "decompose", model, "--targets", "mlp,attn")
        info = t2(args, "info", model, "--hash")[0]
        words = ",".join(map(str, ids_of(model)[0]))
        generate = ["generate", model, "--prompt-ids", words, "--max-new-tokens", GREEDY, "--temperature", 0]
        base = t2(args, *generate)[0]["token_ids"]
        neutral = t2(args, *generate, "--expert", neutral_expert(args, model, folder, info))[0]["token_ids"]
    ok = done["max_residual"] <= RESIDUAL and base == neutral
    return {"ok": ok, "matrices": done["matrices"], "residual": done["max_residual"], "seconds": seconds,
            "memory": memory, "neutral_same": base == neutral}


def neutral_expert(args, model, folder, info):
    """An expert whose scales are all one."""
    import numpy
    from safetensors.numpy import save_file

    config, scales = info["model"]["config"], {}
    d, attention, hidden = config["d_model"], config["attention"], config["mlp"]["d_hidden"]
    q, kv = attention["heads"] * attention["head_dim"], attention["kv_heads"] * attention["head_dim"]
    shapes = {"attn.q": (d, q), "attn.k": (d, kv), "attn.v": (d, kv), "attn.o": (q, d)}
    shapes |= {"mlp.gate": (d, hidden), "mlp.up": (d, hidden), "mlp.down": (hidden, d)}
    for layer in range(config["layers"]):
        for name, shape in shapes.items():
            scales[f"blocks.{layer}.{name}.weight"] = numpy.ones(min(shape), numpy.float32)
    metadata = {"name": "neutral", "base_model": info["model"]["hash"], "targets": "mlp,attn",
                "parametrization": "scale", "training": ""}
    path = folder / "neutral.safetensors"
    save_file(scales, path, metadata={"t2_expert": json.dumps(metadata)})
    return path


def speed(args, model):
    """Time to load, peak memory, and tokens a second of decoding, ours and theirs, one after the other."""
    ids = ids_of(model)[2]
    words = ",".join(map(str, ids))
    _, load, memory = t2(args, "logits", model, "--ids", ids[0])
    ours = max(t2(args, "generate", model, "--prompt-ids", words, "--max-new-tokens", GREEDY, "--temperature", 0)[0]["tokens_per_sec"]
               for _ in range(3))
    result = {"t2": {"load_seconds": load, "memory": memory, "tokens_per_sec": ours}}
    for peer in ("transformers", "llama.cpp"):
        code = ["--peer", peer, str(model), words]
        out = subprocess.run([sys.executable, __file__, *code], check=True, stdout=subprocess.PIPE).stdout
        result[peer] = json.loads(out.splitlines()[-1])
    return result


def peer(name, model, words):
    """A process of its own for each peer: its memory is then its own too."""
    model, ids = pathlib.Path(model), [int(word) for word in words.split(",")]
    start = time.perf_counter()
    if name == "transformers":
        import torch

        torch.set_num_threads(THREADS)
        loaded = reference(model)
        load, tokens = time.perf_counter() - start, torch.tensor([ids])
        def generate(count):
            loaded.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=count, min_new_tokens=count,
                            do_sample=False, eos_token_id=-1)
    else:
        loaded = llama(model, n_ctx=512)
        load = time.perf_counter() - start
        def generate(count):
            loaded.reset()
            for _, token in zip(range(count), loaded.generate(ids, temp=0.0)):
                pass
    def seconds(count):
        start = time.perf_counter()
        generate(count)
        return time.perf_counter() - start
    # The difference of two lengths is decoding alone, without reading the prompt.
    best = max((GREEDY - 1) / max(seconds(GREEDY) - seconds(1), 1e-9) for _ in range(3))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"load_seconds": load, "memory": memory, "tokens_per_sec": best}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        peer(*sys.argv[2:])
    else:
        main()
