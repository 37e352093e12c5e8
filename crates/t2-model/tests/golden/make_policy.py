"""Experts as the original project saves them, and what its formula makes of a golden checkpoint.

`policy_params.pt` is a state dict with numbered parameters, `learnable_params.pt` a dict of parameters by name, both of
bf16 and both with the same numbers here. `policy.safetensors` holds the logits of `untied` for a prompt, with the largest
multiplier 1 and 2, computed by the formula of the original (github.com/SakanaAI/self-adaptive-llms):

    mask = sigmoid(p) rounded to bf16, times max_mult
    W'   = U diag(S * mask) V^T * sum(S) / sum(S * mask)

It needs torch, transformers and safetensors: `cargo xtask golden --python .venv/bin/python`.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

HERE = Path(__file__).parent
PROMPT = [3, 17, 5, 9, 1, 30]


class Policy(torch.nn.Module):
    """Parameters in a list, as the state dict of the original has them."""

    def __init__(self, params):
        super().__init__()
        self.learnable_params_module_list = torch.nn.ParameterList(params)


def draw(model):
    """A parameter for each singular value of each MLP matrix, far enough from each other to matter."""
    torch.manual_seed(7)
    names = [name for name in model.state_dict() if "mlp" in name]
    sizes = {name: min(model.state_dict()[name].shape) for name in names}
    return {name: torch.nn.Parameter(torch.randn(size).to(torch.bfloat16)) for name, size in sizes.items()}


@torch.no_grad()
def logits(params, max_mult):
    model = AutoModelForCausalLM.from_pretrained(HERE / "untied", dtype=torch.float32).eval()
    for name, p in params.items():
        weight = model.get_parameter(name)
        u, s, vh = torch.linalg.svd(weight.double(), full_matrices=False)
        mask = (torch.sigmoid(p).to(torch.bfloat16) * max_mult).double()
        weight.copy_((u @ torch.diag(s * mask) @ vh) * (s.sum() / (s * mask).sum()))
    return model(torch.tensor([PROMPT])).logits[0]


def main():
    model = AutoModelForCausalLM.from_pretrained(HERE / "untied", dtype=torch.float32)
    params = draw(model)
    torch.save(Policy(list(params.values())).state_dict(), HERE / "policy_params.pt")
    torch.save(params, HERE / "learnable_params.pt")
    tensors = {f"logits.{mult}": logits(params, mult).contiguous() for mult in (1, 2)}
    save_file(tensors | {"prompt": torch.tensor(PROMPT, dtype=torch.int32)}, HERE / "policy.safetensors")


main()
