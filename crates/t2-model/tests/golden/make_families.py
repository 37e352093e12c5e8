"""Writes the folder `families` beside this script: a tiny random checkpoint for every family and switch, with what
transformers computes from it.

    python make_families.py [CASE ...]        write all checkpoints, or these
    python make_families.py --check DIR       compare the checkpoints that tests/families saved to DIR

Needs torch and transformers (made with 2.15.0 and 5.24.0, on the CPU). `families/` reads every folder that it finds.

transformers reads a text anew when it outgrows the original context of `longrope` for Phi-3, and for no other family:
`llama_longrope` goes on with keys of the short encoding.

Of each case two prompts are kept, one shorter and one longer than the windows and original contexts of the configs, with
their logits and 64 greedy tokens, each computed alone. Weights are stored in half precision, so that they are the same
numbers in f32, and computed with in f32.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GenerationConfig

HERE = Path(__file__).parent / "families"
SHAPE = dict(
    vocab_size=80, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.2, bos_token_id=1, eos_token_id=2,
    pad_token_id=0, tie_word_embeddings=False,
)
PROMPT_LENGTHS = (7, 40)
NEW_TOKENS = 64
# A greedy choice closer than this, relative to the largest logit, could flip between two correct programs.
MARGIN = 1e-3
WINDOW = 12
ORIGINAL = 24  # between the two prompts; the greedy tokens of the short one cross it
TOLERANCE = 1e-4  # of --check, relative to the largest logit


def rope(kind, theta=10000.0, **keys):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=theta, **keys))


YARN = dict(factor=4.0, original_max_position_embeddings=32)
LONGROPE = dict(short_factor=[1.0, 1.1, 1.3, 1.6], long_factor=[1.2, 1.9, 3.5, 6.0])
LONGROPE3 = dict(short_factor=[1.0, 1.2, 1.4], long_factor=[1.2, 2.5, 6.0])
LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
SLIDING, FULL = "sliding_attention", "full_attention"
GEMMA = dict(head_dim=16, tie_word_embeddings=True, sliding_window=WINDOW, query_pre_attn_scalar=20)
GEMMA3 = GEMMA | dict(
    num_hidden_layers=3, layer_types=None, rope_parameters={
        FULL: dict(rope_type="default", rope_theta=1000000.0), SLIDING: dict(rope_type="default", rope_theta=500.0),
    }
)

# name: (class, its config beside SHAPE, stored type, what is done to config.json and the weights)
CASES = {
    # Llama with every way to stretch a context.
    "llama_linear": ("Llama", rope("linear", factor=2.5), "bfloat16", "old"),
    "llama_dynamic": ("Llama", rope("dynamic", factor=2.0) | dict(max_position_embeddings=ORIGINAL), "float16", "old"),
    "llama_llama3": ("Llama", rope("llama3", **LLAMA3), "bfloat16", "old"),
    "llama_yarn": ("Llama", rope("yarn", **YARN), "bfloat16", "old"),
    "llama_yarn_keys": (
        "Llama",
        rope("yarn", beta_fast=4.0, beta_slow=0.5, mscale=1.4, mscale_all_dim=0.7, truncate=False, **YARN),
        "bfloat16", None,
    ),
    "llama_yarn_attention_factor": ("Llama", rope("yarn", attention_factor=1.25, **YARN), "float16", None),
    "llama_longrope": (
        "Llama", rope("longrope", original_max_position_embeddings=ORIGINAL, **LONGROPE), "bfloat16", "old",
    ),
    "llama_gelu": ("Llama", dict(hidden_act="gelu", attention_bias=True, mlp_bias=True), "bfloat16", None),
    # Windows.
    "mistral": ("Mistral", dict(sliding_window=WINDOW, head_dim=12), "bfloat16", "old"),
    "mistral_full": ("Mistral", dict(sliding_window=None, tie_word_embeddings=True), "float16", None),
    "qwen2": ("Qwen2", dict(tie_word_embeddings=True), "bfloat16", "old"),
    "qwen2_windows": (
        "Qwen2", dict(use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1, num_hidden_layers=3),
        "float16", "no_layer_types",
    ),
    "qwen2_layer_types": (
        "Qwen2",
        dict(use_sliding_window=True, sliding_window=WINDOW, layer_types=[SLIDING, FULL, SLIDING], num_hidden_layers=3)
        | rope("yarn", **YARN), "bfloat16", None,
    ),
    "qwen3": ("Qwen3", dict(head_dim=16), "bfloat16", "old"),
    "qwen3_biases": ("Qwen3", dict(head_dim=8, attention_bias=True, tie_word_embeddings=True), "float16", None),
    # Layers without positions.
    "smollm3": ("SmolLM3", dict(num_hidden_layers=4, tie_word_embeddings=True), "bfloat16", "no_rope_layers"),
    "smollm3_windows": (
        "SmolLM3",
        dict(num_hidden_layers=3, no_rope_layers=[0, 1, 1], use_sliding_window=True, sliding_window=WINDOW,
             attention_bias=True, mlp_bias=True),
        "float16", None,
    ),
    # Norms around, caps, gains from one, two thetas.
    "gemma2": (
        "Gemma2", GEMMA | dict(attn_logit_softcapping=8.0, final_logit_softcapping=6.0, num_hidden_layers=3), "bfloat16",
        "no_layer_types",
    ),
    "gemma2_no_caps": (
        "Gemma2", GEMMA | dict(attn_logit_softcapping=None, final_logit_softcapping=None, layer_types=[FULL, SLIDING],
                               tie_word_embeddings=False, attention_bias=True), "bfloat16", None,
    ),
    "gemma3": ("Gemma3Text", GEMMA3 | dict(sliding_window_pattern=3), "bfloat16", "gemma3_old"),
    "gemma3_new": ("Gemma3Text", GEMMA3 | dict(layer_types=[SLIDING, FULL, SLIDING], final_logit_softcapping=5.0), "float16", None),
    "gemma3_linear": (
        "Gemma3Text",
        GEMMA3 | dict(
            layer_types=[FULL, SLIDING, FULL], rope_parameters={
                FULL: dict(rope_type="linear", factor=8.0, rope_theta=1000000.0),
                SLIDING: dict(rope_type="default", rope_theta=500.0),
            },
        ),
        "bfloat16", "gemma3_multimodal",
    ),
    # Fused tensors, partial rotation, two lists of frequencies.
    "phi3": ("Phi3", dict(sliding_window=WINDOW, num_key_value_heads=4), "bfloat16", "old"),
    "phi3_longrope": (
        "Phi3", rope("longrope", **LONGROPE) | dict(original_max_position_embeddings=ORIGINAL), "bfloat16", "su",
    ),
    "phi4_mini": (
        "Phi3",
        rope("longrope", partial_rotary_factor=0.75, **LONGROPE3)
        | dict(original_max_position_embeddings=ORIGINAL, tie_word_embeddings=True), "float16", None,
    ),
    "phi3_partial": ("Phi3", rope("default", theta=250000.0, partial_rotary_factor=0.5), "float16", None),
    # Norms behind.
    "olmo2": ("Olmo2", dict(), "bfloat16", "old"),
    "olmo2_biases": ("Olmo2", dict(attention_bias=True, num_key_value_heads=4, tie_word_embeddings=True), "float16", None),
    # Multipliers.
    "granite": (
        "Granite",
        dict(embedding_multiplier=12.0, residual_multiplier=0.22, attention_multiplier=0.4, logits_scaling=4.0,
             tie_word_embeddings=True), "bfloat16", "old",
    ),
    "granite_defaults": ("Granite", dict(attention_bias=True, mlp_bias=True), "float16", "multipliers"),
}


def respell(path, how):
    """config.json as older versions of transformers wrote it, or with keys left out that have defaults."""
    config = json.loads(path.read_text())
    config.pop("transformers_version")
    if how in ("old", "su", "no_layer_types", "no_rope_layers", "gemma3_old", "multipliers"):
        config["torch_dtype"] = config.pop("dtype")
    if how == "no_layer_types":
        config.pop("layer_types")
    if how == "no_rope_layers":
        for key in ("layer_types", "no_rope_layers", "tie_word_embeddings"):
            config.pop(key, None)
        config["architectures"] = None
    if how == "multipliers":
        for key in ("embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling"):
            config.pop(key)
        config["architectures"] = ["GraniteModel"]
    if how in ("old", "su"):
        old = config.pop("rope_parameters")
        config["rope_theta"] = old.pop("rope_theta")
        if (partial := old.pop("partial_rotary_factor", 1.0)) != 1.0:
            config["partial_rotary_factor"] = partial
        config["rope_scaling"] = None if old["rope_type"] == "default" else old
        config.pop("layer_types", None)
    if how == "su":
        config["rope_scaling"]["type"] = "su"
        config["rope_scaling"].pop("rope_type")
    if how == "gemma3_old":
        old = config.pop("rope_parameters")
        config["rope_theta"], config["rope_local_base_freq"] = old[FULL]["rope_theta"], old[SLIDING]["rope_theta"]
        config["rope_scaling"] = None
        for key in ("layer_types", "tie_word_embeddings", "hidden_activation"):
            config.pop(key, None)
        config["sliding_window_pattern"] = 3
    if how == "gemma3_multimodal":
        text = {key: value for key, value in config.items() if key not in ("architectures", "dtype", "tie_word_embeddings")}
        config = dict(architectures=["Gemma3ForConditionalGeneration"], model_type="gemma3", dtype=config["dtype"],
                      text_config=text)
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def wrap(path):
    """Names of the text of a model that sees images, with a tensor of its eyes."""
    tensors = {name.replace("model.", "language_model.model.", 1): tensor for name, tensor in load_file(path).items()}
    tensors["vision_tower.vision_model.post_layernorm.weight"] = torch.ones(4)
    save_file(tensors, path, {"format": "pt"})


def randomize_vectors(model):
    """Biases and norms are zeros and ones at first, which would hide a mistake."""
    for name, param in model.named_parameters():
        if param.dim() == 1:
            is_gain = "norm" in name and not type(model).__name__.startswith("Gemma")
            param.data = (1.0 if is_gain else 0.0) + 0.3 * torch.randn_like(param)


def greedy(model, prompt):
    """Greedy tokens of `prompt`, or None where two are too close to call."""
    model.generation_config = GenerationConfig(pad_token_id=0)
    out = model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), do_sample=False,
        max_new_tokens=NEW_TOKENS, eos_token_id=None, return_dict_in_generate=True, output_scores=True,
    )
    for score in out.scores:
        first, second = score[0].topk(2).values
        if first - second < MARGIN * score[0].abs().max():
            return None
    return out.sequences[0, len(prompt):]


def read(folder, dtype=torch.float32):
    """The checkpoint anew, as positions that depend on the length remember the longest text they have seen."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()


