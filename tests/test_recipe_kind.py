"""kind: cpt | sft | preference: which sources each takes, and what is learned of them."""

from __future__ import annotations

import pytest
import yaml

from curate.errors import CurateError
from curate.recipe import load_recipe

SOURCES = {
    "talk": {"read": "t.jsonl", "type": "conversation", "license": {"declared": "MIT"}},
    "translate": {"read": "p.jsonl", "type": "parallel", "parallel": {"languages": ["en", "et"], "form": "translation"},
                  "license": {"declared": "MIT"}},
    "pairs": {"read": "q.jsonl", "type": "preference", "preference": {"of": "pairs"}, "license": {"declared": "MIT"}},
    "web": {"read": "w.jsonl", "license": {"declared": "MIT"}},
}  # fmt: skip


def written(tmp_path, kind: str, of: list[str], **source):
    data = {
        "kind": kind, "name": "k", "tokenizer": {"model": "tok"}, "sources": {**SOURCES, "talk": {**SOURCES["talk"], **source}},
        "mixture": {"total": "10 examples", "sequence_length": 64,
                    "components": {"c": {"from": of, "role": "instruction", "budget": "10 examples"}}},
    }  # fmt: skip
    (tmp_path / "k.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return tmp_path / "k.yaml"


def test_sft_learns_what_the_assistant_says(tmp_path):
    recipe = load_recipe(written(tmp_path, "sft", ["talk", "translate"]))
    assert {name: source.loss for name, source in recipe.sources.items()} == {
        "talk": "assistant", "translate": "assistant", "pairs": "all", "web": "all"}  # fmt: skip
    (tmp_path / "again.yaml").write_bytes(recipe.canonical_yaml())
    assert load_recipe(tmp_path / "again.yaml").sha256 == recipe.sha256


def test_a_source_may_say_otherwise_and_cpt_learns_everything(tmp_path):
    assert load_recipe(written(tmp_path, "sft", ["talk"], loss="all")).sources["talk"].loss == "all"
    assert load_recipe(written(tmp_path, "cpt", ["talk"])).sources["talk"].loss == "all"


@pytest.mark.parametrize(
    ("kind", "of", "said"),
    [
        ("sft", ["talk", "web"], "kind: sft trains on conversations, and component 'c' has source 'web'"),
        ("sft", ["pairs"], "kind: sft trains on conversations, and component 'c' has source 'pairs'"),
        ("preference", ["pairs", "talk"], "kind: preference trains on pairs, and component 'c' has source 'talk'"),
    ],
)
def test_another_source_is_refused(tmp_path, kind, of, said):
    with pytest.raises(CurateError, match="kind: cpt trains on every type") as error:
        load_recipe(written(tmp_path, kind, of))
    assert said in str(error.value) and "k.yaml:" in error.value.where


def test_an_unknown_kind_names_the_known_ones(tmp_path):
    with pytest.raises(CurateError, match="'cpt', 'sft' or 'preference'"):
        load_recipe(written(tmp_path, "dpo", ["talk"]))
