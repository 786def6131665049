"""Documents longer than a sequence: split, cut or dropped, each with its row, its sums and what verify says of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.recipe import Mixture
from mixture.names import Names
from mixture.overlong import leave_out
from mixture.render import load_template
from mixture.selection import Coded, Documents, Pairs
from mixture.stream import Stream
from mixture.tokenizer import load_tokenizer
from mixture.verify.left_out import _Again
from tests import command, made

LICENCE = {"declared": "CC0-1.0"}
SHORT = [
    {"role": "user", "content": "kes"}, {"role": "assistant", "content": "vesi"},
]  # fmt: skip
TAIL = [
    *SHORT,
    {"role": "user", "content": "ja " * 10},
    {"role": "assistant", "content": "veski " * 20},
]  # ends after its first answer
HEAD = [{"role": "user", "content": "miks " * 30}, {"role": "assistant", "content": "jah"}]  # its only answer lies behind the cut
TALK = [{"id": "short", "messages": SHORT}, {"id": "tail", "messages": TAIL}, {"id": "head", "messages": HEAD}]


def built(folder: Path, rows: list[dict], total: str = "3 epochs", kind: str = "sft", **mixture: Any) -> SimpleNamespace:
    """A mixture of one epoch of component c over source t, sequences of 64 tokens; `mixture`: more of it."""
    made.write_source(folder / "raw", "t", rows)
    source = {"read": "raw/t.jsonl", "license": LICENCE, "type": "conversation" if "messages" in rows[0] else "text"}
    parts = {"c": {"from": ["t"], "role": "instruction", "budget": "100 % of tokens"}}
    path = made.write_recipe(
        folder, kind=kind, sources={"t": source}, dedup={"near": None, "exact": "none"},
        mixture={"total": "100k tokens", "sequence_length": 64, "on_shortage": "shrink_total", "components": parts, **mixture},
    )  # fmt: skip
    found = made.build(path)
    ids = [
        row
        for p in sorted(Path(found.store.root).glob("documents/*/*/documents.parquet"))
        for row in pq.read_table(p).to_pylist()
    ]
    found.name = {row["id"]: row["source_id"] for row in ids}
    return found


def whole(found: SimpleNamespace, messages: list[dict]) -> np.ndarray:
    """Ids of a conversation as a library has them, with the eos that the recipe asks for."""
    tokenizer = load_tokenizer(found.recipe.tokenizer, found.recipe.path)
    ids, _ = load_template(tokenizer, "assistant").encode(messages)
    return np.append(ids, np.uint32(tokenizer.special["eos"]))


def documents_in(found: SimpleNamespace) -> dict[str, np.ndarray]:
    """source_id -> the ids that the stream trains on, chunk after chunk."""
    stream = Stream(found.build / "manifest.json", verify=True)
    selection = pq.read_table(found.build / "selection.parquet").to_pylist()
    parts: dict[str, list] = {}
    for i in range(stream.n_sequences):
        row = stream.row(i)
        for k, chunk in enumerate(stream.chunks(stream.sequence_of(i))):
            said = selection[int(chunk["document"])]
            parts.setdefault(found.name[said["id"]], []).append((said["chunk"], row.input_ids[row.document == k]))
    return {name: np.concatenate([ids for _, ids in sorted(own, key=lambda part: part[0])]) for name, own in parts.items()}


def left_out(found: SimpleNamespace) -> dict[str, dict]:
    return {found.name[row["id"]]: row for row in pq.read_table(found.build / "left_out.parquet").to_pylist()}


def agree(found: SimpleNamespace) -> dict[str, Any]:
    """verify is content and sums close; returns what stats says."""
    done = command.curate("verify", found.build)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(command.curate("stats", found.build, "--json").stdout)
    assert all(source["sums_close"] for source in said["sources"])
    return said


def test_conversations_are_cut_where_a_sequence_ends(tmp_path):
    found = built(tmp_path, TALK)
    ids = documents_in(found)
    assert set(ids) == {"short", "tail"}
    assert np.array_equal(ids["short"], whole(found, SHORT)) and np.array_equal(ids["tail"], whole(found, TAIL)[:64])
    rows, sizes = left_out(found), {row["id"]: whole(found, row["messages"]).size for row in TALK}
    assert {name: (r["action"], r["reason"], r["n_tokens"], r["n_kept_tokens"]) for name, r in rows.items()} == {
        "tail": ("cut", "longer_than_sequence", sizes["tail"], 64),
        "head": ("dropped", "nothing_to_learn", sizes["head"], 0),
    }
    (component,) = found.manifest["components"]
    assert component["unique_tokens"] == sizes["short"] + 64 and component["documents"] == 2
    assert component["left_out"] == [
        {"action": "cut", "reason": "longer_than_sequence", "documents": 1, "tokens": sizes["tail"] - 64},
        {"action": "dropped", "reason": "nothing_to_learn", "documents": 1, "tokens": sizes["head"]},
    ]
    said = agree(found)
    (source,) = said["sources"]
    assert (source["kept"], source["selected"], source["left_out"], source["no_component"]) == (3, 2, 1, 0)
    (component,) = said["components"]
    assert (component["unique_tokens"], component["over_budget_tokens"]) == (sizes["short"] + 64, 0)
    assert "Cut to 64 of" in command.curate("when", found.build, "tail").stdout
    assert "nothing is left to learn in its first 64 tokens" in command.curate("when", found.build, "head").stdout


@pytest.mark.parametrize("action", ["drop", "split"])
def test_the_recipe_may_say_otherwise(tmp_path, action):
    found = built(tmp_path, TALK, overlong=action)
    ids = documents_in(found)
    if action == "drop":
        assert set(ids) == {"short"} and set(left_out(found)) == {"tail", "head"}
        assert {r["reason"] for r in left_out(found).values()} == {"longer_than_sequence"}
    else:
        assert all(np.array_equal(ids[row["id"]], whole(found, row["messages"])) for row in TALK)
        assert left_out(found) == {} and found.manifest["components"][0]["left_out"] == []
    agree(found)


def test_texts_are_split_unless_asked(tmp_path):
    rows = [{"id": "long", "text": made.text(60, 1)}, {"id": "short", "text": made.text(5, 2)}]
    plain = built(tmp_path / "plain", rows, kind="cpt")
    assert not (plain.build / "left_out.parquet").exists()
    cut = built(tmp_path / "cut", rows, kind="cpt", overlong="cut")
    ids, asked = documents_in(cut), documents_in(plain)
    assert np.array_equal(ids["long"], asked["long"][:64]) and np.array_equal(ids["short"], asked["short"])
    agree(cut)


def test_a_later_component_with_longer_sequences_takes_what_is_too_long(tmp_path):
    parts = {
        "near": {"from": ["t"], "role": "instruction", "overlong": "drop"}, "far": {"from": ["t"], "role": "instruction"},
    }  # fmt: skip
    phases = {
        "one": {"total": "100k tokens", "components": {"near": "100 % of tokens"}},
        "two": {"total": "100k tokens", "sequence_length": 256, "components": {"far": "100 % of tokens"}},
    }
    made.write_source(tmp_path / "raw", "t", TALK)
    path = made.write_recipe(
        tmp_path, kind="sft", sources={"t": {"read": "raw/t.jsonl", "type": "conversation", "license": LICENCE}},
        dedup={"near": None, "exact": "none"},
        mixture={"sequence_length": 64, "on_shortage": "shrink_total", "overlong": "drop", "components": parts, "phases": phases},
    )  # fmt: skip
    found = made.build(path)
    near, far = found.manifest["components"]
    assert (near["documents"], far["documents"]) == (1, 3) and near["left_out"] == far["left_out"] == []
    assert pq.read_table(found.build / "left_out.parquet").num_rows == 0
    agree(found)


def test_held_out_documents_are_cut_alike(tmp_path):
    rows = [{"id": f"r{i}", "messages": [*SHORT, {"role": "user", "content": made.text(3, i)},
                                         {"role": "assistant", "content": made.text(20, (i, 1))}]} for i in range(30)]  # fmt: skip
    made.write_source(tmp_path / "raw", "t", rows)
    path = made.write_recipe(
        tmp_path, kind="sft", sources={"t": {"read": "raw/t.jsonl", "type": "conversation", "license": LICENCE}},
        dedup={"near": None, "exact": "none"}, held_out={"per_component": "200 tokens", "at_most": "20 % of tokens"},
        mixture={"total": "500 tokens", "sequence_length": 64,
                 "components": {"c": {"from": ["t"], "role": "instruction", "budget": "500 tokens"}}},
    )  # fmt: skip
    found = made.build(path)
    stream = Stream(found.build / "manifest.json", verify=True)
    assert stream.n_held_out == 3 and all(stream.held_out(j).n_tokens == 64 for j in range(3))  # of at most 200 tokens
    agree(found)


def test_a_component_that_loses_everything_says_why(tmp_path):
    found = built(tmp_path, [TALK[2], {"id": "more", "messages": [*HEAD, *HEAD]}])
    assert found.manifest is None and found.problem is not None
    said = str(found.problem)
    assert "component c has documents and can train on none of them" in said and "nothing_to_learn 2" in said
    assert "at most 64 tokens" in said


def test_damage_is_seen(tmp_path):
    found = built(tmp_path, TALK)
    path = found.build / "left_out.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(6, "n_kept_tokens", [[n + 1 for n in table["n_kept_tokens"].to_pylist()]]), path)
    done = command.curate("verify", found.build)
    assert done.returncode == 1 and "left_out.parquet" in done.stdout


# The rule document by document (verify's) against the rule in arrays, on made documents.
WHY = ["template_refuses", "nothing_learned"]
DOCUMENT = st.tuples(
    st.integers(0, 3), st.integers(0, 40), st.lists(st.booleans(), min_size=40, max_size=40), st.sampled_from([-1, -1, 0, 1])
)  # pattern, tokens, marks, why it is refused


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    documents=st.lists(DOCUMENT, min_size=1, max_size=12), actions=st.lists(st.sampled_from(["split", "cut", "drop"]), min_size=3, max_size=3),
    lengths=st.lists(st.sampled_from([8, 16, 24]), min_size=2, max_size=2), with_mask=st.booleans(), refuses=st.booleans(),
)  # fmt: skip
def test_two_ways_to_the_same(tmp_path, documents, actions, lengths, with_mask, refuses):
    documents = [(p, 0 if refuses and r >= 0 else n, marks, r if refuses else -1) for p, n, marks, r in documents]
    names = ["a", "b", "c"]
    components = {
        name: {"from": ["s"], "role": "other", "overlong": action} for name, action in zip(names, actions, strict=True)
    }  # fmt: skip
    phases = {
        "one": {
            "total": "10 tokens",
            "sequence_length": lengths[0],
            "components": {"a": "50 % of tokens", "b": "50 % of tokens"},
        },
        "two": {
            "total": "10 tokens",
            "sequence_length": lengths[1],
            "components": {"b": "50 % of tokens", "c": "50 % of tokens"},
        },
    }
    mixture = Mixture.model_validate({"sequence_length": 32, "components": components, "phases": phases})
    patterns = [((0, -1),), ((0, -1), (1, -1)), ((1, -1), (2, -1)), ()]
    n_tokens = np.array([n for _, n, _, _ in documents], np.int64)
    start = np.cumsum(n_tokens) - n_tokens
    mask = np.array([m for _, n, marks, _ in documents for m in marks[:n]], np.uint8)
    (tmp_path / "tokens.ds").write_bytes(bytes(2 * int(n_tokens.sum())))
    (tmp_path / "tokens.ds.loss").unlink(missing_ok=True)
    if with_mask:
        (tmp_path / "tokens.ds.loss").write_bytes(mask.tobytes())
    n_loss = np.array([mask[a : a + n].sum() if with_mask else n for a, n in zip(start, n_tokens, strict=True)], np.int64)
    pattern = np.array([p if n or r >= 0 else 3 for p, n, _, r in documents], np.int32)
    n, none = len(documents), Coded([], np.full(len(documents), -1, np.int32))
    zero = np.zeros(n, np.int64)
    docs = Documents(
        ["s"], names, [[0]] * 3, [np.array([1])] * 3, list(patterns), pattern, zero.astype(np.int16), n_tokens, n_loss,
        zero.astype(np.int32), start, Names(zero.astype(np.uint64), np.arange(n, dtype=np.uint64)), None, none, none, none,
        refused=Coded(WHY, np.array([r for _, _, _, r in documents], np.int32)) if refuses else None,
    )  # fmt: skip
    made_docs, left = leave_out(docs, mixture, [tmp_path / "tokens.ds"])
    if set(actions) == {"split"} and not refuses:
        assert left.table is None and made_docs is docs
        return
    ids = np.array([f"{i:032x}" for i in range(n)], "S32")
    kept = SimpleNamespace(
        n_tokens=n_tokens, n_loss_tokens=n_loss, start=start, id=ids, source=zero, sources=["s"], first=np.array([0, n]),
        masks=lambda: [mask if with_mask else None],
    )  # fmt: skip
    members = SimpleNamespace(names=names, pattern=pattern.astype(np.int64), patterns=patterns)
    limits = [lengths[0], min(lengths), lengths[1]]
    again = _Again(kept, members, actions, limits, n_tokens, [WHY[r] if r >= 0 else None for _, _, _, r in documents])
    assert left.table.to_pylist() == again.rows
    assert np.array_equal(made_docs.n_tokens, again.n_tokens) and np.array_equal(made_docs.n_loss_tokens, again.n_loss)
    assert [made_docs.patterns[p] for p in made_docs.pattern] == [again.patterns[p] for p in again.pattern]
    out = {row["id"] for row in again.rows if row["action"] == "dropped"}
    assert left.is_out.tolist() == [f"{i:032x}" in out for i in range(n)]


def test_a_refused_pair_is_left_out_of_all_its_components():
    n, zero = 2, np.zeros(2, np.int64)
    none = Coded([], np.full(n, -1, np.int32))
    pairs = Pairs(
        np.array([3, 0]),
        np.array([2, 0]),
        np.array([4, 0]),
        np.full(n, np.nan),
    )
    docs = Documents(
        ["s"], ["a"], [[0]], [np.array([1])], [((0, -1),)], zero.astype(np.int32), zero.astype(np.int16), np.array([12, 0]),
        np.array([6, 0]), zero.astype(np.int32), zero, Names(zero.astype(np.uint64), np.arange(n, dtype=np.uint64)), None, none, none,
        none, pairs=pairs, refused=Coded(["empty_completion"], np.array([-1, 0], np.int32)),
    )  # fmt: skip
    mixture = Mixture.model_validate({
        "total": "1 examples", "sequence_length": 8, "packing": "single", "overlong": "drop",
        "components": {"a": {"from": ["s"], "role": "other", "budget": "1 examples"}},
    })  # fmt: skip
    made_docs, left = leave_out(docs, mixture, [])
    assert left.is_out.tolist() == [False, True]  # the first is 3 + 4 tokens at most
    assert left.table.to_pylist() == [
        {"source": "s", "id": f"{1:032x}", "component": "a", "action": "dropped", "reason": "empty_completion", "n_tokens": 0,
         "n_kept_tokens": 0, "length": 0, "sequence_length": 8}]  # fmt: skip
    assert [made_docs.patterns[p] for p in made_docs.pattern] == [((0, -1),), ()]
