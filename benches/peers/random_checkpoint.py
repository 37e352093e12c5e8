"""A checkpoint of random bf16 weights in the shape of a model, a file for each layer: for speed and memory at real sizes.

    python3 benches/peers/random_checkpoint.py DIR llama-3-8b [LAYERS] [VOCAB]

Needs torch and safetensors. The vocabulary is cut to 256 tokens unless it is given: most of what this is for does not look
at the embedding.
"""

import json
import pathlib
import sys

SHAPES = {  # hidden, intermediate, layers, heads, kv heads
    "smollm2-135m": (576, 1536, 30, 9, 3),
    "llama-3-8b": (4096, 14336, 32, 32, 8),
}


def write(folder, name, layers=None, vocab=256):
    import torch
    from safetensors.torch import save_file

    hidden, intermediate, all_layers, heads, kv_heads = SHAPES[name]
    layers = layers or all_layers
    kv = hidden // heads * kv_heads
    device = "cuda" if torch.cuda.is_available() else "cpu"
    random = torch.Generator(device).manual_seed(2501)
    normal = lambda *shape: torch.randn(*shape, generator=random, device=device)
    weight = lambda *shape: (normal(*shape) / shape[-1] ** 0.5).to(torch.bfloat16).cpu()
    ones = lambda: torch.ones(hidden, dtype=torch.bfloat16)

    folder.mkdir(parents=True, exist_ok=True)
    index = {}

    def save(stem, tensors):
        save_file(tensors, folder / f"{stem}.safetensors", metadata={"format": "pt"})
        index.update({name: f"{stem}.safetensors" for name in tensors})

    save("rest", {"model.embed_tokens.weight": weight(vocab, hidden), "model.norm.weight": ones()})
    attention = {"q": (hidden, hidden), "k": (kv, hidden), "v": (kv, hidden), "o": (hidden, hidden)}
    mlp = {"gate": (intermediate, hidden), "up": (intermediate, hidden), "down": (hidden, intermediate)}
    for layer in range(layers):
        of = f"model.layers.{layer}."
        save(
            f"layer-{layer:03}",
            {
                **{f"{of}self_attn.{name}_proj.weight": weight(*shape) for name, shape in attention.items()},
                **{f"{of}mlp.{name}_proj.weight": weight(*shape) for name, shape in mlp.items()},
                **{f"{of}{name}_layernorm.weight": ones() for name in ("input", "post_attention")},
            },
        )
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "vocab_size": vocab,
        "hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
    }
    (folder / "config.json").write_text(json.dumps(config))


def main():
    folder, name, *sizes = sys.argv[1:]
    write(pathlib.Path(folder), name, *map(int, sizes))


if __name__ == "__main__":
    main()
