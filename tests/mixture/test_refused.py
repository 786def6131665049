"""Conversations that a chat template refuses, or that teach nothing: left out of a fine-tuning mixture with their reason, and counted."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from curate.errors import CurateError
from mixture.refused import RefusedRows
from mixture.stream import Stream
from tests import command, made
from tests.mixture import tiny_tokenizer

LICENCE = {"declared": "CC0-1.0"}
# Says no to two turns of one role in a row, and marks an answer only where there is one.
STRICT = (
    "{% for m in messages %}{% if loop.index0 and m.role == messages[loop.index0 - 1].role %}{{ raise_exception('roles must alternate') }}"
    "{% endif %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ m.content }}<|im_end|>{% endif %}{{ '\n' }}{% endfor %}"
)
CALL = {"type": "function", "function": {"name": "ilm", "arguments": "{}"}}
USER, ANSWER = {"role": "user", "content": "kes"}, {"role": "assistant", "content": "vesi"}
GOOD = {"id": "good", "messages": [USER, ANSWER]}
TWICE = {"id": "twice", "messages": [USER, USER, ANSWER]}
CALLS = {"id": "calls", "messages": [USER, {"role": "assistant", "content": "", "tool_calls": [CALL]}]}
MUTE = {"id": "mute", "messages": [{"role": "system", "content": "ole hea"}, USER]}
REASONS = {
    "twice": ("template_refuses", "the chat template refuses this conversation: roles must alternate"),
    "calls": ("no_calls_in_template", "the chat template writes no tool calls, and a conversation has some: tool_calls"),
    "mute": ("nothing_learned", "no assistant token in this conversation, so nothing to learn from it: loss: assistant"),
}


def recipe(folder: Path, rows: list[dict], kind: str = "sft", source: dict | None = None, **keys: Any) -> Path:
    """All of source t in component c, one epoch; tokens are framed by bos and eos, as conversations that are refused must not be."""
    made.write_source(folder / "raw", "t", rows)
    of = {"read": "raw/t.jsonl", "license": LICENCE, "type": "conversation", **(source or {})}
    parts = {"c": {"from": ["t"], "role": "instruction", "budget": "100 % of tokens"}}
    mixture = {"total": "100k tokens", "sequence_length": 64, "on_shortage": "shrink_total", "components": parts}
    path = made.write_recipe(
        folder, kind=kind, sources={"t": of}, dedup={"near": None, "exact": "none"},
        **{"mixture": {**mixture, **keys.pop("mixture", {})}, **keys},
    )  # fmt: skip
    tiny_tokenizer.write(folder / "tok", template=STRICT)
    return path


def built(folder: Path, rows: list[dict], **keys: Any) -> SimpleNamespace:
    found = made.build(recipe(folder, rows, **keys))
    documents = Path(found.store.root).glob("documents/*/*/documents.parquet")
    found.name = {row["id"]: row["source_id"] for path in documents for row in pq.read_table(path).to_pylist()}
    return found


def agree(found: SimpleNamespace) -> dict[str, Any]:
    """verify is content and sums close; returns what stats says."""
    done = command.curate("verify", found.build)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(command.curate("stats", found.build, "--json").stdout)
    assert all(source["sums_close"] for source in said["sources"])
    return said


@pytest.mark.parametrize("overlong", ["cut", "split", "drop"])
def test_each_is_left_out_with_its_reason(tmp_path, overlong):
    found = built(tmp_path, [GOOD, TWICE, CALLS, MUTE], mixture={"overlong": overlong})
    rows = {found.name[row["id"]]: row for row in pq.read_table(found.build / "left_out.parquet").to_pylist()}
    assert {name: (row["action"], row["reason"], row["n_tokens"], row["length"]) for name, row in rows.items()} == {
        name: ("dropped", reason, 0, 0) for name, (reason, _) in REASONS.items()
    }
    stream = Stream(found.build / "manifest.json", verify=True)
    assert stream.n_sequences == 1 and {
        found.name[r["id"]] for r in pq.read_table(found.build / "selection.parquet").to_pylist()
    } == {"good"}
    (component,) = found.manifest["components"]
    assert component["documents"] == 1 and component["overlong"]["action"] == overlong
    assert component["left_out"] == [
        {"action": "dropped", "reason": reason, "documents": 1, "tokens": 0} for reason in sorted(r for r, _ in REASONS.values())
    ]
    said = agree(found)
    (source,) = said["sources"]
    assert (source["kept"], source["selected"], source["left_out"], source["no_component"]) == (4, 1, 3, 0)
    assert {row["reason"]: row["documents"] for row in said["left_out"]} == {reason: 1 for reason, _ in REASONS.values()}


def test_the_rest_is_what_it_would_be_without_them(tmp_path):
    with_, without = built(tmp_path / "a", [TWICE, GOOD, MUTE]), built(tmp_path / "b", [GOOD])
    assert with_.manifest["roots"] == without.manifest["roots"]
    assert pq.read_table(without.build / "left_out.parquet").num_rows == 0


def test_from_the_command_line(tmp_path):
    path = recipe(tmp_path, [GOOD, TWICE, CALLS, MUTE])
    done = command.curate("build-mixture", path, "--out", tmp_path / "b", "--store", tmp_path / "s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert 't: 1 document left out, no_calls_in_template: curate sql BUILD "from refused"' in done.stdout
    shown = command.curate("stats", tmp_path / "b").stdout
    assert all(reason in shown for reason, _ in REASONS.values())
    for name, (reason, detail) in REASONS.items():
        said = json.loads(command.curate("when", tmp_path / "b", name, "--json").stdout)
        assert said["fate"] == "left_out" and said["why"] == f"never trained on: left out of component c, {reason}: {detail}"
    asked = command.curate("sql", tmp_path / "b", "SELECT source, reason, detail FROM refused ORDER BY reason", "--json")
    assert [(row["source"], row["reason"], row["detail"]) for row in json.loads(asked.stdout)] == sorted(
        ("t", reason, detail) for reason, detail in REASONS.values()
    )


def test_where_all_are_refused_the_build_stops_with_an_example(tmp_path):
    path = recipe(tmp_path, [TWICE, {"id": "more", "messages": [USER, ANSWER, ANSWER]}])
    done = command.curate("build-mixture", path, "--out", tmp_path / "b", "--store", tmp_path / "s")
    said = done.stdout + done.stderr
    assert done.returncode == 2 and "Traceback" not in said, said
    assert "component c has documents and can train on none of them" in said and "template_refuses 2; source t, id " in said
    assert "roles must alternate" in said and "chat_template" in said and not (tmp_path / "b" / "manifest.json").exists()


def test_the_remedy_is_that_of_the_reason(tmp_path):
    found = built(tmp_path, [CALLS])
    assert found.manifest is None and "rules: [{signal: n_tool_calls, max: 0}]" in found.problem.next
    assert "sequence_length" not in found.problem.next


@pytest.mark.parametrize(
    ("row", "what"), [(TWICE, "refuses this"), (CALLS, "writes no tool calls"), (MUTE, "no assistant token")]
)
def test_a_mixture_of_texts_stops_as_ever(tmp_path, row, what):
    with pytest.raises(CurateError, match=what):
        built(tmp_path, [GOOD, row], kind="cpt", source={"loss": "assistant"})


def test_what_was_refused_is_copied_with_its_reason(tmp_path):
    """A new rule tokenizes nothing, and gives what a fresh build gives."""
    long = {"id": "long", "messages": [{"role": "user", "content": "ja " * 5}, ANSWER]}
    rules = [{"signal": "n_chars", "max": 16, "name": "brief"}]  # not of `long`
    built(tmp_path / "a", [GOOD, TWICE, MUTE, long])
    second = built(tmp_path / "a", [GOOD, TWICE, MUTE, long], rules=rules)
    fresh = built(tmp_path / "b", [GOOD, TWICE, MUTE, long], rules=rules)
    assert second.manifest["roots"] == fresh.manifest["roots"]
    counts = [json.loads(p.read_text())["counts"] for p in Path(second.store.root).glob("tokens/*/stage.json")]
    assert sorted((c["documents"], c["reused"]) for c in counts) == [(3, 3), (4, 0)]
    agree(second)
    tables = [pq.read_table(next(Path(f.build / stage["path"]).glob("*/refused.parquet"))) for f in (second, fresh)
              for stage in json.loads(command.curate("sql", f.build, "FROM stages WHERE stage = 'tokens'", "--json").stdout)]  # fmt: skip
    assert tables[0].equals(tables[1]) and tables[0]["reason"].to_pylist().count("template_refuses") == 1


def test_texts_and_fine_tuning_share_no_tokens(tmp_path):
    """A store that has a refused conversation without tokens does not make it pass in a recipe that stops there."""
    built(tmp_path, [GOOD, TWICE])
    with pytest.raises(CurateError, match="refuses this"):
        built(tmp_path, [GOOD, TWICE], kind="cpt", source={"loss": "assistant"})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("nothing_learned", REASONS["twice"][1]), "nothing_learned: the chat template refuses this conversation"),
        (("template_refuses", "so it is"), "template_refuses: so it is stated"),
        (None, "not refused stated, template_refuses: the chat template refuses"),
    ],
)
def test_verify_asks_the_template_again(tmp_path, monkeypatch, wrong, said):
    """Of a build that was written down wrong, so that every hash is right."""

    def add(rows, document, refusal):
        rows._said |= {document: wrong} if wrong else {}

    monkeypatch.setattr(RefusedRows, "add", add)
    found = built(tmp_path, [GOOD, TWICE])
    done = command.curate("verify", found.build)
    assert done.returncode == 1 and "refused.parquet" in done.stdout and said in done.stdout, done.stdout


def test_verify_sees_damage(tmp_path):
    found = built(tmp_path, [GOOD, TWICE])
    path = next(Path(found.store.root).glob("tokens/*/*/refused.parquet"))
    path.write_bytes(path.read_bytes()[:-9])
    done = command.curate("verify", found.build)
    assert done.returncode == 1 and "refused.parquet" in done.stdout, done.stdout


def test_verify_counts_what_is_left_out_again(tmp_path):
    found = built(tmp_path, [GOOD, TWICE])
    path = found.build / "left_out.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(4, "reason", [["nothing_learned"]]), path)
    done = command.curate("verify", found.build)
    assert done.returncode == 1 and "left_out.parquet" in done.stdout
