"""Translations, preferences and passages with questions of VESKI_TEST_DATA through their lanes: what is read and refused, what each
published filter drops, how often identifiers name another language, length bias and leakage. Sums are those of `curate stats`.

python -m tests.bench.pairs
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import zstandard

from curate import langid, text
from curate.inspect import preferences
from curate.inspect.corpus import open_corpus, rows
from curate.inspect.stats import stats
from tests import command

TOP = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("VESKI_TEST_DATA", TOP.parent / "shared" / "data"))
ORDER = "[davinci, davinci-t0-ft, davinci-self-instruct, text-davinci-001, text-davinci-002, text-davinci-003]"
PARALLEL = ("tatoeba", "mlqe", "flores")
VARIANTS = {  # preset -> identifier
    "llammas/parallel": {"py3langid": "{backend: py3langid, candidates: [et, en]}",
                         "py3langid, 15 candidates": "{backend: py3langid}",
                         "lid.176": f"{{backend: fasttext, model: '{DATA}/lid/lid.176.ftz'}}"},
    "opusfilter/parallel": {"lid.176": f"{{backend: fasttext, model: '{DATA}/lid/lid.176.ftz'}}"},
}  # fmt: skip
BY_RATIO = ", set: {min_n_sides_in_language: 0}}, {signal: lower_side_language_ratio, min: 0.1, sources: [tatoeba, mlqe, flores]}"
RECIPE = """
kind: cpt
name: pairs
roots: {{data: '{data}', made: '{made}'}}
tokenizer: {{model: '{tokenizer}'}}
sources:
  tatoeba: {{read: "{{data}}/parallel/tatoeba_et_en.jsonl.zst", type: parallel, parallel: {{languages: [en, et], form: translation,
    instruction_languages: {{en: 95 %, et: 5 %}}}}, fields: {{et: text, en: text_en}}, license: {{from_field: license}}}}
  mlqe: {{read: "{{data}}/parallel/mlqe_et_en.jsonl.zst", type: parallel, parallel: {{languages: [et, en]}},
    fields: {{et: text, en: text_en_mt, score: meta.z_mean}}, license: {{from_field: license}}}}
  flores: {{read: "{{made}}/flores.jsonl", type: parallel, parallel: {{languages: [en, et]}}, license: {{declared: CC-BY-SA-4.0}}}}
  hh_harmless: {{read: "{{data}}/preference/hh_harmless.jsonl.zst", type: preference, language: en, preference: {{of: pairs}},
    license: {{from_field: license}}}}
  estgec: {{read: "{{data}}/preference/estgec_tartu_l2.jsonl.zst", type: preference, language: et, preference: {{of: corrections}},
    license: {{from_field: license}}}}
  six_models: {{read: "{{data}}/preference/self_instruct_6_models.jsonl.zst", type: preference, language: en,
    preference: {{of: answers, order: {order}}}, license: {{from_field: license}}}}
  estqa: {{read: "{{data}}/eval/estqa-train-v1.0.jsonl.zst", type: instruction_text, language: et, render: qa_after_text,
    fields: {{question: meta.question, answer: meta.answers}}, license: {{from_field: license}}}}
language_id: [{identifier}]
rules: [{{preset: {preset}, sources: [{parallel}]{more}]
dedup: {{near: null, exact: text}}
mixture: {{total: 1k tokens, sequence_length: 64, components: {{a: {{from: [tatoeba], role: parallel, budget: 1k tokens}}}}}}
limits: {{quarantine: 5 %}}
"""


def flores(to: Path) -> None:
    """SIB-200 has FLORES' sentences language by language; meta.index tells which are translations of each other."""
    sides: dict[str, dict[str, str]] = {}
    with open(DATA / "parallel" / "sib200_et_en_train_dev.jsonl.zst", "rb") as file:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8", newline="\n"):
            row = json.loads(line)
            sides.setdefault(row["meta"]["index"], {})["et" if row["lang"] == "est_Latn" else "en"] = row["text"]
    rows_ = [{"id": index, **both} for index, both in sorted(sides.items())]
    to.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows_), encoding="utf-8")


def built(folder: Path, preset: str, identifier: str, more: str = "}") -> Path:
    """A build up to decisions; the store is shared, so that only what an identifier changes is measured again."""
    given = {
        "data": DATA,
        "tokenizer": TOP / "recipes" / "quickstart" / "tokenizer",
        "made": folder,
        "order": ORDER,
        "preset": preset,
        "identifier": identifier,
        "parallel": ", ".join(PARALLEL),
        "more": more,
    }
    (folder / "recipe.yaml").write_text(RECIPE.format(**given))
    command.build(folder / "recipe.yaml", folder, "--until", "decide")
    return folder / "build"


def table(head: list[str], lines: list[list[Any]]) -> None:
    shown = [head, *([str(cell) for cell in line] for line in lines)]
    widths = [max(len(line[i]) for line in shown) for i in range(len(head))]
    for line in shown:
        print(
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
        )
    print()


