"""Small valid files in corpus/, for the fuzzer to start from. Needs numpy, safetensors and the gguf package.

    python3 fuzz/seed.py
"""

import json
import pathlib
import shutil

import numpy
from gguf import GGUFWriter
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE.parent / "crates/t2-model/tests/golden"


def main():
    for target in ("gguf", "safetensors", "config", "template"):
        (HERE / "corpus" / target).mkdir(parents=True, exist_ok=True)
    for family in ("llama", "qwen2", "gemma3"):
        model(HERE / "corpus/gguf" / f"{family}.gguf", family)
    for path in GOLDEN.rglob("config.json"):
        shutil.copy(path, HERE / "corpus/config" / f"{path.parent.name}.json")
    for index, path in enumerate(sorted(GOLDEN.rglob("model*.safetensors"))[:4]):
        shutil.copy(path, HERE / "corpus/safetensors" / str(index))
    tiny_safetensors(HERE / "corpus/safetensors/fits")
    templates = [text for text in strings(json.loads((GOLDEN / "templates.json").read_text())) if "{%" in text or "{{" in text]
    for index, text in enumerate(templates):
        (HERE / "corpus/template" / str(index)).write_text(text)


def tiny_safetensors(path):
    """Tensors of the config that the target has: one block of width 2."""
    shapes = {"model.embed_tokens.weight": (2, 2), "model.norm.weight": (2,)}
    block = {"self_attn.q_proj": (2, 2), "self_attn.k_proj": (2, 2), "self_attn.v_proj": (2, 2), "self_attn.o_proj": (2, 2)}
    block |= {"mlp.gate_proj": (2, 2), "mlp.up_proj": (2, 2), "mlp.down_proj": (2, 2)}
    block |= {"input_layernorm": (2,), "post_attention_layernorm": (2,)}
    shapes |= {f"model.layers.0.{name}.weight": shape for name, shape in block.items()}
    save_file({name: numpy.ones(shape, numpy.float32) for name, shape in shapes.items()}, path)


def strings(value):
    """Every string in a JSON document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)


def model(path, family):
    """A model of one layer with a vocabulary of a few tokens."""
    writer = GGUFWriter(path, family)
    writer.add_block_count(1)
    writer.add_context_length(16)
    writer.add_embedding_length(4)
    writer.add_feed_forward_length(4)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_key_length(2)
    writer.add_value_length(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    tokens = ["<unk>", "<s>", "</s>", "a", "b", "▁a"]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(index) for index in range(len(tokens))])
    writer.add_token_types([2, 3, 3, 1, 1, 1])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}")
    shapes = {"token_embd": (6, 4), "output_norm": (4,), "blk.0.attn_norm": (4,), "blk.0.ffn_norm": (4,)}
    shapes |= {"blk.0.attn_q": (4, 4), "blk.0.attn_k": (2, 4), "blk.0.attn_v": (2, 4), "blk.0.attn_output": (4, 4)}
    shapes |= {"blk.0.ffn_gate": (4, 4), "blk.0.ffn_up": (4, 4), "blk.0.ffn_down": (4, 4)}
    if family == "gemma3":
        shapes |= {f"blk.0.{name}": (4,) for name in ("post_attention_norm", "post_ffw_norm")}
        shapes |= {f"blk.0.attn_{which}_norm": (2,) for which in "qk"}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", numpy.ones(shape, numpy.float32))
    if family == "qwen2":
        for which, width in (("q", 4), ("k", 2), ("v", 2)):
            writer.add_tensor(f"blk.0.attn_{which}.bias", numpy.ones(width, numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
