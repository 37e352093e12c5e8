"""Writes what lm-evaluation-harness asks for the rows of rows.json, by the templates of its own tasks.

python -m venv .venv && .venv/bin/pip install --no-deps lm-eval && .venv/bin/pip install jinja2 pyyaml
.venv/bin/python lm_eval_prompts.py

Only its descriptions of tasks are used, so that none of what it depends on is needed.
"""

import importlib.metadata
import importlib.util
import json
import pathlib

import jinja2
import yaml

FOLDER = pathlib.Path(__file__).parent
ROWS = json.loads((FOLDER / "rows.json").read_text())
PACKAGE = pathlib.Path(importlib.util.find_spec("lm_eval").submodule_search_locations[0])
# As lm_eval/utils.py sets it up.
JINJA = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)

# Our data set and variant, and the file of lm-evaluation-harness with the template of the same.
TASKS = [
    ("gsm8k", "plain", "gsm8k/gsm8k.yaml"),
    ("gsm8k", "step-by-step", "gsm8k/gsm8k-cot-zeroshot.yaml"),
    ("mbpp", "plain", "mbpp/mbpp.yaml"),
    ("mbpp", "instruct", "mbpp/mbpp_instruct.yaml"),
    ("humaneval", "plain", "humaneval/humaneval.yaml"),
    ("humaneval", "instruct", "humaneval/humaneval_instruct.yaml"),
    ("arc-easy", "plain", "arc/arc_challenge_chat.yaml"),
    ("arc-easy", "log-likelihood", "arc/arc_easy.yaml"),
    ("asdiv", "plain", "asdiv/default.yaml"),
    ("boolq", "plain", "super_glue/boolq/seq2seq.yaml"),
    ("openbookqa", "log-likelihood", "openbookqa/openbookqa.yaml"),
]


class Loader(yaml.SafeLoader):
    """Reads `!function …` as a text."""


Loader.add_constructor("!function", lambda loader, node: node.value)


def asked(file, row):
    template = yaml.load((PACKAGE / "tasks" / file).read_text(), Loader)["doc_to_text"]
    if file == "arc/arc_challenge_chat.yaml":
        # Its YAML has the characters `\\` and `n` where line breaks are meant.
        template = template.replace("\\n", "\n")
    # The name of a field stands for the field.
    return row[template] if template in row else JINJA.from_string(template).render(row)


golden = {
    "lm_eval": importlib.metadata.version("lm_eval"),
    "prompts": [
        {"task": task, "variant": variant, "file": file, "texts": [asked(file, row) for row in ROWS[task]]}
        for task, variant, file in TASKS
    ],
}
(FOLDER / "lm_eval_prompts.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")
