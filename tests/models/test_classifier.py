"""Classifiers end to end on a few made-up texts: training twice, held-out part, record, recipe signals, and every refusal."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate import text
from curate.errors import CurateError
from curate.models import classifier, evaluate, fasttext_files, training
from curate.models.files import model_file
from curate.recipe import Model
from curate.signals import classifier as family
from curate.signals.family import Batch
from curate.store import file_sha256, read_json
from tests.models.made import adverts

PLAIN = [
    f"Ta läks {place} ja nägi, et {who} ei olnud veel tulnud. Seal oli vaikne, {n} inimest istus akna all."
    for place in ("koju", "metsa", "linna", "kooli", "randa") for who in ("ema", "poiss", "koer", "naaber", "õde", "vend")
    for n in ("kaks", "kolm")
]  # fmt: skip
SMALL = {"dim": 10, "epoch": 5, "lr": 0.5}


def write(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in texts), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("texts")
    return write(folder / "spam.jsonl", adverts(60, 1, "shop")), write(folder / "plain.jsonl", PLAIN)


def train(out: Path, files: tuple[str, str], kind: str = "features", **changes: object) -> dict:
    settings = {
        "kind": kind,
        "label": "spam",
        "seed": 0,
        "held_out": Fraction(1, 5),
        "parameters": SMALL if kind == "fasttext" else {},
    }
    return training.train_classifier(out, [files[0]], [files[1]], **(settings | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def models(files: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    for kind in ("fasttext", "features"):
        train(folder / kind, files, kind)
    return {kind: folder / kind for kind in ("fasttext", "features")}


def model(kind: str, path: Path, **changes: object) -> Model:
    return Model(**({"name": "m", "kind": kind, "model": str(path), "label": "spam"} | changes))  # type: ignore[arg-type]


def batch(texts: list[str]) -> Batch:
    array = pa.array(texts, pa.large_string())
    data, offsets = text.buffers(array)
    return Batch(array, data, offsets, text.segment(data, offsets))


@pytest.mark.parametrize("kind", ["fasttext", "features"])
def test_training_again_gives_the_same_file_and_another_seed_another(kind: str, files: tuple[str, str], tmp_path: Path) -> None:
    first, again = (train(tmp_path / name, files, kind) for name in ("a", "b"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() and first["sha256"] == file_sha256(tmp_path / "a")
    assert first | {"model": "b"} == again
    assert train(tmp_path / "c", files, kind, seed=1)["sha256"] != first["sha256"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "a.json", "b", "b.json", "c", "c.json"]


def test_order_of_rows_and_files_does_not_matter(files: tuple[str, str], tmp_path: Path) -> None:
    first = train(tmp_path / "a", files)
    half = len(PLAIN) // 2
    parts = [write(tmp_path / f"{i}.jsonl", part[::-1]) for i, part in enumerate((PLAIN[half:], PLAIN[:half]))]
    settings = {"kind": "features", "label": "spam", "seed": 0, "held_out": Fraction(1, 5), "parameters": {}}
    again = training.train_classifier(tmp_path / "b", [files[0]], parts, **settings)  # type: ignore[arg-type]
    assert again["sha256"] == first["sha256"]


@pytest.mark.parametrize("kind", ["fasttext", "features"])
def test_the_record(kind: str, models: dict[str, Path], files: tuple[str, str]) -> None:
    record = read_json(training.record_path(models[kind]))
    assert record["sha256"] == file_sha256(models[kind]) and record["kind"] == kind
    counts = record["texts"]
    assert (counts["train_positive"], counts["held_out_positive"]) == (48, 12)
    assert (counts["train_negative"], counts["held_out_negative"]) == (48, 12)
    assert record["positive"] == [{"file": files[0], "sha256": file_sha256(Path(files[0])), "n_records": 60, "n_bad": 0}]
    assert record["metrics"]["roc_auc"] == 1.0 and record["metrics"]["n"] == 24
    screen = training.render(record, models[kind])
    assert f"sha256: {record['sha256']}, label: spam}}" in screen and f"{kind}_score" in screen


def test_equal_texts_never_stand_on_both_sides(tmp_path: Path) -> None:
    same = [t.upper().replace(" ", "  ") for t in PLAIN[:10]]  # equal but for case and white space
    given = (
        write(tmp_path / "p.jsonl", adverts(40, 1, "shop") + PLAIN[10:12]),
        write(tmp_path / "n.jsonl", [*PLAIN, *same, " \n "]),
    )
    record = train(tmp_path / "m", given)
    assert {k: record["texts"][k] for k in ("duplicates", "in_both", "blank")} == {"duplicates": 12, "in_both": 2, "blank": 0}
    assert record["negative"][0]["n_bad"] == 1  # the blank one is no document
    items, _ = training._different({True: training.read_all([given[0]], ""), False: training.read_all([given[1]], "")}, 0)
    learnt, test = training._split(items, Fraction(1, 10))
    normal = [{" ".join(t.casefold().split()) for _, t, _ in part} for part in (learnt, test)]
    assert not normal[0] & normal[1] and sum(map(len, normal)) == len(items) == 40 + len(PLAIN) - 2


@pytest.mark.parametrize("kind", ["fasttext", "features"])
def test_scores_do_not_depend_on_batches_and_tell_kinds_apart(kind: str, models: dict[str, Path]) -> None:
    texts = [*adverts(20, 9, "shop"), "", " \n", *PLAIN[:20], "。", "сорок два"]
    measurer = family.measurer(model(kind, models[kind]), models[kind])
    whole = measurer.measure(batch(texts))
    scores = whole["m_score"]
    alone = np.concatenate([measurer.measure(batch([one]))["m_score"] for one in texts])
    assert scores.dtype == np.float32 and scores.tolist() == alone.tolist()
    assert (scores >= 0).all() and (scores <= 1).all() and np.allclose(scores, np.round(scores, 4), atol=1e-7)
    assert scores[20] == scores[21] == 0.0
    assert scores[:20].min() > scores[22:42].max()
    assert (
        {c.name for c in measurer.family.columns} == set(whole) == ({"m_score", "m_label"} if kind == "fasttext" else {"m_score"})
    )
    assert measurer.needs_words is (kind == "features") and measurer.settings["model_sha256"] == file_sha256(models[kind])
    if kind == "fasttext":
        assert whole["m_label"][0] == "spam" and whole["m_label"][20] == "" and whole["m_label"][22] == "other"


@pytest.mark.parametrize("kind", ["fasttext", "features"])
def test_threads_change_no_score(kind: str, models: dict[str, Path]) -> None:
    measurer = family.measurer(model(kind, models[kind]), models[kind])
    parts = [adverts(15, seed, "shop") + PLAIN[seed::4] for seed in range(8)]
    alone = [measurer.measure(batch(part))["m_score"].tolist() for part in parts]
    with ThreadPoolExecutor(4) as pool:
        assert [
            found["m_score"].tolist() for found in pool.map(measurer.measure, [batch(part) for part in parts * 3])
        ] == alone * 3


def test_a_document_is_one_line_to_fasttext(models: dict[str, Path]) -> None:
    assert fasttext_files.one_line("  üks\nkaks\r\nkolm\u2028neli ") == "üks kaks kolm neli"
    scores = fasttext_files.label_scores([PLAIN[0], PLAIN[0].replace(" ", "\n")], models["fasttext"], "spam")[0]
    assert scores[0] == scores[1]


def test_saved_is_loaded(models: dict[str, Path], tmp_path: Path) -> None:
    fitted = classifier.load(models["features"])
    classifier.save(fitted, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == models["features"].read_bytes()
    assert (
        classifier.scores_of(classifier.load(tmp_path / "again"), PLAIN).tolist() == classifier.scores_of(fitted, PLAIN).tolist()
    )


def test_the_fit_is_the_optimum() -> None:
    """On two columns the gradient of the penalised likelihood is 0 where the fit stops."""
    rng = np.random.default_rng(1)
    rows = np.zeros((300, len(classifier.features.SHAPE) + classifier.features.N_BUCKETS), np.float32)
    rows[:, :2] = rng.normal(size=(300, 2))
    truth = rows[:, 0] + rng.normal(size=300) > 0.5
    fitted = classifier.fit(rows, truth, "x")
    z = np.clip((rows - fitted.mean) / fitted.scale, -classifier.CLIP, classifier.CLIP)
    p = 1 / (1 + np.exp(-(z @ fitted.weight + fitted.bias)))
    gradient = z.T @ (p - truth) + classifier.RIDGE * fitted.weight
    assert np.abs(gradient).max() < 1e-4 and abs((p - truth).sum()) < 1e-3
    assert fitted.weight[0] > 5 * abs(fitted.weight[1]) and not fitted.weight[2:].any()


@pytest.mark.parametrize(("changes", "told"), [
    ({"label": "ham"}, "no label 'ham'"), ({"label": None}, None), ({"label": "__label__spam"}, None), ({"label": "other"}, None),
])  # fmt: skip
def test_labels_of_a_fasttext_model(changes: dict, told: str | None, models: dict[str, Path]) -> None:
    wanted = model("fasttext", models["fasttext"], **changes)
    if told is None:
        label = family.measurer(wanted, models["fasttext"]).settings["label"]
        assert label == ("other" if changes["label"] == "other" else "spam")  # `other` is a negative by convention
        return
    with pytest.raises(CurateError, match=told) as caught:
        family.measurer(wanted, models["fasttext"])
    assert caught.value.allowed == "other, spam"


def test_a_model_without_a_plain_positive_needs_a_label(data: Path) -> None:
    with pytest.raises(CurateError, match="say which label") as caught:
        family.measurer(model("fasttext", data / "lid/lid.176.ftz", label=None), data / "lid/lid.176.ftz")
    assert "176 labels" in caught.value.allowed


def test_the_label_of_a_features_model_is_its_own(models: dict[str, Path]) -> None:
    with pytest.raises(CurateError, match="no label 'hq'"):
        family.measurer(model("features", models["features"], label="hq"), models["features"])


def test_model_files_are_pinned(models: dict[str, Path], tmp_path: Path) -> None:
    path, right = models["features"], file_sha256(models["features"])
    assert model_file(path.name, None, path.parent, sha256=right.upper()) == path
    with pytest.raises(CurateError, match="another file") as caught:
        model_file(path.name, None, path.parent, sha256="0" * 64, where="models.m")
    assert right in caught.value.found and caught.value.allowed == "0" * 64
    for absent in ("absent.bin", "./a/b/c", "a/absent.bin"):
        with pytest.raises(CurateError, match="no such model"):
            model_file(absent, None, tmp_path)
    with pytest.raises(CurateError, match="pinned revision"):
        model_file("group/name/model.bin", None, tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 60, 200, 5000, -1])
def test_a_cut_fasttext_model_is_refused_not_a_crash(keep: int, models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "cut.bin").write_bytes(models["fasttext"].read_bytes()[:keep])
    with pytest.raises(CurateError, match="no whole fastText model"):
        fasttext_files.load(tmp_path / "cut.bin")


def test_a_quantised_model_is_whole_and_can_be_cut_too(data: Path, tmp_path: Path) -> None:
    given = data / "lid/lid.176.ftz"
    assert len(fasttext_files.labels(given)) == 176
    (tmp_path / "cut.ftz").write_bytes(given.read_bytes()[:-5])
    with pytest.raises(CurateError, match="no whole"):
        fasttext_files.load(tmp_path / "cut.ftz")


@pytest.mark.parametrize(("old", "new", "told"), [
    ('"kind": "veski', '"kind": "some', "no features classifier"), ('"features_version": 1', '"features_version": 99', "other features"),
    ('"letter_ratio", ', '"letter_ratio", NaN, ', "no features classifier"), ("}", "", "no features classifier"),
])  # fmt: skip
def test_a_damaged_features_model_is_refused(old: str, new: str, told: str, models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "m").write_text(models["features"].read_text().replace(old, new, 1))
    with pytest.raises(CurateError, match=told):
        classifier.load(tmp_path / "m")
    with pytest.raises(CurateError):
        classifier.load(models["fasttext"])


@pytest.mark.parametrize(("positive", "negative", "changes", "told"), [
    (PLAIN[:19], PLAIN[20:50], {}, "too few"), (PLAIN, PLAIN, {}, "too few"), (PLAIN[:30], ["", " "], {}, "has no text"),
    (PLAIN[:30], PLAIN[30:], {"label": "other"}, "a label is one word"), (PLAIN[:30], PLAIN[30:], {"label": "a b"}, "a label is one word"),
    (PLAIN[:30], PLAIN[30:], {"kind": "tree"}, "no such kind"), (PLAIN[:30], PLAIN[30:], {"parameters": {"dim": 3}}, "fastText's"),
    (PLAIN[:30], PLAIN[30:], {"kind": "fasttext", "parameters": {"lr": 0.0}}, "above 0"),
])  # fmt: skip
def test_refusals(positive: list[str], negative: list[str], changes: dict, told: str, tmp_path: Path) -> None:
    given = write(tmp_path / "p.jsonl", positive), write(tmp_path / "n.jsonl", negative)
    with pytest.raises(CurateError, match=told):
        train(tmp_path / "m", given, **changes)
    assert not (tmp_path / "m").exists()


def test_files_that_cannot_be_trained_on(files: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"")
    for one, told in (
        (tmp_path / "absent.jsonl", "no such file"),
        (tmp_path / "empty.jsonl", "has no text"),
        (tmp_path, "not a build"),
    ):
        with pytest.raises(CurateError, match=told):
            train(tmp_path / "m", (str(one), files[1]))
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"body": "x"}\n')
    with pytest.raises(CurateError, match="'text'"):
        train(tmp_path / "m", (str(wrong), files[1]))


def test_figures_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.8, 0.4, 0.1], np.float32)
    truth = np.array([True, True, False, True, False])
    assert evaluate.roc_auc(scores, truth) == pytest.approx((2 + 1.5 + 1) / 6)  # 0.9 beats both, 0.8 ties one, 0.4 beats one
    at = evaluate.at_threshold(scores, truth, 0.5)
    assert (at["n_flagged"], at["true_positives"], at["false_positive_ratio"]) == (3, 2, 0.5)
    assert (at["precision"], at["recall"], at["f1"]) == (0.6667, 0.6667, 0.6667)
    assert evaluate.at_recall(scores, truth, 0.3)["threshold"] == pytest.approx(0.9)
    assert evaluate.at_threshold(scores, truth, 2.0)["precision"] == 1.0
    assert np.isnan(evaluate.roc_auc(scores, np.ones(5, bool)))
    assert [(row["from"], row["n"]) for row in evaluate.calibration(scores, truth)] == [(0.1, 1), (0.4, 1), (0.8, 2), (0.9, 1)]
