"""Instructions and conversations of VESKI_TEST_DATA through their lane: read and refused, what the signals find, prompts asked again,
templates drawn. Sums are those of `curate stats`.

python -m tests.bench.conversations
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from curate.inspect.conversations import FAULTS
from curate.inspect.corpus import open_corpus, rows
from curate.inspect.stats import stats
from tests import command
from tests.mixture import tiny_tokenizer

TOP = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("VESKI_TEST_DATA", TOP.parent / "shared" / "data"))
RECIPE = """
kind: cpt
name: conversations
roots: {{data: '{data}'}}
tokenizer: {{model: tok}}
sources:
  alpaca_est_seed: {{read: "{{data}}/instruct/alpaca_est_seed.jsonl.zst", type: conversation, language: et, fields: {{task: name}},
    conversation: {{templates: conversation}}, license: {{declared: LicenseRef-none-stated}}}}
  self_instruct_seed_en: {{read: "{{data}}/instruct/self_instruct_seed_en.jsonl.zst", type: conversation, language: en,
    fields: {{task: name}}, license: {{declared: Apache-2.0}}}}
  user_oriented_150: {{read: "{{data}}/instruct/user_oriented_150.jsonl.zst", type: conversation, language: en,
    fields: {{task: motivation_app}}, license: {{declared: Apache-2.0}}}}
  code_alpaca_2k: {{read: "{{data}}/instruct/code_alpaca_2k.jsonl.zst", type: conversation, language: en,
    conversation: {{templates: conversation, provenance: {{generator: text-davinci-003}}}}, license: {{declared: CC-BY-NC-4.0}}}}
  t0_templates: {{read: "{{data}}/instruct/t0_templates.jsonl.zst", type: conversation, language: en, fields: {{task: meta.template}},
    license: {{declared: Apache-2.0}}}}
  hh_chosen: {{read: "{{data}}/preference/hh_harmless.jsonl.zst", type: conversation, language: en, fields: {{messages: chosen}},
    license: {{declared: MIT}}}}
  hh_rejected: {{read: "{{data}}/preference/hh_harmless.jsonl.zst", type: conversation, language: en, fields: {{messages: rejected}},
    license: {{declared: MIT}}}}
language_id: [{{backend: py3langid, candidates: [et, en]}}]
dedup: {{near: null, exact: {{by: [normalised, prompt], across: [], within: [{names}]}}}}
mixture: {{total: 1k tokens, sequence_length: 64, components: {{a: {{from: [alpaca_est_seed], role: instruction, budget: 1k tokens}}}}}}
"""
NAMES = (
    "alpaca_est_seed",
    "self_instruct_seed_en",
    "user_oriented_150",
    "code_alpaca_2k",
    "t0_templates",
    "hh_chosen",
    "hh_rejected",
)


def table(head: list[str], lines: list[list[Any]]) -> None:
    shown = [head, *([str(cell) for cell in line] for line in lines)]
    widths = [max(len(line[i]) for line in shown) for i in range(len(head))]
    for line in shown:
        print("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))).rstrip())
    print()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tiny_tokenizer.write(Path(folder) / "tok", template=tiny_tokenizer.CHATML)
        recipe = Path(folder) / "recipe.yaml"
        recipe.write_text(RECIPE.format(data=DATA, names=", ".join(NAMES)))
        command.build(recipe, Path(folder), "--until", "decide")
        build = Path(folder) / "build"
        data = stats(build)
        with open_corpus(build) as corpus:
            causes = rows(corpus, "SELECT source, cause, count(*) AS n FROM quarantine GROUP BY ALL ORDER BY ALL")
    print("## Read: records, documents, quarantined by cause; duplicates within a file: of the text, of the prompt alone\n")
    lines = []
    for s in data["sources"]:
        dropped = {r["reason"]: r["dropped"] for r in data["reasons"] if r["source"] == s["source"]}
        lost = ", ".join(f"{c['n']} {c['cause']}" for c in causes if c["source"] == s["source"])
        lines.append([s["source"], s["records"], s["documents"], s["quarantined"], s["sums_close"], dropped.get("exact_duplicate", 0),
                      dropped.get("prompt_duplicate", 0), lost])  # fmt: skip
    table(["source", "records", "documents", "quarantined", "sums close", "same text", "same prompt", "causes"], lines)
    print("## Documents with any of what the signals find\n")
    mine = [s for s in data["conversations"]["sizes"] if s["documents_of"] == "all"]
    table(
        ["source", *FAULTS.values(), "other language"],
        [[s["source"], *(s[name] for name in FAULTS), s["other_language"]] for s in mine],
    )
    print("## Sizes\n")
    head = ["documents", "mean_turns", "most_turns", "median_prompt_words", "median_answer_words", "with_system", "with_calls"]
    table(["source", *head], [[s["source"], *(f"{s[n]:.2f}" if isinstance(s[n], float) else s[n] for n in head)] for s in mine])
    print("## Languages (user -> assistant), tasks and templates\n")
    for source in NAMES:
        for name in ("languages", "task", "template", "generator"):
            own = [b for b in data["conversations"]["balance"] if (b["source"], b["name"]) == (source, name)]
            if own:
                print(f"{source} {name} ({len(own)}): " + ", ".join(f"{b['value']} {b['documents']}" for b in own[:8]))


if __name__ == "__main__":
    main()
