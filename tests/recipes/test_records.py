"""Recipes of record at full size: on synthetic token statistics they plan to the totals and shares that were published."""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from curate.recipe import load_recipe
from mixture.plan import report
from mixture.plan_cells import over_cells
from mixture.plan_stats import read_stats
from tests.command import curate

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
B = 10**9


@pytest.fixture
def planned(tmp_path):
    def of(name, stats, **more):
        (tmp_path / "stats.json").write_text(json.dumps(stats))
        recipe = load_recipe(RECIPES / f"{name}.yaml")
        run = over_cells(read_stats(tmp_path / "stats.json", recipe))
        data = report(name, recipe.mixture, run, known="stats", is_exact=False, **more)
        return data["phases"][0], {c["component"]: c for c in data["components"]}, data

    return of


def plenty(documents=10**7, tokens=10 * B):
    return {"documents": documents, "tokens": tokens}


def test_estllm(planned):
    """arXiv 2603.02041: 8.6, 6.9, 3.3, 9.5 and 7.4 of 35.7 billion tokens, one epoch, rows of 4,096."""
    sources = ("estonian", "english", "python", "math", "instruct")
    phase, found, data = planned("estllm", {name: plenty() for name in sources}, global_batch="4194304 tokens")
    assert {name: c["realised"] for name, c in found.items()} == {
        "et": 8_600_000_000, "en": 6_900_000_000, "code": 3_300_000_000, "math": 9_500_000_000, "instruct": 7_400_000_000
    }  # fmt: skip
    assert phase["realised"] == 35_700_000_000 and phase["sequence_length"] == 4096
    assert [round(100 * c["share"], 1) for c in found.values()] == [24.1, 19.3, 9.2, 26.6, 20.7]
    assert all(c["epochs"] <= 1 and c["repeated_tokens"] == 0 for c in found.values()) and data["feasible"]


def test_estllm_has_no_second_epoch(planned):
    """A billion fewer Estonian tokens than asked: which epochs or totals would do, to the token."""
    stats = {name: plenty() for name in ("english", "python", "math", "instruct")}
    _, _, data = planned("estllm", stats | {"estonian": plenty(tokens=7_600_000_000)})
    assert not data["feasible"] and "et asks 8,600,000,000 tokens, has 7,600,000,000 unique" in data["problem"]
    assert [next(iter(c["set"].items())) for c in data["changes"]] == [
        ("mixture.components.et.max_epochs", "1.1315789474"),  # 8.6 / 7.6, up
        ("mixture.total", "31548837209 tokens"),  # 35.7 x 7.6 / 8.6, down
        ("mixture.on_shortage", "shrink_total"), ("mixture.on_shortage", "bend_shares"),
    ]  # fmt: skip
    assert data["changes"][0]["yaml"] == ["mixture:", "  components:", "    et: {max_epochs: 1.1315789474}"]


@pytest.mark.parametrize(("et_mean", "en_mean"), [(600, 600), (500, 900), (1000, 250)])
def test_llammas(planned, et_mean, en_mean):
    """arXiv 2404.04042: 19,080 steps of 262,144 tokens. Tokens are in proportion 3 x mean of Estonian to 1 x mean of English documents."""
    stats = {"culturax_et": plenty(8 * 10**6, 8 * 10**6 * et_mean), "culturax_en": plenty(10**9, 10**9 * en_mean)}
    phase, found, data = planned("llammas", stats, global_batch="256 sequences")
    total = 19_080 * 262_144
    assert phase["realised"] == total == 5_001_707_520 and phase["packing"] == "concat" and data["feasible"]
    exact = Fraction(3 * et_mean, 3 * et_mean + en_mean) * total
    assert abs(found["et"]["realised"] - exact) < 1 and found["et"]["realised"] + found["en"]["realised"] == total
    rows = sum(-(-tokens // 1024) for tokens in [*passes(found["et"]["realised"], 8 * 10**6 * et_mean), found["en"]["realised"]])
    assert phase["sequences"] == rows and phase["padding_tokens"] == rows * 1024 - total < 3 * 1024
    if et_mean == en_mean:  # three quarters of whole rows: nothing is padded
        assert phase["steps"] == 19_080 and phase["padding_tokens"] == 0


def passes(tokens, epoch):
    return [epoch] * (tokens // epoch) + ([tokens % epoch] if tokens % epoch else [])


def test_lucie(planned):
    """Billions of tokens per language as published (en 611.9, fr 928.6, code 229.0, de 206.6, es 200.8, it 112.0, parallel 25.5), split
    between categories so that epochs x tokens has the published shares of 3.1 trillion: the split is ours."""
    tokens = {
        "web_en": 537.7, "wiki_en": 74.2, "web_fr": 852.8, "books_fr": 75.8, "code": 229.0, "web_de": 202.95, "wiki_de": 3.65,
        "web_es": 198.9, "wiki_es": 1.9, "web_it": 109.1, "wiki_it": 2.9, "parallel": 25.5,
    }  # fmt: skip
    phase, found, data = planned("lucie", {name: plenty(tokens=round(1000 * n) * 10**6) for name, n in tokens.items()})
    assert data["feasible"] and phase["realised"] == 3_100 * B
    shares = {}
    for name, c in found.items():
        language = name.rpartition("_")[2]
        shares[language] = shares.get(language, 0) + 100 * c["share"]
    assert {language: round(share, 1) for language, share in shares.items()} == pytest.approx(
        {"fr": 32.4, "en": 33.2, "de": 6.9, "es": 6.6, "it": 3.8, "code": 14.7, "parallel": 2.5}, abs=0.1001
    )
    whole = sum(k * tokens[name] for name, k in MULTIPLIERS.items())
    for name, c in found.items():  # epochs x tokens, all scaled by one factor
        assert c["epochs"] == pytest.approx(MULTIPLIERS[name] * 3100 / whole, rel=1e-9)


MULTIPLIERS = {
    "web_fr": 1, "web_en": 1.5, "web_de": 1, "web_es": 1, "web_it": 1, "wiki_en": 3, "wiki_de": 3, "wiki_es": 3, "wiki_it": 3, "books_fr": 2,
    "code": 2, "parallel": 3,
}  # fmt: skip


def test_the_command_says_so(tmp_path):
    stats = tmp_path / "stats.csv"
    lines = [f"{name},10000000,10000000000" for name in ("estonian", "english", "python", "math", "instruct")]
    stats.write_text("\n".join(["source,documents,tokens", *lines]) + "\n")
    done = curate("plan", RECIPES / "estllm.yaml", "--stats", stats, "--tokens-per-second", "100k")
    assert done.returncode == 0, done.stderr
    assert "main: 35,700,000,000 tokens, sequences of 4,096 tokens" in done.stdout
    assert "26.6 %" in done.stdout
    assert "at least 8,715,823 sequences (lengths are not known)   4.1 days" in done.stdout  # 35.7 billion at 100,000 a second
    short = curate("plan", RECIPES / "estllm.yaml", "--stats", stats, "--set", "mixture.components.et.budget=18.6B tokens",
                   "--set", "mixture.total=45.7B tokens")  # fmt: skip
    assert short.returncode == 1
    assert "    et: {max_epochs: 1.86}" in [line[2:] for line in short.stdout.splitlines()]