def write(name, case):
    family, overrides, dtype, how = case
    folder = HERE / name
    for seed in range(1000):
        torch.manual_seed(seed)
        config = getattr(transformers, f"{family}Config")(**(SHAPE | overrides))
        model = getattr(transformers, f"{family.removesuffix('Text')}ForCausalLM")(config)
        randomize_vectors(model)
        model.to(getattr(torch, dtype)).save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        if how != "gemma3_multimodal":
            respell(folder / "config.json", how)
        if (golden := golden_of(folder, seed)) is not None:
            break
    halves = [half_error(folder, golden, dtype) for dtype in (torch.bfloat16, torch.float16)]
    if how == "gemma3_multimodal":
        # transformers reads the text alone, before it is put into a model whose other half is not there.
        respell(folder / "config.json", how)
        wrap(folder / "model.safetensors")
    save_file(golden, folder / "golden.safetensors")
    print(f"{name}: seed {seed}; transformers is off by {halves[0]:.1e} in bf16, {halves[1]:.1e} in f16", flush=True)


def golden_of(folder, seed):
    generator = torch.Generator().manual_seed(seed)
    golden = {}
    for i, length in enumerate(PROMPT_LENGTHS):
        prompt = torch.randint(3, SHAPE["vocab_size"], (length,), generator=generator)
        golden[f"prompt.{i}"] = prompt.int()
        golden[f"logits.{i}"] = read(folder)(prompt[None]).logits[0].contiguous()
        tokens = greedy(read(folder), prompt.tolist())
        if tokens is None:
            return None
        golden[f"greedy.{i}"] = tokens.int()
    return golden


def largest_error(found, expected):
    return ((found.float() - expected).abs().max() / expected.abs().max()).item()


def half_error(folder, golden, dtype):
    """What transformers itself loses in half precision: what the bounds of the tests are measured by."""
    logits = [read(folder, dtype)(golden[f"prompt.{i}"][None].long()).logits[0] for i in range(2)]
    return max(largest_error(logits[i], golden[f"logits.{i}"]) for i in range(2))


def check(saved):
    folders = sorted(path for path in saved.iterdir() if path.is_dir())
    assert folders, f"{saved} has no folders"
    for folder in folders:
        golden = load_file(HERE / folder.name / "golden.safetensors")
        errors = [
            largest_error(read(folder)(golden[f"prompt.{i}"][None].long()).logits[0], golden[f"logits.{i}"]) for i in range(2)
        ]
        print(f"{folder.name}: {max(errors):.1e}")
        assert max(errors) <= TOLERANCE


def main():
    torch.set_grad_enabled(False)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if sys.argv[1:2] == ["--check"]:
        return check(Path(sys.argv[2]))
    for name in sys.argv[1:] or CASES:
        write(name, CASES[name])


if __name__ == "__main__":
    main()
