"""Matching of evaluation items: expected words, spans and scores written out by hand."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.recipe import Decontaminate
from curate.relate.contamination import folding, index, items, kernels, matches, measure, weights
from curate.store import Store
from tests.relate.corpus import corpus, one_id

QUESTION = "Mitu muna müüs Mari esmaspäeval turul kui kanad munesid päevas kuusteist muna ja kolm sõi ta hommikuks"  # 17 words
ANSWER = "Mari müüs turul kolmteist muna"
FILLER = "Täna paistis päike ja linnud laulsid metsas mitu tundi järjest enne kui vihma sadama hakkas."


def write_set(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def measured(tmp_path: Path, texts: list[str] | dict[str, list[str]], **given: object) -> dict[str, list[dict]]:
    """{scores: rows of the family in the order of `texts`, hits, spans}; a source "a" where texts is a list."""
    by_source = texts if isinstance(texts, dict) else {"a": texts}
    made = corpus(tmp_path / "store", by_source)
    recipe = made.recipe.model_copy(update={"decontaminate": Decontaminate.model_validate(given)})
    stages = measure(made.store, recipe, made.documents, 1)
    found: dict[str, list[dict]] = {}
    for name, file in (("scores", ""), ("hits", ".hits"), ("spans", ".spans")):
        tables = [pq.read_table(s.shard_path(key) / f"contamination{file}.parquet") for s in stages.values() for key in s.keys]
        found[name] = pa.concat_tables(tables).to_pylist()
    order = [one_id(source, i) for source, _ in stages for i in range(len(by_source[source]))]
    found["scores"] = sorted(found["scores"], key=lambda row: order.index(row["id"]))
    return found


def words_of(text: str, mode: int) -> list[str]:
    data = np.frombuffer(text.encode(), np.uint8)
    _, start, end, _ = folding.words(data, np.array([0, len(data)], np.int64), mode)
    return [bytes(data[a:b]).decode() for a, b in zip(start.tolist(), end.tolist(), strict=True)]


def keys_of(text: str, mode: int) -> list[int]:
    data = np.frombuffer(text.encode(), np.uint8)
    return folding.words(data, np.array([0, len(data)], np.int64), mode)[3].tolist()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("Tere!", ["Tere"]),
        ("List[float], don't x_y 2,5", ["List", "float", "don", "t", "x", "y", "2", "5"]),
        ("漢字とเก a", ["漢", "字", "と", "เ", "ก", "a"]),  # no spaces between words: every letter one
        ('"q\\nShe \\\\theta \\u00f5un"', ["q", "She", "heta", "\\u00f5un"]),  # JSON's line ends and escapes
        ("e\u0301te\u0301", ["e\u0301te\u0301"]),  # marks belong to their letter
        ("\u0301 a", ["a"]),
    ],
)
def test_words(text, words):
    assert words_of(text, kernels.FOLDED) == words


def test_words_are_equal_as_their_mode_says():
    nfc, nfd, bare, upper = "õhtusöök ǖ", unicodedata.normalize("NFD", "õhtusöök ǖ"), "ohtusook u", "ÕHTUSÖÖK Ǖ"
    assert keys_of(nfc, kernels.PLAIN) == keys_of(upper, kernels.PLAIN) != keys_of(nfd, kernels.PLAIN)
    assert keys_of(nfc, kernels.MARKED) == keys_of(nfd, kernels.MARKED) != keys_of(bare, kernels.MARKED)
    assert keys_of(nfc, kernels.FOLDED) == keys_of(nfd, kernels.FOLDED) == keys_of(bare, kernels.FOLDED)
    assert keys_of("a\u0301\u0323", kernels.MARKED) == keys_of("a\u0323\u0301", kernels.MARKED)  # marks in any order
    assert keys_of('{"a": "\\u00f5htu"}', kernels.PLAIN)[1] == keys_of("õhtu", kernels.PLAIN)[0]
    assert matches.normalisation(["õhtu".encode()], ["Õhtu".encode()]) == "raw"
    assert matches.normalisation([unicodedata.normalize("NFD", "õhtu").encode()], ["õhtu".encode()]) == "nfc"
    assert matches.normalisation([b"ohtu"], ["õhtu".encode()]) == "fold"


def test_a_question_is_found_with_exact_spans(tmp_path):
    path = write_set(tmp_path / "proov.jsonl", {"id": "x1", "question": QUESTION, "answer": ANSWER})
    text = f"{FILLER}\n{QUESTION}?\n{FILLER}"
    found = measured(tmp_path, [text, FILLER], against=str(path))
    # 17 words by themselves: 17 / (17 + 3); n-grams that no other document has weigh 1
    assert [round(row["contamination_score"], 4) for row in found["scores"]] == [0.85, 0.0]
    (hit,) = found["hits"]
    assert (hit["eval_set"], hit["item"], hit["part"], hit["acts"]) == ("proov", "x1", "question", True)
    assert (hit["n_found_words"], hit["n_item_words"], hit["overlap"], hit["normalisation"]) == (17, 17, 1.0, "raw")
    assert text.encode()[hit["start"] : hit["end"]].decode() == QUESTION
    assert (hit["item_start"], hit["item_end"]) == (0, len(QUESTION.encode()))


def test_a_changed_word_costs_that_word(tmp_path):
    path = write_set(tmp_path / "proov.jsonl", {"question": QUESTION})
    changed = QUESTION.replace("turul", "laadal").upper()
    found = measured(tmp_path, [changed], against=str(path))
    assert found["hits"][0]["n_found_words"] == 16
    assert found["scores"][0]["contamination_score"] == pytest.approx(16 / 20, abs=1e-4)


@pytest.mark.parametrize(("text", "score"), [
    ("Kes laulis laulu? Mari Maasikas laulis", 4 / 5),  # 3 words and 2 that are too short for n-grams and weigh a half: 4 / (4 + 1)
    ("Kes laulis laulu?", 3 / 6),
    ("Mari Maasikas", 0.0),
])  # fmt: skip
def test_short_answers_prove_nothing_alone(tmp_path, text, score):
    path = write_set(tmp_path / "proov.jsonl", {"question": "Kes laulis laulu?", "answer": "Mari Maasikas"})
    assert measured(tmp_path, [text], against=str(path))["scores"][0]["contamination_score"] == pytest.approx(score, abs=1e-4)


def test_an_answer_far_away_is_not_beside_its_question(tmp_path):
    path = write_set(tmp_path / "proov.jsonl", {"question": "Kes laulis laulu?", "answer": "Mari Maasikas"})
    found = measured(tmp_path, [f"Kes laulis laulu? {FILLER * 6} Mari Maasikas"], against=str(path))
    assert found["scores"][0]["contamination_score"] == pytest.approx(0.5)


def test_words_spread_over_a_document_are_no_evidence(tmp_path):
    path = write_set(tmp_path / "proov.jsonl", {"question": QUESTION})
    words = QUESTION.split()
    spread = f" {FILLER * 4} ".join(" ".join(words[i : i + 5]) for i in range(0, 15, 5))
    found = measured(tmp_path, [spread], against=str(path))
    assert found["scores"][0]["contamination_score"] <= 5 / 20 + 1e-4


def test_a_passage_alone_is_reported_and_a_question_beside_it_is_surer(tmp_path):
    passage = " ".join(f"sõna{i}" for i in range(40))
    row = {"question": "Kes kirjutas selle teksti", "answer": "keegi", "context": passage}
    path = write_set(tmp_path / "proov.jsonl", row)
    both = f"{passage}. Kes kirjutas selle teksti?"
    found = measured(tmp_path, [passage, both], against=str(path))
    weight = 1 - np.log(2) / np.log(10_000)  # the passage's n-grams stand in both documents
    passage_score = pytest.approx(40 * weight / (40 * weight + 3), abs=1e-4)
    assert [row["contamination_score"] for row in found["scores"]] == [0.0, 1.0]  # the question: 4 / (4 + 0) beside its passage
    assert [row["contamination_passage_score"] for row in found["scores"]] == [passage_score, passage_score]
    assert {(hit["part"], hit["acts"]) for hit in found["hits"]} == {("passage", False), ("question", True)}


def test_an_item_that_is_only_a_passage_acts(tmp_path):
    passage = " ".join(f"sõna{i}" for i in range(40))
    found = measured(tmp_path, [passage], against=str(write_set(tmp_path / "lambada.jsonl", {"text": passage})))
    assert found["scores"][0]["contamination_score"] == pytest.approx(40 / 43, abs=1e-4)


def test_question_words_inside_the_passage_are_the_passage(tmp_path):
    passage = "Tallinna vanalinn rajati kolmeteistkümnendal sajandil ja linnamüür ehitati hiljem valmis kuninga käsul " * 1
    row = {
        "question": "Millal rajati Tallinna vanalinn ja linnamüür ehitati",
        "answer": "kolmeteistkümnendal sajandil",
        "context": passage,
    }
    found = measured(tmp_path, [passage], against=str(write_set(tmp_path / "proov.jsonl", row)))
    assert found["scores"][0]["contamination_score"] == 0.0
    assert found["scores"][0]["contamination_passage_score"] > 0.75


def test_a_long_passage_is_found_piece_by_piece(tmp_path):
    words = [f"sõna{i}" for i in range(1000)]
    changed = [w if i % 10 else "muu" for i, w in enumerate(words)]  # a tenth of the words
    found = measured(tmp_path, [" ".join(changed)], against=str(write_set(tmp_path / "pikk.jsonl", {"text": " ".join(words)})))
    assert found["hits"][0]["n_found_words"] == 900
    assert found["scores"][0]["contamination_score"] == pytest.approx(900 / 1003, abs=1e-4)


def test_every_copy_of_a_short_item_is_found(tmp_path):
    parts = ["Koer haukus kõvasti öösel", "Varas jooksis minema kiiresti", "Kass magas edasi rahulikult"]
    path = write_set(tmp_path / "copa.jsonl", dict(zip(("premise", "choice1", "choice2"), parts, strict=True)))
    one = ". ".join(parts)
    found = measured(tmp_path, [f"{one} {one} {one}"], against=str(path), action="cut")
    assert len({span["start"] for span in found["spans"]}) == 9  # three parts, three times


def test_shared_n_grams_weigh_less():
    """w = (1 - ln d / ln N) (1 - ln p / ln P), N and P at least 10,000, by hand for one part of five words and one n-gram."""
    one = _index([("a", "1", "question", "question", "üks kaks kolm neli viis")], 5)
    assert weights.word_weights(one, np.array([1, 1, 1]), 50).tolist() == [1.0] * 5  # 3-grams: the part is shorter than ten words
    hundred = weights.word_weights(one, np.array([100, 100, 100]), 10_000)  # ln 100 / ln 10000 = 1/2
    assert hundred.tolist() == pytest.approx([0.5] * 5)
    by_place = [100 if one.postings[first] == 2 else 1 for first in one.postings_ptr[:-1]]  # the n-gram of words 3 to 5
    last = weights.word_weights(one, np.array(by_place), 10_000)  # word 3 is in all three n-grams, word 4 in two, word 5 in one
    assert last.tolist() == pytest.approx([1.0, 1.0, 2.5 / 3, 0.75, 0.5])
    two = _index(
        [("a", "1", "question", "question", "üks kaks kolm"), ("a", "2", "question", "question", "üks kaks kolm neli")], 5
    )
    shared = weights.word_weights(two, np.ones(2, np.int64), 10_000)
    template = 1 - np.log(2) / np.log(10_000)
    assert shared[:3].tolist() == pytest.approx([template] * 3)
    assert weights.word_weights(one, np.array([10**6] * 3), 10**6).tolist() == pytest.approx([weights.LEAST_WEIGHT] * 5)


def _index(rows: list[tuple[str, ...]], ngram: int, folder: Path | None = None) -> index.Index:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        table = pa.table([pa.array(c, pa.large_string()) for c in zip(*rows, strict=True)], schema=items.ITEMS)
        pq.write_table(table, Path(name) / "items.parquet")
        return index.load(Path(name) / "items.parquet", ngram, kernels.FOLDED)


def test_items_that_read_the_same_are_one_unit():
    asked = [("a", "1", "Kes see on?", "Mina"), ("a", "2", "kes SEE on", "mina!"), ("b", "1", "Kes see on?", "Sina")]
    ix = _index([(s, i, part, part, t) for s, i, q, a in asked for part, t in (("question", q), ("answer", a))], 5)
    assert [[(item.eval_set, item.item) for item in unit] for unit in ix.units] == [[("a", "1"), ("a", "2")], [("b", "1")]]
    assert ix.n_grams == 1 and ix.gram_texts.tolist() == [1]  # one question, whichever items ask it


def test_layout_and_sources_change_nothing(tmp_path):
    path = write_set(tmp_path / "proov.jsonl", {"question": QUESTION, "answer": ANSWER})
    texts = [f"{FILLER} {QUESTION} {ANSWER}", FILLER, f"{QUESTION}", *(f"{FILLER} {i}" for i in range(20))]
    roots = []
    for name, rows in (("one", 1000), ("many", 4)):
        made = corpus(tmp_path / name, {"a": texts}, shard_rows=rows)
        recipe = made.recipe.model_copy(update={"decontaminate": Decontaminate(against=[str(path)])})
        stage = measure(made.store, recipe, made.documents, 1)["a", "contamination"]
        hits = [r for key in stage.keys for r in pq.read_table(stage.shard_path(key) / "contamination.hits.parquet").to_pylist()]
        scores = [r for key in stage.keys for r in pq.read_table(stage.shard_path(key) / "contamination.parquet").to_pylist()]
        roots.append((hits, scores))
    assert roots[0] == roots[1] and len(roots[0][0]) == 3


def test_document_frequency_is_over_all_sources(tmp_path):
    path = write_set(tmp_path / "proov.jsonl", {"question": QUESTION})
    changed = QUESTION.replace("ja kolm sõi ta hommikuks", "aga mitte täna hommikul")
    alone = measured(tmp_path / "1", {"a": [changed], "b": [FILLER]}, against=str(path))["scores"][0]["contamination_score"]
    common = [f"{i} muna ja kolm sõi ta hommikuks" for i in range(50)]  # the words that are missing are common ones
    with_them = measured(tmp_path / "2", {"a": [changed], "b": common}, against=str(path))["scores"][0]["contamination_score"]
    assert with_them > alone + 0.02


@pytest.mark.parametrize("size", [1, 3, 9])
def test_recompressed_files_measure_nothing_again(tmp_path, size):
    import zstandard

    rows = [{"question": f"{QUESTION} {i}"} for i in range(size)]
    plain = write_set(tmp_path / "proov.jsonl", *rows)
    (tmp_path / "z").mkdir()
    packed = tmp_path / "z" / "proov.jsonl.zst"
    packed.write_bytes(zstandard.compress(plain.read_bytes()))
    made = corpus(tmp_path / "store", {"a": [FILLER]})
    stages = []
    for path in (plain, packed):
        recipe = made.recipe.model_copy(update={"decontaminate": Decontaminate(against=[str(path)])})
        stages.append(measure(Store(made.store.root), recipe, made.documents, 1)["a", "contamination"])
    assert stages[0].fingerprint == stages[1].fingerprint


def test_rejected_answers_of_preferences(tmp_path):
    """Of a pair the prompt, the chosen and the rejected answer are looked through; places in rejected stand behind the text."""
    from curate.documents import ingest
    from curate.inspect.contamination import excerpt, searched
    from tests.sources.making import lines, pack, recipe

    exam = write_set(tmp_path / "exam.jsonl", {"id": "q", "question": QUESTION, "answer": ANSWER})
    longer = f"{QUESTION} {ANSWER}"
    rows = [
        {"id": "clean", "prompt": "Tere", "chosen": FILLER, "rejected": "Ei."},
        {"id": "rejected", "prompt": "Räägi midagi.", "chosen": FILLER, "rejected": f"Õige. {longer}"},
        {"id": "chosen", "prompt": "Räägi midagi.", "chosen": longer, "rejected": FILLER},
        {"id": "prompt", "prompt": QUESTION, "chosen": "Ei tea.", "rejected": FILLER},
        {"id": "both", "prompt": QUESTION, "chosen": FILLER, "rejected": ANSWER},
    ]
    pack(tmp_path / "p.jsonl", lines(*rows))
    for action in ("report", "cut"):
        block = {"read": "p.jsonl", "type": "preference", "preference": {"of": "pairs"}, "language": "et"}
        of = recipe(tmp_path, {"p": block}, decontaminate={"against": [str(exam)], "action": action})
        store = Store(tmp_path / "store")
        documents = ingest(store, of, 1)
        stages = measure(store, of, documents, 1)
        (stage,) = stages.values()
        made = pq.read_table(documents["p"].shard_path("00000") / "documents.parquet").to_pylist()
        scores, hits, spans = (
            pq.read_table(stage.shard_path("00000") / f"contamination{file}.parquet").to_pylist()
            for file in ("", ".hits", ".spans")
        )
        name = {row["id"]: row["source_id"] for row in made}
        by_name = {name[row["id"]]: row["contamination_score"] for row in scores}
        assert by_name["clean"] == 0
        assert by_name["rejected"] == by_name["chosen"] == by_name["both"] > 0.9  # question and answer side by side
        assert 0.8 < by_name["prompt"] < 0.9  # 17 of 17 words, and 3 that might have been there
        texts = {row["source_id"]: searched(row) for row in made}
        assert {(name[h["id"]], h["part"]): excerpt(texts[name[h["id"]]], h)[:20] for h in hits if name[h["id"]] == "rejected"} == {
            ("rejected", "question"): QUESTION[:20], ("rejected", "answer"): ANSWER[:20],
        }  # fmt: skip
        n_text = {row["source_id"]: len(row["text"].encode()) for row in made}
        at = {h["part"]: (h["start"], h["end"]) for h in hits if name[h["id"]] == "rejected"}
        first = n_text["rejected"] + 2 + len("Õige. ".encode())
        assert at == {
            "question": (first, first + len(QUESTION.encode())),
            "answer": (first + len(QUESTION.encode()) + 1, first + len(longer.encode())),
        }
        answers = [h for h in hits if name[h["id"]] == "both" and h["part"] == "answer"]
        assert [h["start"] for h in answers] == [n_text["both"] + 2]
        assert len([h for h in hits if name[h["id"]] == "prompt"]) == 1  # the prompt is found once, though it stands before both
        cut = {made[span["row"]]["source_id"] for span in spans}
        assert cut == ({"chosen", "prompt", "both"} if action == "cut" else set())  # of a rejected answer nothing can be cut
        assert all(span["end"] <= n_text[made[span["row"]]["source_id"]] for span in spans)
