"""From raw records to what a person sees: a planted spam domain is found by what its documents fail, and by its template."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from curate import pipeline
from curate.errors import CurateError
from curate.inspect import corpus as corpus_room
from curate.inspect import samples as samples_room
from curate.inspect import screen as screen_room
from curate.inspect import stats as stats_room
from curate.inspect.corpus import open_corpus, rows
from curate.recipe import Recipe, load_recipe
from curate.store import Store

TOP = Path(__file__).resolve().parent.parent
WORDS = [f"sõna{i}" for i in range(3000)]
SPAM = "Osta odavalt ja kohe, parim hind\n{}\nTellimine on tasuta, kliki siia\nKõik õigused kaitstud"
RULES = ["{signal: n_words, min: 40}", "{signal: domain_drop_ratio, max: 0.8}", "{signal: domain_template_ratio, max: 0.5}"]


def records() -> list[dict]:
    """30 domains of 4 articles, and osta.ee: 20 pages of a template, 17 of them too short; 3 records without an address."""
    rng = random.Random(5)
    found = [{"text": "\n".join(" ".join(rng.choices(WORDS, k=30)) for _ in range(2)), "url": f"https://www.leht{i % 30}.ee/{i}"}
             for i in range(120)]  # fmt: skip
    for i in range(20):
        own = " ".join(rng.choices(WORDS, k=4 if i < 17 else 40))
        found.append({"text": SPAM.format(own), "url": f"http://pood{i}.osta.ee/?p={i}"})
    return [*found, *({"text": " ".join(rng.choices(WORDS, k=50))} for _ in range(3))]


def recipe(folder: Path, rules: list[str], listed: list[dict]) -> Path:
    (folder / "raw").mkdir(exist_ok=True)
    half = len(listed) // 2
    for i, part in enumerate((listed[:half], listed[half:])):
        (folder / "raw" / f"{i}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in part))
    (folder / "pood.txt").write_text("osta.ee\n")
    lines = "\n".join(f"- {rule}" for rule in rules)
    (folder / "r.yaml").write_text(f"""
