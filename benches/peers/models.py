"""Real models: our logits and tokens beside those of transformers. How fast they are is for engine.py.

    python3 benches/peers/models.py T2 MODEL.gguf… [--decompose]

T2 is the binary. The reference for logits and greedy tokens is transformers in f32, with the weights that it reads from the
same file. Needs torch, transformers, gguf and llama-cpp-python, and GNU time as /usr/bin/time.
Prints one JSON line for each model and check; exits with 1 when a bound is broken.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

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


def ids_of(model):
    from llama_cpp import Llama

    tokenizer = Llama(str(model), vocab_only=True, verbose=False)
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


if __name__ == "__main__":
    main()
