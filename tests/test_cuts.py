"""Cuts from the recipe to the checked build: merging by hand and by property, signals after cuts, and a build of the whole road."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curate import pipeline, text
from curate.cuts import Entry, entries, merged
from curate.errors import CurateError
from curate.recipe import load_recipe
from curate.schema import CUTS, REPEATS, SPANS
from curate.signals import FAMILIES, Batch, gopher, length, lines, pii, signal_names
from curate.store import Store, table_root
from mixture.verify import verify
from tests.command import curate
from tests.mixture import tiny_tokenizer

PII = Entry("pii", ("email", "phone"), ("[EMAIL]", "[PHONE]"))
LINES = Entry("lines", ("c4_few_words", "c4_citation"), ("", ""))


def spans(*rows: tuple[int, int, int, str]) -> pa.Table:
    columns = zip(*sorted(rows, key=lambda r: r[:2]), strict=True) if rows else [[]] * 4
    return pa.table([pa.array(list(column), t.type) for column, t in zip(columns, SPANS, strict=True)], schema=SPANS)


def cut(asked: list[Entry], **found: pa.Table) -> list[tuple]:
    table = merged(asked, {"pii": spans(), "lines": spans(), **found})
    assert table.schema.equals(CUTS) and table["n_documents"].null_count == len(table)  # neither family counts
    return [tuple(row.values())[:5] for row in table.to_pylist()]


def test_only_the_asked_kinds_each_with_what_stands_for_it() -> None:
    found = spans((1, 4, 9, "phone"), (0, 0, 3, "email"), (0, 5, 7, "iban"), (1, 0, 4, "email"))
    assert cut([PII], pii=found) == [(0, 0, 3, "email", "[EMAIL]"), (1, 0, 4, "email", "[EMAIL]"), (1, 4, 9, "phone", "[PHONE]")]
    assert cut([Entry("pii", (), ())], pii=found) == cut([PII]) == []


def test_a_line_swallows_what_was_found_inside_it() -> None:
    pair = {"pii": spans((0, 2, 5, "email"), (1, 0, 4, "phone")), "lines": spans((0, 0, 8, "c4_few_words"), (0, 6, 7, "c4_citation"),
                                                                                 (1, 0, 4, "c4_few_words"))}  # fmt: skip
    for asked in ([PII, LINES], [LINES, PII]):
        assert cut(asked, **pair) == [(0, 0, 8, "c4_few_words", ""), (1, 0, 4, "c4_few_words", "")]
    twice = spans((0, 0, 8, "c4_few_words"), (0, 0, 8, "refinedweb_one_word"))
    both = Entry("lines", ("c4_few_words", "refinedweb_one_word"), ("", ""))
    assert cut([both], lines=twice) == [(0, 0, 8, "c4_few_words", "")]


def test_what_overlaps_is_one_cut_of_the_earlier_entry() -> None:
    pair = {"pii": spans((0, 2, 6, "email")), "lines": spans((0, 4, 9, "c4_few_words"))}
    assert cut([PII, LINES], **pair) == [(0, 2, 9, "email", "[EMAIL]")]
    assert cut([LINES, PII], **pair) == [(0, 2, 9, "c4_few_words", "")]
    chain = spans((0, 0, 3, "phone"), (0, 2, 5, "email"), (0, 4, 7, "phone"), (0, 7, 8, "phone"))
    assert cut([PII], pii=chain) == [(0, 0, 7, "email", "[EMAIL]"), (0, 7, 8, "phone", "[PHONE]")]  # touching is not overlapping


SPAN = st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(1, 6), st.integers(0, 3))


@settings(max_examples=300)
@given(st.lists(SPAN, max_size=12), st.booleans())
@example([(0, 0, 6, 2), (0, 5, 6, 2), (0, 4, 4, 0)], False)
def test_every_asked_byte_is_cut_once_and_no_other(found: list[tuple], lines_first: bool) -> None:
    kinds = (*PII.kinds, *LINES.kinds)
    rows = [(row, a, a + n, kinds[k]) for row, a, n, k in found]
    tables = {"pii": spans(*(r for r in rows if r[3] in PII.kinds)), "lines": spans(*(r for r in rows if r[3] in LINES.kinds))}
    result = cut([LINES, PII] if lines_first else [PII, LINES], **tables)
    covered = [(row, i) for row, a, b, _, _ in result for i in range(a, b)]
    assert len(covered) == len(set(covered)) and set(covered) == {(row, i) for row, a, b, _ in rows for i in range(a, b)}
    assert result == sorted(result, key=lambda r: r[:2])
    assert result == cut([LINES, PII] if lines_first else [PII, LINES], **tables)


def repeats(*rows: tuple) -> pa.Table:
    """row, start, end, kind, then documents and first place of the corpus; the source has half of them, the domain none."""
    full = [(*r[:5], r[4] // 2, 0, r[5], True, False) for r in rows]
    return pa.Table.from_pylist([dict(zip(REPEATS.names, r, strict=True)) for r in full], schema=REPEATS)


LINE = Entry("repeated_lines", ("repeated_line",), ("",), "corpus", 3)
RUN = Entry("repeated_substrings", ("repeated_substring",), ("",), "corpus", 1, True)


def test_enough_documents_per_what_and_what_stays() -> None:
    found = repeats(
        (0, 0, 5, "repeated_line", 2, True), (0, 5, 9, "repeated_line", 3, True), (1, 0, 4, "repeated_line", 6, False)
    )

    def rows(entry: Entry) -> list[tuple]:
        return [tuple(row.values()) for row in merged([entry], {"repeated_lines": found}).to_pylist()]

    second, third = (0, 5, 9, "repeated_line", "", 3), (1, 0, 4, "repeated_line", "", 6)
    assert rows(LINE) == [second, third]  # exactly 3 is enough
    assert rows(LINE._replace(min_documents=4)) == [third] and rows(LINE._replace(keep_first=True)) == [third]
    assert rows(LINE._replace(per="source")) == [(*third[:5], 3)]  # its count is the source's
    assert rows(LINE._replace(per="source", keep_first=True)) == [] == rows(LINE._replace(per="domain", min_documents=2))


def test_a_cut_carries_the_count_of_its_own_kind() -> None:
    lines_ = repeats(
        (0, 10, 20, "repeated_line", 9, False), (0, 40, 50, "repeated_line", 5, False), (0, 60, 70, "repeated_line", 4, True)
    )
    run = "repeated_substring"
    runs = repeats((0, 8, 30, run, 2, False), (0, 20, 34, run, 3, False), (0, 45, 55, run, 2, False), (0, 62, 68, run, 7, True))
    found = {"repeated_lines": lines_, "repeated_substrings": runs, "pii": spans((0, 12, 15, "email"), (0, 66, 72, "email"))}
    table = merged([PII, LINE, RUN], found)
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        (0, 8, 34, "repeated_substring", "", 3),  # the line and the address lie inside the first run
        (0, 40, 55, "repeated_line", "", 5),  # it overlaps a run; the entry of lines stands first
        (0, 60, 72, "email", "[EMAIL]", None),
    ]  # fmt: skip


# ---- recipes

BASE = {
    "kind": "cpt", "name": "c", "tokenizer": {"model": "tok"}, "dedup": {"near": None, "exact": "none"},
    "sources": {
        "web": {"read": "web*.jsonl", "language": "et", "license": {"declared": "CC0-1.0"}},
        "chat": {"read": "chat.jsonl", "type": "conversation", "loss": "assistant", "language": "et", "license": {"declared": "CC0-1.0"}},
    },
    "language_id": [{"backend": "py3langid", "candidates": ["et", "en"]}],
    "cuts": [{"kind": "pii", "of": ["email"]}, {"kind": "lines", "of": ["refinedweb", "c4_javascript"]}],
    "mixture": {
        "total": "40 tokens", "sequence_length": 16, "components": {
            "et": {"from": ["web"], "role": "target", "budget": "30 tokens"},
            "chat": {"from": ["chat"], "role": "instruction", "budget": "10 tokens"},
        },
    },
}  # fmt: skip


def recipe(folder: Path, **changes: object):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**BASE, **changes}, sort_keys=False))
    return load_recipe(folder / "recipe.yaml")


def test_kinds_groups_and_all(tmp_path) -> None:
    def asked(**entry) -> list[Entry]:
        made = recipe(tmp_path, cuts=[entry])
        return entries(made, made.sources["web"])

    assert asked(kind="lines", of="all") == [Entry("lines", lines.KINDS, ("",) * len(lines.KINDS))]
    assert asked(kind="lines", of=["c4_policy", "refinedweb"])[0].kinds == ("c4_policy", *lines.KINDS[6:])
    assert asked(kind="pii", of=["phone", "email"], **{"as": "constant"}) == [
        Entry("pii", ("email", "phone"), ("[PII]", "[PII]"))
    ]
    assert asked(kind="pii", of="all", **{"as": "removed"})[0].replacements == ("",) * len(pii.KINDS)
    assert asked(kind="pii", of="email", sources=["chat"]) == []


def test_mistakes_are_found_before_any_work(tmp_path) -> None:
    for entry, said in (
        ({"kind": "pii", "of": ["emial"]}, "cuts of kind pii know no 'emial'"), ({"kind": "lines", "of": "refined_web"}, "refinedweb"),
        ({"kind": "lines", "of": "c4", "as": "constant"}, "lines are removed"),
    ):  # fmt: skip
        made = recipe(tmp_path, cuts=[entry])
        with pytest.raises(CurateError, match=said):
            (tmp_path / "web.jsonl").touch(), (tmp_path / "chat.jsonl").touch()
            pipeline.check(made)
    with pytest.raises(CurateError, match="empty_after_cuts"):
        recipe(tmp_path, rules=[{"signal": "n_words", "min": 1, "name": "empty_after_cuts"}])


def test_cuts_bring_their_rule_and_take_it_away_again(tmp_path) -> None:
    rules = [{"signal": "n_words", "min": 2}]
    everywhere = recipe(tmp_path, rules=rules)
    assert [(r.name, r.signal, r.sources, r.origin) for r in everywhere.rules] == [
        ("min_n_words", "n_words", None, "recipe"), ("empty_after_cuts", "after_cuts_n_words", None, "cuts"),
    ]  # fmt: skip
    (tmp_path / "again.yaml").write_bytes(everywhere.canonical_yaml())
    assert load_recipe(tmp_path / "again.yaml").sha256 == everywhere.sha256
    assert [r.name for r in load_recipe(tmp_path / "again.yaml", ["cuts=[]"]).rules] == ["min_n_words"]
    some = load_recipe(tmp_path / "again.yaml", ["cuts=[{kind: pii, of: email, sources: chat}]"])
    assert [r.sources for r in some.rules] == [None, ["chat"]]
    assert recipe(tmp_path, cuts=[]).rules == []


def test_the_preset_of_dclm_bounds_what_the_lines_take(tmp_path) -> None:
    made = recipe(tmp_path, cuts=[], rules=[{"preset": "dclm/lines"}])
    assert [(r.signal, r.max) for r in made.rules] == [("refinedweb_cut_word_ratio", 0.05)]
    assert signal_names(made, made.sources["web"])["refinedweb_cut_word_ratio"] == "ratio"


def test_every_measured_family_has_names_after_cuts(tmp_path) -> None:
    made = recipe(tmp_path)
    known = signal_names(made, made.sources["web"])
    for name in ("n_words", "n_lines", "mean_word_chars", "alpha_word_ratio"):
        assert known[f"after_cuts_{name}"] == known[name]


# ---- the stages, in process

WEB = [
    "Tere tulemast siia lehele täna.\nKirjuta mulle mari@firma.ee või helista.\n3 likes\nJavascript peab olema sees, muidu ei tööta.\n",
    "3 likes\r\nAVALEHT\r\n",
    "Lihtne tekst ilma lõigeteta, täiesti tavaline.\nTeine rida samuti siin.",
    "mari@firma.ee",
    "Üks tavaline lause siin.\n12345\nKaks lauset ongi parem kui üks.",
]
CHAT = [
    [{"role": "user", "content": "Kirjuta kiri aadressile mari@firma.ee palun."}, {"role": "assistant", "content": "3 likes"}],
    [{"role": "user", "content": "Tere, kuidas sul läheb?"}, {"role": "assistant", "content": "Hästi, aitäh küsimast."}],
]
AFTER = {  # by hand: what is left of WEB
    WEB[0]: "Tere tulemast siia lehele täna.\nKirjuta mulle [EMAIL] või helista.\n", WEB[1]: "", WEB[2]: WEB[2],
    WEB[3]: "", WEB[4]: "Üks tavaline lause siin.\nKaks lauset ongi parem kui üks.",
}  # fmt: skip


def write_input(folder: Path, shards: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tiny_tokenizer.write(folder / "tok", template=tiny_tokenizer.CHATML)
    for k in range(shards):
        rows = [{"id": str(i), "text": t} for i, t in enumerate(WEB)][k::shards]
        (folder / f"web{k}.jsonl").write_text("\n".join(json.dumps(r) for r in (rows if k % 2 == 0 else rows[::-1])))
    (folder / "chat.jsonl").write_text("\n".join(json.dumps({"messages": m}) for m in CHAT))


def run(folder: Path, store: Store | None = None, **changes: object) -> pipeline.Curated:
    made = recipe(folder, **changes)
    pipeline.check(made)
    return pipeline.curate(made, store or Store(folder / "store"), workers=1)


def table(stage, file: str) -> pa.Table:
    return pa.concat_tables(pq.read_table(stage.shard_path(key) / file) for key in stage.keys if key != "quarantine")


RULES = [
    {"signal": "mean_word_chars", "max": 30, "after_cuts": True},
    {"signal": "n_refinedweb_words", "max": 9, "after_cuts": True},
]


def test_signals_after_cuts_are_those_of_the_cut_texts(tmp_path) -> None:
    write_input(tmp_path)
    done = run(tmp_path, rules=RULES)
    texts = table(done.documents["web"], "documents.parquet")["text"].to_pylist()
    after = pa.array([AFTER[t] for t in texts], pa.large_string())
    data, offsets = text.buffers(after)
    batch = Batch(after, data, offsets, text.segment(data, offsets), {}, {})
    stop = gopher.measurer(gopher.stop_words("et"))
    for measured in (length.measurer(), stop, lines.measurer()):
        family = measured.family
        got = table(done.signals["web", f"after_cuts_{family.name}"], f"after_cuts_{family.name}.parquet")
        assert got.column_names == ["id", *(f"after_cuts_{c.name}" for c in family.columns)]
        want = measured.measure(batch)
        for column in family.columns:
            assert got[f"after_cuts_{column.name}"].to_pylist() == want[column.name].tolist(), column.name
    assert ("web", "after_cuts_c4") not in done.signals  # nobody asked
    decisions = table(done.decisions, "decisions.parquet").to_pylist()
    dropped = {d["id"]: (d["reason"], d["signal"], d["value"], d["bound"]) for d in decisions if not d["keep"]}
    ids = dict(zip(texts, table(done.documents["web"], "documents.parquet")["id"].to_pylist(), strict=True))
    assert dropped == {ids[WEB[i]]: ("empty_after_cuts", "after_cuts_n_words", 0.0, ">= 1") for i in (1, 3)}


def test_without_cuts_the_signal_after_cuts_is_the_signal(tmp_path) -> None:
    write_input(tmp_path)
    done = run(tmp_path, rules=RULES, cuts=[{"kind": "pii", "of": "email", "sources": ["chat"]}])
    assert set(done.cuts) == {"chat"}
    assert ("web", "after_cuts_length") not in done.signals and ("chat", "after_cuts_length") in done.signals
    for family in ("gopher_quality", "lines"):
        names = [f"after_cuts_{n}" if n != "id" else n for n in FAMILIES[family].schema().names]
        plain = table(done.signals["web", family], f"{family}.parquet").rename_columns(names)
        assert table(done.signals["web", f"after_cuts_{family}"], f"after_cuts_{family}.parquet").equals(plain)


def test_no_cuts_no_stage(tmp_path) -> None:
    write_input(tmp_path)
    done = run(tmp_path, cuts=[])
    assert done.cuts == {} and "cuts" not in done.stages() and not any(f.startswith("after_cuts") for _, f in done.signals)


def test_only_what_depends_on_the_cuts_is_done_again(tmp_path) -> None:
    write_input(tmp_path)
    store = Store(tmp_path / "store")
    first = run(tmp_path, store)
    again = run(tmp_path, store, cuts=[{"kind": "pii", "of": "email", "as": "removed"}])
    assert first.signals["web", "length"] == again.signals["web", "length"] and first.signatures == again.signatures
    assert first.cuts["web"] != again.cuts["web"] and first.cuts["web"].root != again.cuts["web"].root
    same = run(tmp_path, store, cuts=[{"kind": "pii", "of": ["email"]}, {"kind": "lines", "of": ["c4_javascript", "refinedweb"]}])
    assert same.cuts == first.cuts  # the order inside one entry says nothing


def test_layout_does_not_matter(tmp_path) -> None:
    roots = []
    for n in (1, 3):
        write_input(tmp_path / str(n), n)
        done = run(tmp_path / str(n), rules=RULES)
        roots.append([stage.root for stage in (*done.cuts.values(), *done.signals.values(), done.decisions)])
    assert roots[0] == roots[1]


# ---- the whole road, as a user runs it


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    top = tmp_path_factory.mktemp("cuts")
    write_input(top)
    recipe(top)
    done = curate("build-mixture", top / "recipe.yaml", "--out", top / "build", "--store", top / "store")
    assert done.returncode == 0, done.stderr
    return top


def test_the_tokens_decode_to_the_cut_texts(built) -> None:
    from curate.recipe import TokenizerSpec
    from mixture.token_files import TokenShards
    from mixture.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(TokenizerSpec(model=str(built / "tok")))
    decoded = set()
    for folder in sorted((built / "store" / "tokens").glob("*/0*")):
        shard = TokenShards([folder])
        for row in shard.index(0).to_pylist():
            ids = shard.tokens(0)[row["token_start"] : row["token_start"] + row["n_tokens"]]
            decoded.add(tokenizer.decode(ids).removesuffix("<|endoftext|>"))
    chats = {
        "<|im_start|>user\nKirjuta kiri aadressile [EMAIL] palun.<|im_end|>\n<|im_start|>assistant\n<|im_end|>\n",
        "<|im_start|>user\nTere, kuidas sul läheb?<|im_end|>\n<|im_start|>assistant\nHästi, aitäh küsimast.<|im_end|>\n",
    }
    assert decoded == {AFTER[t] for t in WEB if AFTER[t]} | chats


def test_the_build_says_what_it_cut(built) -> None:
    build = str(built / "build")
    manifest = json.loads((built / "build" / "manifest.json").read_text())
    assert [stage["of"] for stage in manifest["lineage"] if stage["stage"] == "cuts"] == [["web"], ["chat"]]
    stats = json.loads(curate("stats", build, "--json").stdout)["cuts"]
    assert {(c["source"], c["kind"]): (c["cuts"], c["documents"], c["bytes"]) for c in stats} == {
        ("web", "email"): (1, 1, 13), ("web", "c4_javascript"): (1, 1, 46), ("web", "refinedweb_counter"): (2, 2, 8 + 9),
        ("web", "refinedweb_uppercase"): (1, 1, 9), ("web", "refinedweb_numeric"): (1, 1, 6), ("web", "refinedweb_one_word"): (1, 1, 13),
        ("chat", "email"): (1, 1, 13), ("chat", "refinedweb_counter"): (1, 1, 7),
    }  # fmt: skip
    assert "cuts: parts that are not trained on" in curate("stats", build).stdout
    query = "select id, start, \"end\", kind, replacement from cuts where source = 'web' and replacement <> ''"
    [row] = json.loads(curate("sql", build, query, "--json").stdout)
    assert (row["start"], row["end"], row["kind"], row["replacement"]) == (47, 60, "email", "[EMAIL]")
    shown = json.loads(curate("explain", build, row["id"], "--json").stdout)["cuts"]
    assert [(c["kind"], c["text"], c["replacement"]) for c in shown] == [
        ("email", "mari@firma.ee", "[EMAIL]"), ("refinedweb_counter", "3 likes\n", ""),
        ("c4_javascript", "Javascript peab olema sees, muidu ei tööta.\n", ""),
    ]  # fmt: skip
    said = curate("explain", build, row["id"]).stdout
    assert "cuts      3" in said and "mari@firma.ee  ->  [EMAIL]" in said and "3 likes\\n" in said


@pytest.fixture(scope="module")
def cut_repeats(tmp_path_factory) -> Path:
    top = tmp_path_factory.mktemp("repeats")
    tiny_tokenizer.write(top / "tok", template=tiny_tokenizer.CHATML)
    web = [f"Avaleht\nEsimene lugu.\n{RUN_OF_10}\n\nKõik õigused kaitstud", "Avaleht \nTeine lugu.\n\nKõik õigused kaitstud\n",
           f"Avaleht\nKolmas lugu.\n\nKõik õigused\n{RUN_OF_10} ja lõpp"]  # fmt: skip
    urls = ["http://leht.ee/1", "http://www.leht.ee/2", "http://muu.ee/3"]
    rows = [{"id": str(i), "text": t, "url": u} for i, (t, u) in enumerate(zip(web, urls, strict=True))]
    (top / "web.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (top / "chat.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "Avaleht\n\nKus see on?"},
                                                             {"role": "assistant", "content": f"Siin.\n{RUN_OF_10}"}]}))  # fmt: skip
    cuts = [{"kind": "boilerplate_lines", "of": "line", "min_documents": 2, "per": "domain"},
            {"kind": "boilerplate_lines", "of": "paragraph", "min_documents": 2, "keep": "first", "sources": "web"},
            {"kind": "boilerplate_lines", "of": "line", "min_documents": 4}, {"kind": "repeated_substrings", "min_words": 8}]  # fmt: skip
    recipe(top, cuts=cuts, dedup={"near": None, "exact": "none"})
    done = curate("build-mixture", top / "recipe.yaml", "--out", top / "build", "--store", top / "store")
    assert done.returncode == 0, done.stderr
    return top


RUN_OF_10 = "üks kaks kolm neli viis kuus seitse kaheksa üheksa kümme"


def test_repeats_are_cut_with_their_counts(cut_repeats) -> None:
    """By hand. Avaleht and the footer stand in two documents of leht.ee; Avaleht in four of the corpus, chat's too, which counts more."""
    build = str(cut_repeats / "build")
    query = 'select source, source_id, start, "end", kind, n_documents from cuts join documents using (id, source) order by all'
    cuts = [tuple(row.values()) for row in json.loads(curate("sql", build, query, "--json").stdout)]
    query = "select source_id from documents where source = 'web' order by id"
    order = [row["source_id"] for row in json.loads(curate("sql", build, query, "--json").stdout)]
    run = {"0": (22, 83), "2": (37, 97)}  # with the white space after it
    last = max(run, key=order.index)  # the run of ten words stays at its first place in the order of ids
    wanted = [
        ("web", "0", 0, 8, "repeated_line", 4), ("web", "0", 83, 106, "repeated_line", 2), ("web", "1", 0, 9, "repeated_line", 4),
        ("web", "1", 22, 46, "repeated_line", 2), ("web", "2", 0, 8, "repeated_line", 4), ("web", last, *run[last], "repeated_substring", 3),
    ]  # fmt: skip
    assert [c for c in cuts if c[0] == "web"] == sorted(wanted)
    assert [c[2:] for c in cuts if c[0] == "chat"] == [  # with the full stop before it, which stands before the run in another document too
        (0, 8, "repeated_line", 4), (26, 87, "repeated_substring", 3),
    ]  # fmt: skip
    stats = json.loads(curate("stats", build, "--json").stdout)["cuts"]
    assert {(c["source"], c["kind"]): (c["median_documents"], c["max_documents"]) for c in stats if c["source"] == "web"} == {
        ("web", "repeated_line"): (4, 4), ("web", "repeated_substring"): (3, 3),  # of 2, 2, 4, 4, 4
    }  # fmt: skip
    [row] = json.loads(curate("sql", build, "select id from documents where source_id = '1'", "--json").stdout)
    shown = curate("explain", build, row["id"]).stdout
    assert "cuts      2, 33 bytes" in shown and "in 2 documents" in shown


