"""Tokens a second of a model while it decodes: the example `decoding` and transformers with a static cache, in turns.

    python3 benches/peers/decode.py DECODING MODEL DEVICE DTYPE [--rounds 2] [--batches 1,32,128]

DECODING is the binary of `cargo build --release --package t2-benches --example decoding`. Needs torch and transformers.
Prints a JSON line for each turn. `cuda` is the same card for both; for another device transformers takes the CPU.
"""

import argparse
import json
import statistics
import subprocess
import time

import torch
from transformers import AutoModelForCausalLM, StaticCache

BEFORE, TOKENS, ROUNDS = 128, 24, 5  # of a prompt, of what is timed, and how often
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("decoding")
    parser.add_argument("model")
    parser.add_argument("device")
    parser.add_argument("dtype", choices=DTYPES)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batches", default="1,32,128")
    args = parser.parse_args()
    batches = [int(batch) for batch in args.batches.split(",")]
    device = "cuda" if args.device == "cuda" else "cpu"
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=DTYPES[args.dtype]).to(device).eval()
    for turn in range(args.rounds):
        for who, rates in ("t2", ours(args, batches)), ("transformers", theirs(model, batches, device)):
            print(json.dumps({"turn": turn, "who": who, "device": args.device, "dtype": args.dtype, **rates}), flush=True)


def ours(args, batches):
    """The same by the engine, in a process for each batch: one that fails takes no other with it."""
    rates = {}
    for batch in batches:
        # No two prompts begin alike: nobody is to read for one what another has read.
        prompts = [[5 + row] + [5] * (BEFORE - 1) for row in range(batch)]
        request = json.dumps({"prompts": prompts, "new_tokens": TOKENS + 1})
        command = [args.decoding, args.model, "0", args.device, args.dtype]
        done = subprocess.run(command, input=f"{request}\n" * ROUNDS, capture_output=True, text=True)
        if done.returncode:
            rates[f"decode_{batch}"] = done.stderr.strip().splitlines()[-1:] or ["failed"]
            continue
        seconds = [json.loads(line)["rest"] for line in done.stdout.splitlines()]
        rates[f"decode_{batch}"] = round(batch * TOKENS / statistics.median(seconds), 1)
    return rates


@torch.inference_mode()
def theirs(model, batches, device):
    """The same work by transformers: greedy, one forward pass a token, logits read back."""
    rates = {}
    for batch in batches:
        seen = []
        for _ in range(ROUNDS):
            cache = StaticCache(config=model.config, max_cache_len=BEFORE + TOKENS)
            step(model, cache, torch.full((batch, BEFORE), 5, device=device), 0)
            start = time.perf_counter()
            for token in range(TOKENS):
                step(model, cache, torch.full((batch, 1), 7, device=device), BEFORE + token)
            seen.append(batch * TOKENS / (time.perf_counter() - start))
        rates[f"decode_{batch}"] = round(statistics.median(seen), 1)
    return rates


def step(model, cache, ids, position):
    positions = torch.arange(position, position + ids.shape[1], device=ids.device)
    out = model(ids, past_key_values=cache, cache_position=positions, use_cache=True, logits_to_keep=1)
    assert torch.isfinite(out.logits.float().cpu()).all()


if __name__ == "__main__":
    main()
