"""Writes the golden files beside this script: tiny random checkpoints, with what transformers computes from them.

    python make.py [DATA]

Needs torch and transformers (made with 2.15.0 and 5.23.0, on the CPU). DATA is the folder that the tests know as
T2_DATA; without it the golden files of real checkpoints and chat templates stay as they are.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.utils.chat_template_utils import render_jinja_template

HERE = Path(__file__).parent
SHAPE = dict(
    vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.3, bos_token_id=1, eos_token_id=2,
)
LLAMA3 = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16
)
PROMPT_LENGTHS = (11, 48)
NEW_TOKENS = 16
# A greedy choice closer than this could flip between two correct programs.
MARGIN = 1e-3

# name: (config, stored type, spelling of config.json, what to do with the files)
CASES = {
    "tied": (dict(tie_word_embeddings=True, num_key_value_heads=4), "float32", "old", None),
    "untied": (dict(rope_parameters=dict(rope_type="default", rope_theta=500000.0)), "float32", "new", None),
    "sharded": (dict(num_key_value_heads=1), "float32", "new", "shard"),
    "bf16": (dict(rms_norm_eps=1e-5), "bfloat16", "old", None),
    "llama3_old": (dict(rope_parameters=LLAMA3 | dict(rope_theta=10000.0)), "float16", "old", None),
    "llama3_new": (dict(rope_parameters=LLAMA3 | dict(rope_theta=5000.0), tie_word_embeddings=True), "bfloat16", "new", None),
    "linear": (dict(rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=10000.0)), "float16", "oldest", None),
    "biases": (dict(attention_bias=True, mlp_bias=True), "float16", "new", None),
    "head_only": (dict(tie_word_embeddings=True, head_dim=16, num_key_value_heads=1), "float32", "old", "head_only"),
}


def respell(path, spelling):
    """config.json as transformers wrote it before version 5."""
    config = json.loads(path.read_text())
    config.pop("transformers_version")
    if spelling != "new":
        config["torch_dtype"] = config.pop("dtype")
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
        if config["head_dim"] == config["hidden_size"] // config["num_attention_heads"]:
            config.pop("head_dim")
    if spelling == "oldest":
        config["rope_scaling"]["type"] = config["rope_scaling"].pop("rope_type")
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def rename_to_head(path):
    tensors = load_file(path)
    tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
    # Some old checkpoints carry this table; it must be ignored.
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    save_file(tensors, path, {"format": "pt"})


def randomize_vectors(model):
    """Biases and norms are zeros and ones at first, which would hide a mistake."""
    for name, param in model.named_parameters():
        if param.dim() == 1:
            centre = 1.0 if "norm" in name else 0.0
            param.data = centre + 0.3 * torch.randn_like(param)


def write_checkpoint(name, case, seed):
    overrides, dtype, spelling, files = case
    folder = HERE / name
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**(SHAPE | overrides)))
    randomize_vectors(model)
    shard = dict(max_shard_size="24KB") if files == "shard" else {}
    model.to(getattr(torch, dtype)).save_pretrained(folder, **shard)
    (folder / "generation_config.json").unlink(missing_ok=True)
    respell(folder / "config.json", spelling)
    if files == "head_only":
        rename_to_head(folder / "model.safetensors")
    return folder


def greedy(model, prompt, new_tokens):
    out = model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), do_sample=False,
        max_new_tokens=new_tokens, eos_token_id=None, pad_token_id=0, return_dict_in_generate=True, output_scores=True,
    )
    margins = [(best := score[0].topk(2).values)[0] - best[1] for score in out.scores]
    assert min(margins) > MARGIN, f"the greedy choice is too close: {min(margins)}"
    return out.sequences[0, len(prompt):]


def write_golden(folder, seed):
    """Read the files back and store what transformers makes of them, in f32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(seed)
    golden = {}
    for i, length in enumerate(PROMPT_LENGTHS):
        prompt = torch.randint(3, SHAPE["vocab_size"], (length,), generator=generator)
        golden[f"prompt.{i}"] = prompt.int()
        golden[f"logits.{i}"] = model(prompt[None]).logits[0].contiguous()
        golden[f"greedy.{i}"] = greedy(model, prompt.tolist(), NEW_TOKENS).int()
    save_file(golden, folder / "golden.safetensors")


def write_story(data):
    folder = data / "model_tinystories_656k"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = "Once upon a time, there was a little girl"
    ids = tokenizer(prompt).input_ids
    story = greedy(model, ids, 120).tolist()
    last = model(torch.tensor([ids])).logits[0, -1].tolist()
    golden = dict(prompt=prompt, prompt_ids=ids, story_ids=story, story=tokenizer.decode(story, skip_special_tokens=True),
                  last_logits=[round(x, 6) for x in last[:16]])
    (HERE / "tinystories_656k.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")


def write_chats(data):
    chat = [
        dict(role="user", content=" What is 2 + 3? "),
        dict(role="assistant", content="<think>\nadd\n</think>\n\n5, as \"2 < 3\" & 'é'."),
        dict(role="user", content="And\nthen?"),
    ]
    system = [dict(role="system", content="Be brief.")]
    special = dict(bos_token="<s>", eos_token="</s>")
    golden = {}
    paths = sorted([*data.glob("chat_templates/*.jinja"), *data.glob("tok_*/*.jinja")])
    for path in paths:
        texts = []
        for messages in (chat[:1], chat, system + chat):
            [text], _ = render_jinja_template([messages], chat_template=path.read_text(), add_generation_prompt=True, **special)
            texts.append(text)
        golden[str(path.relative_to(data))] = texts
    golden = dict(messages=[chat[:1], chat, system + chat], special=special, rendered=golden)
    (HERE / "chats.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")


def main():
    torch.set_grad_enabled(False)
    for seed, (name, case) in enumerate(CASES.items()):
        write_golden(write_checkpoint(name, case, seed), seed)
    if len(sys.argv) > 1:
        data = Path(sys.argv[1])
        write_story(data)
        write_chats(data)


if __name__ == "__main__":
    main()