def test_verify_counts_repeats_again(cut_repeats, tmp_path) -> None:
    done = curate("verify", cut_repeats / "build")
    assert done.returncode == 0, done.stdout
    shutil.copytree(cut_repeats, tmp_path / "copy")
    tamper(tmp_path / "copy", lambda t: t.set_column(5, "n_documents", pa.array([7] * len(t))))
    assert "n_documents" in verify(tmp_path / "copy" / "build", tmp_path / "copy").text()
    path = next((cut_repeats / "store" / "repeat_keys").glob("*/0*/key.npy"))
    copy = tmp_path / "again"
    shutil.copytree(cut_repeats, copy)
    damaged = copy / path.relative_to(cut_repeats)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert "key.npy" in verify(copy / "build", copy).text()


def test_what_if_with_other_counts_reads_no_text(cut_repeats) -> None:
    before = {path: path.stat().st_mtime_ns for path in (cut_repeats / "store").glob("repeat*/*")}
    done = curate("what-if", cut_repeats / "build", "cuts.0.min_documents=3", "cuts.1.keep=none")
    assert done.returncode == 0 and "min_documents: 3" in done.stdout, done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in (cut_repeats / "store").glob("repeat*/*")} and before


def test_what_if_with_other_cuts_says_what_it_guesses(built) -> None:
    done = curate("what-if", built / "build", "cuts=[{kind: pii, of: email}]")
    assert done.returncode == 0, done.stderr
    assert "estimated" in done.stdout and "cuts: [{kind: pii, of: [email], as: typed}]" in done.stdout
    assert "signal: after_cuts_n_words" not in done.stdout  # the rule comes with the cuts
    done = curate("what-if", built / "build", "empty_after_cuts=100")
    assert done.returncode == 2 or "empty_after_cuts" in done.stdout


def test_verify_counts_cuts_again_and_finds_a_changed_one(built, tmp_path) -> None:
    done = curate("verify", built / "build")
    assert done.returncode == 0 and "9 cuts" in done.stdout, done.stdout
    for change, said in (
        (lambda t: t.slice(1), "the bytes it cuts are not those of the spans"),
        (lambda t: t.set_column(4, "replacement", pa.array(["[X]"] * len(t))), "the recipe asks for no cut of"),
        (lambda t: t.set_column(2, "end", pa.array(np.asarray(t["end"]) + 1)), "the bytes it cuts are not those of the spans"),
    ):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(built, copy)
        tamper(copy, change)
        report = verify(copy / "build", copy).text()
        assert said in report and "cuts.parquet" in report and "text gives" in report, report
    path = next((copy / "store" / "cuts").glob("*/0*/cuts.parquet"))
    path.write_bytes(path.read_bytes()[:-9] + b"x" + path.read_bytes()[-8:])
    assert "cuts.parquet" in verify(copy / "build", copy).text()


def tamper(copy: Path, change) -> None:
    """Change the cuts of web and sign them again, shard and stage: only counting can find it."""
    folder = next(p.parent for p in (copy / "store" / "cuts").glob("*/0*/cuts.parquet") if pq.read_table(p).num_rows > 3)
    info = json.loads((folder.parent / "stage.json").read_text())
    new = change(pq.read_table(folder / "cuts.parquet")).cast(CUTS)
    key, counts = folder.name, info["shards"][folder.name]["counts"]
    shutil.rmtree(folder.parent)
    stage = Store(copy / "store").stage("cuts", version=info["version"], settings=info["settings"], parents=info["parents"])
    assert stage.path == folder.parent
    with stage.shard(key) as out:
        pq.write_table(new, out.path / "cuts.parquet")
        out.done(new.num_rows, table_root(new), counts)
    stage.finish([key])


def test_the_view_of_cuts_is_there_without_cuts(tmp_path) -> None:
    write_input(tmp_path)
    from curate.inspect import corpus

    done = run(tmp_path, cuts=[])
    corpus.write_corpus(tmp_path / "build", done.stages(), None)
    with duckdb.connect(
        str(tmp_path / "build" / corpus.NAME), read_only=True, config={"file_search_path": str(tmp_path / "build")}
    ) as c:
        assert c.execute("SELECT count(*) FROM cuts").fetchall() == [(0,)]