def read_table(build: Path, data: dict[str, Any]) -> None:
    print("## Read: records, documents, quarantined by cause\n")
    with open_corpus(build) as corpus:
        causes = rows(corpus, "SELECT source, cause, count(*) AS n FROM quarantine GROUP BY ALL ORDER BY source, n DESC, cause")
    lines = []
    for source in data["sources"]:
        mine = ", ".join(f"{c['n']} {c['cause']}" for c in causes if c["source"] == source["source"])
        counts = [source[key] for key in ("records", "documents", "quarantined")]
        lines.append([source["source"], *counts, source["sums_close"], mine])
    table(["source", "records", "documents", "quarantined", "sums close", "causes"], lines)


def filter_table(build: Path, data: dict[str, Any], title: str) -> None:
    print(f"## {title}: pairs that fail each filter (and no other)\n")
    of = {(r["reason"], r["source"]): f"{r['failed']} ({r['alone']})" for r in data["reasons"]}
    reasons = list(dict.fromkeys(r["reason"] for r in data["reasons"] if r["source"] in PARALLEL))
    lines = [[reason, *(of.get((reason, source), 0) for source in PARALLEL)] for reason in reasons]
    sums = {s["source"]: s for s in data["sources"]}
    lines.append(["kept", *(f"{sums[s]['kept']} of {sums[s]['documents']}" for s in PARALLEL)])
    with open_corpus(build) as corpus:
        other = rows(corpus, "SELECT source, count(*) FILTER (first_side_language IS NOT NULL) AS n, sum((n_sides_in_language < 2)::INT) "
                     "AS sides FROM signals GROUP BY source")  # fmt: skip
        means = rows(corpus, "SELECT d.keep, avg(pair_score) AS z, count(pair_score) AS n FROM signals s JOIN decisions d "
                     "ON d.id = s.id AND d.source = s.source WHERE s.source = 'mlqe' GROUP BY 1 ORDER BY 1")  # fmt: skip
    found = {r["source"]: f"{r['sides']}" for r in other if r["n"]}
    lines.append(["a side in another language", *(found.get(s, 0) for s in PARALLEL)])
    table(["", *PARALLEL], lines)
    said = ", ".join(f"{'kept' if r['keep'] else 'dropped'} {r['z']:+.3f} of {r['n']}" for r in means)
    print(f"mean human quality score (z) of mlqe's machine translations: {said}\n")


def disagreements(build: Path) -> None:
    print("## What the identifier calls the sides of mlqe that are not in their language\n")
    query = """SELECT {side} AS language, count(*) AS n FROM signals WHERE source = 'mlqe' AND {side} != '{code}'
               GROUP BY 1 ORDER BY n DESC, language LIMIT 8"""
    with open_corpus(build) as corpus:
        for side, code in (("first_side_language", "et"), ("second_side_language", "en")):
            found = rows(corpus, query.format(side=side, code=code))
            print(f"{code}: " + (", ".join(f"{r['language']} {r['n']}" for r in found) or "none"))
    print()


def declared_table() -> None:
    """What share of sentences in some language passes as Estonian: by name, and by bounds of lower_side_language_ratio."""
    print("## lid.176: sentences that pass as Estonian; named et, and with the score of et at a share of the best one's\n")
    spec = langid.Spec("fasttext", DATA / "lid" / "lid.176.ftz")
    texts: dict[str, list[str]] = {}
    for name, wanted in (("parallel/tatoeba_et_en", ""), ("parallel/mlqe_et_en", ""), ("lid/lingua_test", "sentences")):
        with open(DATA / f"{name}.jsonl.zst", "rb") as file:
            for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8", newline="\n"):
                row = json.loads(line)
                if wanted in row["source"]:
                    texts.setdefault(f"{name.partition('/')[2]} {row['lang']}", []).append(row["text"])
    bounds, lines = (0.05, 0.1, 0.2, 0.5), []
    for name, own in texts.items():
        data, offsets = text.buffers(pa.array(own, pa.large_string()))
        ratio = langid.relative(data, offsets, spec, ["et"] * len(own))
        named = (langid.identify(data, offsets, spec).language == "et").sum()
        lines.append([name, len(own), named, *((ratio >= bound).sum() for bound in bounds)])
    table(["", "sentences", "named et", *(f">= {bound}" for bound in bounds)], lines)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flores(folder / "flores.jsonl")
        for preset, identifiers in VARIANTS.items():
            for label, identifier in identifiers.items():
                build = built(folder, preset, identifier)
                data = stats(build)
                if label == "py3langid":
                    read_table(build, data)
                filter_table(build, data, f"{preset}, languages by {label}")
                disagreements(build)
                if preset == "llammas/parallel" and label != "py3langid":
                    build = built(folder, preset, identifier, BY_RATIO)
                    filter_table(
                        build, stats(build), f"{preset}, declared language at .1 of the best one's score or more by {label}"
                    )
        declared_table()
        print("## Preferences (signals of the last identifier)\n")
        print("\n".join(preferences.lines(data["preferences"])))


if __name__ == "__main__":
    main()