kind: cpt
name: web
tokenizer: {{model: '{TOP / "recipes/quickstart/tokenizer"}', eos: per_document}}
sources:
  web: {{read: raw/*.jsonl, language: et, license: {{declared: CC0-1.0}}}}
urls: {{block_lists: {{pood: pood.txt}}}}
rules:
{lines}
dedup: {{near: null}}
mixture: {{total: 1k tokens, sequence_length: 64, components: {{et: {{from: web, role: target, budget: 1k tokens}}}}}}
""")
    return folder / "r.yaml"


def build(folder: Path, loaded: Recipe, workers: int = 1) -> pipeline.Curated:
    pipeline.check(loaded)
    curated = pipeline.curate(loaded, Store(folder / "store"), workers=workers)
    out = folder / "build"
    out.mkdir(exist_ok=True)
    (out / "recipe.yaml").write_bytes(loaded.canonical_yaml())
    corpus_room.write_corpus(out, curated.stages(), None)
    return curated


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    return folder, build(folder, load_recipe(recipe(folder, RULES, records())))


def test_the_planted_domain_is_found(web):
    folder, _ = web
    with open_corpus(folder / "build") as corpus:
        [spam] = rows(corpus, "FROM domains WHERE domain = 'osta.ee'")
        assert (spam["documents"], spam["kept"], spam["dropped_ratio"]) == (20, 0, 1.0)
        assert spam["reasons"] == {"min_n_words": 0.85, "max_domain_drop_ratio": 0.15}
        assert rows(corpus, "SELECT count(*) AS n FROM decisions WHERE keep") == [{"n": 123}]
        [row] = rows(corpus, """SELECT DISTINCT domain_documents, domain_drop_ratio, domain_duplicate_ratio, url_category
            FROM signals WHERE domain = 'osta.ee'""")  # fmt: skip
        assert list(row.values()) == [20, 0.85, 0.0, "pood"]
        found = rows(corpus, "SELECT failed_rules, value, bound FROM decisions WHERE reason = 'max_domain_drop_ratio'")
        expected = {"failed_rules": ["max_domain_drop_ratio", "max_domain_template_ratio"], "value": 0.85, "bound": "<= 0.8"}
        assert found == [expected] * 3
        loose = rows(corpus, "SELECT max(domain_template_ratio) AS t FROM signals WHERE domain <> 'osta.ee'")
        assert loose == [{"t": 0.0}]
        assert rows(corpus, "SELECT count(*) AS n FROM signals WHERE domain IS NULL AND domain_drop_ratio IS NULL") == [{"n": 3}]


def test_by_its_template_alone(web, tmp_path):
    loaded = load_recipe(recipe(tmp_path, RULES[2:], records()))
    build(tmp_path, loaded)
    with open_corpus(tmp_path / "build") as corpus:
        dropped = rows(corpus, "SELECT domain, count(*) AS n FROM decisions JOIN addresses USING (id) WHERE NOT keep GROUP BY 1")
    assert dropped == [{"domain": "osta.ee", "n": 20}]


def test_files_order_and_workers_change_no_root(web, tmp_path):
    _, first = web
    shuffled = records()
    random.Random(9).shuffle(shuffled)
    second = build(tmp_path, load_recipe(recipe(tmp_path, RULES, shuffled)), workers=2)
    assert first.relations is not None and second.relations is not None
    assert first.decisions is not None and second.decisions is not None
    for family in ("url", "url_lists"):
        assert first.signals["web", family].root == second.signals["web", family].root
    assert first.relations.domains["web"].root == second.relations.domains["web"].root
    assert first.decisions.root == second.decisions.root


def test_another_list_relates_nothing_again(web):
    folder, first = web
    (folder / "pood.txt").write_text("leht1.ee\n")
    changed = build(folder, load_recipe(folder / "r.yaml"))
    assert changed.signals["web", "url_lists"] != first.signals["web", "url_lists"]
    assert changed.signals["web", "url"] == first.signals["web", "url"] and changed.relations == first.relations
    (folder / "pood.txt").write_text("osta.ee\n")
    build(folder, load_recipe(folder / "r.yaml"))


def test_samples_of_a_domain(web):
    folder, _ = web
    data = samples_room.samples(folder / "build", domain="osta.ee", n=20)
    assert data["total"] == 20 and len(data["samples"]) == 20 and all("Osta odavalt" in d["text"] for d in data["samples"])
    text = samples_room.render(data)
    assert "20 of 20 documents of osta.ee kept or dropped" in text and "dropped for max_domain_drop_ratio" in text
    assert "web: 0 kept, 20 dropped (min_n_words 85 %, max_domain_drop_ratio 15 %)" in text
    both = samples_room.samples(folder / "build", reason="max_domain_drop_ratio", domain="osta.ee")
    assert both["total"] == 3 and both["near_bound"] == []
    kept = samples_room.samples(folder / "build", domain="leht3.ee", source="web")
    assert kept["total"] == 4 and "\nkept\n" in samples_room.render(kept)
    with pytest.raises(CurateError, match="no document of the web domain") as caught:
        samples_room.samples(folder / "build", domain="ostta.ee")
    assert "osta.ee" in caught.value.allowed


def test_nearest_to_a_bound_over_domains(web):
    folder, _ = web
    [near] = samples_room.samples(folder / "build", reason="max_domain_drop_ratio")["near_bound"]
    assert near["signal"] == "domain_drop_ratio" and {d["value"] for d in near["kept"]} == {0.0}


def test_statistics_show_domains_with_their_reasons(web):
    text = stats_room.render(stats_room.stats(web[0] / "build"))
    assert "min_n_words 85 %" in text and "www.leht3.ee" not in text


@pytest.mark.slow
def test_the_end_screen_names_domains_that_dominate(tmp_path):
    listed = [{"text": f"{r['text']} {i}", "url": r["url"]} for i, r in enumerate(records()[:120])]
    big = [{"text": " ".join(random.Random(i).choices(WORDS, k=300)), "url": f"https://suur{i % 2}.ee/{i}"} for i in range(8)]
    path = recipe(tmp_path, ["{signal: n_words, min: 1}"], listed + big)
    curate = [sys.executable, "-m", "curate"]
    places = ["--out", str(tmp_path / "b"), "--store", str(tmp_path / "s")]
    done = subprocess.run(
        [*curate, "build-mixture", str(path), *places, "--workers", "1"], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [hint] = [line for line in done.stdout.split("\n") if "web domains hold" in line]
    data = screen_room.screen(tmp_path / "b")
    assert hint.removeprefix("! ") in data["hints"]
    assert hint.startswith("! 2 web domains hold ") and "kept web tokens: curate samples" in hint
    shown = subprocess.run([*curate, *hint.partition("curate ")[2].split()], cwd=TOP, capture_output=True, text=True, check=False)
    assert shown.returncode == 0 and "4 of 4 documents of suur" in shown.stdout
    verified = subprocess.run([*curate, "verify", str(tmp_path / "b")], cwd=TOP, capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr
