"""What `t2 export` writes in transformers, PEFT and llama.cpp, against the logits of `t2` itself.

Run by hand: `python check_export.py T2 MODEL...`, with the binary and folders in the Hugging Face layout. It needs torch,
transformers, peft, safetensors and llama-cpp-python. For each model it draws an expert of every matrix and prints a
line of figures:

- `merged`: logits of the merged folder in transformers against `t2 logits --expert`, relative to the largest;
- `lora_full`: the same for PEFT with an adapter of full rank;
- `stated` and `found`: what an adapter of low rank leaves out of the change, as `t2` states it and as it comes out of
  the weights that PEFT merges;
- `gguf_f32`, `gguf_f16`, `gguf_q8_0`: logits of the merged GGUF file in llama.cpp, with keys and values in f32, against
  `t2 logits` of the very file. llama.cpp rounds what it multiplies f16 weights with to f16, and what it multiplies q8_0
  weights with to 8 bits: so `_weights` has, for these two, its logits of the same weights written as f32.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

TOLERANCE = 1e-3  # Asked for; f32 sums in another order stay far below.
EXACT = ["merged", "lora_full", "gguf_f32", "gguf_f16_weights", "gguf_q8_0_weights"]
RESIDUAL = 1e-4  # Differences of f32 weights, beside the change itself.
LOW_RANK = 8


def t2(binary, *args):
    done = subprocess.run([binary, *map(str, args), "--json", "-q"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def draw_expert(binary, model, path):
    """An expert whose scales lie within a half of one."""
    info = t2(binary, "info", model)["model"]
    config = info["config"]
    attention, width, hidden = config["attention"], config["d_model"], config["mlp"]["d_hidden"]
    heads = attention["heads"] * attention["head_dim"]
    keys = attention["kv_heads"] * attention["head_dim"]
    ranks = {"attn.q": heads, "attn.o": heads, "attn.k": keys, "attn.v": keys}
    ranks |= {name: hidden for name in ("mlp.gate", "mlp.up", "mlp.down")}
    torch.manual_seed(5)
    z = {
        f"blocks.{layer}.{name}.weight": torch.rand(min(width, rank)) + 0.5
        for layer in range(config["layers"])
        for name, rank in ranks.items()
    }
    about = {
        "name": "drawn",
        "base_model": info["hash"],
        "targets": "mlp,attn",
        "parametrization": "scale",
        "training": "drawn at random",
    }
    save_file(z, path, metadata={"t2_expert": json.dumps(about)})


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def last_logits(model, ids):
    return model(torch.tensor([ids])).logits[0, -1]


def relative(found, expected):
    expected = torch.tensor(expected)
    return ((found - expected).abs().max() / expected.abs().max()).item()


def llama_logits(path, ids):
    """Scores of the last token in llama.cpp, which says why it cannot load a file only on stderr."""
    import llama_cpp

    f32 = llama_cpp.GGML_TYPE_F32
    model = llama_cpp.Llama(str(path), n_ctx=64, logits_all=True, verbose=False, type_k=f32, type_v=f32)
    model.eval(ids)
    return torch.tensor(model.scores[len(ids) - 1].copy())


def check_gguf(binary, export, ids, work):
    """Distances of llama.cpp from us by type of the file, and of transformers."""
    figures = {}
    for name, how in {"f32": ["--dtype", "f32"], "f16": ["--dtype", "f16"], "q8_0": ["--quantize", "q8_0"]}.items():
        path = work / f"{name}.gguf"
        try:
            t2(binary, *export, "--to", "gguf", *how, path)
        except SystemExit as refused:
            return {"gguf": f"not run: {refused}".strip()}
        ours = t2(binary, "logits", path, "--ids", ",".join(map(str, ids)))["last_logits"]
        figures[f"gguf_{name}"] = relative(llama_logits(path, ids), ours)
        if name != "f32":
            same = work / f"{name}-in-f32.gguf"
            t2(binary, "export", path, "--to", "gguf", "--dtype", "f32", same)
            figures[f"gguf_{name}_weights"] = relative(llama_logits(same, ids), ours)
    return figures


def weights(model):
    return {name: value.detach().double() for name, value in model.state_dict().items() if value.dim() == 2}


def check(binary, model, work):
    expert = work / "drawn.safetensors"
    draw_expert(binary, model, expert)
    base = load(model)
    ids = [(7 * position + 3) % base.config.vocab_size for position in range(8)]
    expected = t2(binary, "logits", model, "--ids", ",".join(map(str, ids)), "--expert", expert)["last_logits"]
    export = ["export", model, "--expert", expert]
    t2(binary, *export, "--to", "hf", "--shard-size", "200MB", work / "merged")
    full = 4 * (base.config.hidden_size + base.config.intermediate_size)  # More than any matrix has, or several in one tensor.
    t2(binary, *export, "--to", "peft", "--rank", full, work / "full")
    stated = t2(binary, *export, "--to", "peft", "--rank", LOW_RANK, work / "low")["residual"]
    figures = {"merged": relative(last_logits(load(work / "merged"), ids), expected)}
    before, after = weights(base), weights(load(work / "merged"))
    figures["lora_full"] = relative(last_logits(PeftModel.from_pretrained(base, work / "full"), ids), expected)
    low = weights(PeftModel.from_pretrained(load(model), work / "low").merge_and_unload())
    lost = sum(((after[name] - low[name]) ** 2).sum() for name in before)
    whole = sum(((after[name] - before[name]) ** 2).sum() for name in before)
    figures |= {"stated": stated, "found": (lost / whole).sqrt().item()}
    figures |= check_gguf(binary, export, ids, work)
    exact = [figures[name] for name in figures if name in EXACT]
    ok = max(exact) < TOLERANCE and abs(stated - figures["found"]) < RESIDUAL
    print(f"{Path(model).name}: {json.dumps(figures)} {'ok' if ok else 'FAILED'}")
    return ok


def main():
    binary, *models = sys.argv[1:]
    results = []
    for model in models:
        with tempfile.TemporaryDirectory() as work:
            results.append(check(binary, model, Path(work)))
    sys.exit(0 if results and all(results) else 1)


main()
