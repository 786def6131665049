"""A build of three phases and three units through the inspection: corpus.duckdb, screen, statistics, diff; verify agrees with all of it."""

from __future__ import annotations

import pytest

from curate import membership
from curate.inspect import corpus as room
from curate.inspect import diff, screen, stats
from curate.inspect.corpus import open_corpus, rows
from mixture.verify import verify
from tests import made

MIXTURE = {
    "sequence_length": 64,
    "components": {
        "long": {"from": ["web"], "where": {"n_words": {"min": 60}}, "role": "target", "max_epochs": 3},
        "web": {"from": ["web"], "role": "target", "max_epochs": 2},
        "chat": {"from": ["chat"], "role": "instruction", "max_epochs": 3},
    },
    "phases": {
        "main": {"total": "3000 tokens", "components": {"web": "80 % of tokens", "chat": "20 % of tokens"}},
        "anneal": {
            "total": "900 tokens",
            "sequence_length": 128,
            "components": {"long": "70 % of tokens", "web": "30 % of tokens"},
        },
        "answers": {"total": "9 examples", "packing": "concat", "components": {"chat": "100 % of examples"}},
    },
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    top = tmp_path_factory.mktemp("phases")
    made.write_source(top / "raw", "web", [{"id": f"w{i}", "text": made.text(30 + 3 * i, f"w{i}")} for i in range(30)])
    chat = [{"id": f"c{i}", "messages": [{"role": "user", "content": made.text(6, f"q{i}")}, {"role": "assistant", "content": made.text(9, f"a{i}")}]}
            for i in range(12)]  # fmt: skip
    made.write_source(top / "raw", "chat", chat)
    sources = {
        "web": {"read": "raw/web.jsonl", "language": "et", "license": {"declared": "CC0-1.0"}},
        "chat": {"read": "raw/chat.jsonl", "type": "conversation", "language": "en", "license": {"declared": "MIT"}},
    }
    return made.build(made.write_recipe(top, sources=sources, mixture=MIXTURE))


def test_components_by_phase_are_those_of_the_manifest(built):
    stated = {(c["name"], p["phase"]): p for c in built.manifest["components"] for p in c["phases"]}
    with open_corpus(built.build) as corpus:
        found = rows(corpus, "FROM component_phases")
        [(components,)] = corpus.execute("SELECT list(requested ORDER BY component) FROM components").fetchall()
    assert [(r["phase"], r["component"]) for r in found] == [
        ("main", "web"), ("main", "chat"), ("anneal", "long"), ("anneal", "web"), ("answers", "chat"),
    ]  # fmt: skip
    for row in found:
        own = stated[row["component"], row["phase"]]
        assert (row["train_tokens"], row["train_loss_tokens"], row["examples"]) == (
            own["tokens"],
            own["loss_tokens"],
            own["examples"],
        )
        assert (row["unit"], row["requested"], row["realised"], row["cap"]) == (
            own["unit"],
            own["requested"],
            own["realised"],
            own["cap_tokens"],
        )
        assert (row["unique_tokens"], row["epochs"], row["max_epochs_used"]) == (
            own["unique_tokens"],
            own["epochs"]["mean"],
            own["epochs"]["max"],
        )
    assert components == [
        None,
        630,
        2670,
    ]  # chat counts tokens and examples; long and web tokens: 0.7 x 900, 0.8 x 3000 + 0.3 x 900
    assert sum(r["sequences"] for r in found) == sum(p["order"]["n_sequences"] for p in built.manifest["phases"])


def test_screen_and_statistics(built):
    text = screen.render(screen.screen(built.build))
    lines = text.splitlines()
    assert any(line.startswith("main     web") and "2.400 k" in line and "80 %" in line for line in lines), text
    assert any(line.startswith("answers  chat") and "9 examples" in line for line in lines), text
    phases = built.manifest["phases"]
    for phase in phases:
        says = f"{phase['name']}: {phase['budget']['tokens']:,} tokens in {phase['order']['n_sequences']:,} sequences of {phase['sequence_length']:,}"
        assert any(line.startswith(says) for line in lines), text
    longer = {p["name"]: p["packing"]["longer_rows"]["sequence_length"] for p in phases if "longer_rows" in p["packing"]}
    for name, length in longer.items():
        assert any(
            f"phase {name}: " in line and f"sequence_length {length:,} leaves little" in line for line in lines if length
        ), text
    assert all(len(line) <= 100 for line in lines if str(built.build) not in line)
    shown = stats.render(stats.stats(built.build))
    assert "components by phase" in shown and "9 examples" in shown


def test_bent_budgets_are_said(built, tmp_path):
    sets = ["mixture.phases.anneal.total=20000 tokens", "mixture.phases.anneal.on_shortage=shrink_total"]
    bent = made.build(built.build.parent / "recipe.yaml", tmp_path / "bent", sets)
    assert not bent.problem
    text = screen.render(screen.screen(bent.build))
    assert "phase anneal: on_shortage shrink_total: " in text and "cannot give what is asked" in text
    data = diff.diff(built.build, bent.build)
    assert data["phases"]["anneal"]["b"]["tokens"] > data["phases"]["anneal"]["a"]["tokens"] == 900
    by = diff.compare_by(built.build, bent.build, ["phase", "n_words=60", "component"])["by"]
    phases = {row["value"]: row["a"]["tokens"] for row in by[0]["rows"]}
    assert phases == {p["name"]: p["budget"]["tokens"] for p in built.manifest["phases"]}
    words = {row["value"]: row["a"] for row in by[1]["rows"]}
    assert sum(side["tokens"] for side in words.values()) == sum(phases.values())
    assert sum(side["documents"] for side in words.values()) == sum(_used(built).values())


def _used(built) -> dict[str, int]:
    with open_corpus(built.build) as corpus:
        return dict(corpus.execute("SELECT source, selected FROM sources").fetchall())


def test_verify_agrees(built):
    report = verify(built.build, built.build.parent, membership=membership.membership, derived=room.differences)
    assert report.ok, report.text()
