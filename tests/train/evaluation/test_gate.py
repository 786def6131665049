"""Rules, verdicts, exit codes. Results are made here: rows as `curate train evaluate` writes them, values counted by hand."""

from __future__ import annotations

import json
import math

import pytest

from curate.errors import CurateError
from tests import command
from train.config import load_run
from train.evaluation import metrics
from train.evaluation.bootstrap import estimate
from train.evaluation.gate import Results, check
from train.evaluation.results import write_tables
from train.evaluation.rules import from_options, is_less_better, parse, parse_rules, read_rules
from train.evaluation.scoring import measure
from train.evaluation.suite import load_evaluation


def answers(right: int, n: int = 100, task: str = "xcopa_et") -> list[dict]:
    """The first `right` of n are right, so that two models differ on as few items as can be."""
    return [
        {"task": task, "item": str(i), "language": "et", "extracted": "1" if i < right else "0", "gold": ["1"], "score": float(i < right),
         "answers": ["x"], "details": {}} for i in range(n)
    ]  # fmt: skip


def texts(rates: list[float], task: str = "wiki_en") -> list[dict]:
    """Documents of 1000 bytes; bits per byte of each."""
    return [
        {"task": task, "item": f"d{i}", "language": "en", "answers": [], "details": {"nats": rate * 1000 * math.log(2), "bytes": 1000}}
        for i, rate in enumerate(rates)
    ]  # fmt: skip


def row(items: list[dict], metric: str, **more) -> dict:
    found = estimate(items, measure(metric, items[0]["language"]))
    return {
        "task": items[0]["task"], "language": items[0]["language"], "metric": metric, "value": found.value, "low": found.low, "high": found.high,
        "n": found.n, "n_missing": 0, "shots": 0, **more,
    }  # fmt: skip


def results(right: int = 60, n: int = 100, rates: list[float] | None = None, **more) -> Results:
    a, t = answers(right, n), texts(rates or [1.0, 1.1, 0.9, 1.2, 0.8] * 4)
    return Results([row(a, "accuracy", **more), row(t, "bits_per_byte", **more)], a + t)


def status(before, after, name, text):
    (line,) = check(before, after, {name: text}).lines
    return line.status


# ---- rules


def test_forms():
    assert parse("x", "+2 %").amount == 2 and parse("x", "+2 %").unit == "%"
    assert parse("x", "-1.5 points").amount == -1.5 and parse("x", "−1 point").unit == "points"
    assert (parse("x", ">= 95 %").side, parse("x", ">= 95 %").unit) == (">=", "%")
    assert (parse("x", "<=1.2").side, parse("x", "<=1.2").amount, parse("x", "<=1.2").unit) == ("<=", 1.2, "")
    assert parse("x", "-1.5 points, surely").ask == "surely" and parse("x", ">= 95 %,proven").ask == "proven"


@pytest.mark.parametrize(
    "text", ["2 %", "1.5 points", "+2", "-1.5 pt", "+ %", "about 3", ">= 95 points", "> 95 %", "", 2, None, "+2 % of it"]
)
def test_other_forms_are_refused_naming_the_allowed(text):
    with pytest.raises(CurateError) as error:
        parse("en_bits_per_byte", text)
    assert '"+2 %"' in str(error.value) and "en_bits_per_byte" in str(error.value)


def test_a_word_that_is_no_ask():
    with pytest.raises(CurateError, match="word after the comma") as error:
        parse("x", "+2 %, surly")
    assert error.value.allowed == "surely, proven"


@pytest.mark.parametrize("none", [{}, []])
def test_no_rules(none):
    with pytest.raises(CurateError, match="stops nothing"):
        parse_rules({})
    with pytest.raises(CurateError, match="stops nothing"):
        check(results(), results(), none)


def test_options_and_files(tmp_path):
    (rule,) = from_options(["xcopa_et.accuracy: -1.5 points"])
    assert (rule.name, rule.amount) == ("xcopa_et.accuracy", -1.5)
    with pytest.raises(CurateError, match="a name, a colon"):
        from_options(["xcopa_et.accuracy -1.5 points"])
    for body in (
        'en_bits_per_byte: "+2 %"\n',
        'gate:\n  en_bits_per_byte: "+2 %"\n',
        'gate: {before: x, rules: {en_bits_per_byte: "+2 %"}}\n',
    ):
        (tmp_path / "rules.yaml").write_text(body)
        assert [(r.name, r.amount) for r in read_rules(tmp_path / "rules.yaml")] == [("en_bits_per_byte", 2.0)]
    (tmp_path / "rules.yaml").write_text('# \nen_bits_per_byte: "2 %"\n')
    with pytest.raises(CurateError, match=r"rules.yaml:2"):
        read_rules(tmp_path / "rules.yaml")


def test_run_files_are_refused_before_anything_is_trained(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "method: cpt\nname: x\nmanifest: m.json\nmodel: {init: {model_type: llama}}\nglobal_batch: 128 tokens\nschedule: {peak_lr: 1.0e-3}\n"
        'save: {to: x}\nevaluate:\n  suite: suite.yaml\n  gate: {en_bits_per_byte: "2 %"}\n'
    )
    with pytest.raises(CurateError, match=r"run.yaml:10: evaluate.gate: en_bits_per_byte: a change needs its sign"):
        load_run(path)
    path.write_text(
        "method: evaluate\nname: x\nmodel: {init: org/name}\nsuite: suite.yaml\nto: results/x\n"
        'gate:\n  before: results/y\n  rules:\n    xcopa_et.accuracy: "-1 pt"\n'
    )
    with pytest.raises(CurateError, match=r"run.yaml:8: gate.rules: xcopa_et.accuracy: a change needs its sign"):
        load_evaluation(path)


def test_every_metric_that_suites_can_ask_for_has_a_side():
    unknown = {name for name in metrics.NAMES if is_less_better(name) is None}
    assert unknown == {"mother_tongue_effect", "locality_effect"}  # of these neither more nor less is better
    assert is_less_better("bits_per_byte") and is_less_better("gap") and is_less_better("loss")
    assert (
        is_less_better("pass_at_10") is False
        and is_less_better("answer_language.et") is False
        and is_less_better("chrf++") is False
    )


# ---- what a rule decides


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("-2 points", 58, "passed"), ("-2 points", 57, "failed"), ("-0 points", 60, "passed"), ("-0 points", 59, "failed"),
        ("+2 points", 62, "passed"), ("+2 points", 61, "failed"), ("-5 %", 57, "passed"), ("-5 %", 56, "failed"),
        (">= 60 %", 60, "passed"), (">= 60 %", 59, "failed"), (">= 0.6", 60, "passed"),
    ],
)  # fmt: skip
def test_accuracy_more_is_better(text, after, expected):
    """60 of 100 before."""
    assert status(results(60), results(after), "xcopa_et.accuracy", text) == expected


@pytest.mark.parametrize(
    ("text", "factor", "expected"),
    [("+2 %", 1.02, "passed"), ("+2 %", 1.021, "failed"), ("+2 %", 0.5, "passed"), ("-10 %", 0.9, "passed"), ("-10 %", 0.91, "failed"),
     ("-10 %", 1.1, "failed"), ("<= 1.0", 1.0, "passed"), ("<= 1.0", 1.001, "failed")],
)  # fmt: skip
def test_bits_per_byte_less_is_better(text, factor, expected):
    """1 bit per byte before; every document changes by the factor."""
    rates = [1.0, 1.1, 0.9, 1.2, 0.8] * 4
    assert status(results(), results(rates=[factor * r for r in rates]), "en_bits_per_byte", text) == expected


def test_surely_and_proven():
    """60 of 100, then 56: 4 lost, 0 won, so (Bonett and Price) -4 / 102 and 1.96 sqrt((6 / 102 - (4 / 102)^2) / 102): -8.6 to 0.7 points."""
    before, after = results(60), results(56)
    (line,) = check(before, after, {"xcopa_et.accuracy": "-1.5 points"}).lines
    assert line.status == "failed" and line.change == pytest.approx(-0.04)
    assert (line.low, line.high) == pytest.approx((-0.0857, 0.0072), abs=1e-4)
    assert status(before, after, "xcopa_et.accuracy", "-1.5 points, surely") == "passed"
    assert status(before, after, "xcopa_et.accuracy", "-1.5 points, proven") == "failed"
    assert status(before, results(59), "xcopa_et.accuracy", "-1.5 points") == "passed"
    assert status(before, results(59), "xcopa_et.accuracy", "-1.5 points, proven") == "failed"
    assert status(before, results(30), "xcopa_et.accuracy", "-1.5 points, surely") == "failed"
    assert status(before, results(95), "xcopa_et.accuracy", "-1.5 points, proven") == "passed"


def test_surely_of_a_bound_looks_at_the_value_after():
    """90 of 100: Wilson says 82.6 to 94.5 %."""
    assert status(None, results(90), "xcopa_et.accuracy", ">= 95 %, surely") == "failed"
    assert status(None, results(90), "xcopa_et.accuracy", ">= 94 %, surely") == "passed"
    assert status(None, results(90), "xcopa_et.accuracy", ">= 82 %, proven") == "passed"
    assert status(None, results(90), "xcopa_et.accuracy", ">= 83 %, proven") == "failed"


def test_points_of_scores_up_to_a_hundred():
    before, after = ([{"task": "flores", "language": "et", "metric": "chrf++", "value": v}] for v in (52.0, 50.4))
    assert status(before, after, "flores.chrf++", "-1.5 points") == "failed"
    assert status(before, after, "flores.chrf++", "-1.6 points") == "passed"


@pytest.mark.parametrize("metric", ["chrf++", "bleu", "mcc", "macro_f1", "f1", "rouge_l"])
def test_metrics_of_a_corpus_have_paired_intervals(metric):
    """Half of the answers get worse: the fall and its interval are below zero; the same answers twice are no change."""
    words = ["mets on suvel roheline", "taevas sai hommikul siniseks", "lumi oli eile valge", "päike paistab täna kaua"]

    def side(spoilt: int) -> Results:
        items = [
            {"task": "t", "item": str(i), "language": "et", "gold": [words[i % 4]], "answers": ["x"], "details": {},
             "extracted": words[(i + (i < spoilt)) % 4]} for i in range(40)
        ]  # fmt: skip
        return Results([row(items, metric)], items)

    (line,) = check(side(0), side(20), {f"t.{metric}": "-1 point, surely"}).lines
    assert line.status == "failed" and line.low < line.change < line.high < 0
    (line,) = check(side(20), side(20), {f"t.{metric}": "-0 points"}).lines
    assert (line.status, line.change) == ("passed", 0)


def test_a_language_means_all_its_texts():
    wiki, blog = texts([1.0] * 5), texts([2.0] * 5, "blog_en")
    worse = texts([2.1] * 5, "blog_en")
    before = Results([row(wiki, "bits_per_byte"), row(blog, "bits_per_byte")], wiki + blog)
    after = Results([row(wiki, "bits_per_byte"), row(worse, "bits_per_byte")], wiki + worse)
    verdict = check(before, after, {"en_bits_per_byte": "+2 %"})
    assert [(line.name, line.status) for line in verdict.lines] == [
        ("wiki_en.bits_per_byte", "passed"), ("blog_en.bits_per_byte", "failed"),
    ]  # fmt: skip
    assert verdict.exit_code == 1


# ---- not measured is failed


def test_what_is_missing_has_failed():
    before, after = results(), results()
    gone = Results([r for r in after.rows if r["metric"] != "accuracy"], after.items)
    (line,) = check(before, gone, {"xcopa_et.accuracy": "-2 points"}).lines
    assert line.status == "not measured" and line.why == "no value after"
    verdict = check(before, gone, {"xcopa_et.accuracy": "-2 points"})
    assert verdict.exit_code == 1 and "counts as failed" in verdict.text()
    (line,) = check(gone, after, {"xcopa_et.accuracy": "-2 points"}).lines
    assert line.why == "no value before"
    broken = Results([{**r, "value": math.nan} for r in after.rows])
    assert status(before, broken, "en_bits_per_byte", "+2 %") == "not measured"


@pytest.mark.parametrize(
    ("column", "one", "other"),
    [("shots", 0, 5), ("template_sha256", "a", "b"), ("harness_version", "0.4.12", "0.4.13"), ("bos", "yes", "no"), ("data_sha256", "a", None)],
)  # fmt: skip
def test_values_that_were_measured_in_another_way_are_not_compared(column, one, other):
    (line,) = check(results(**{column: one}), results(**{column: other}), {"xcopa_et.accuracy": "-2 points"}).lines
    assert line.status == "not measured" and column in line.why
    assert status(results(**{column: one}), results(**{column: other}), "xcopa_et.accuracy", ">= 50 %") == "passed"


def test_fewer_scored_items_cannot_pass():
    (line,) = check(results(60, 100), results(59, 60), {"xcopa_et.accuracy": "-2 points"}).lines
    assert line.status == "not measured" and "40 items fewer" in line.why


def test_nothing_in_per_cent_of_zero():
    assert status(results(0), results(0), "xcopa_et.accuracy", "-2 %") == "not measured"
    assert status(results(0), results(0), "xcopa_et.accuracy", "-2 points") == "passed"


def test_without_items_there_is_a_value_but_no_interval():
    before, after = Results(results(60).rows), Results(results(59).rows)
    (line,) = check(before, after, {"xcopa_et.accuracy": "-2 points"}).lines
    assert (line.status, line.low) == ("passed", None)
    for ask in ("surely", "proven"):
        assert status(before, after, "xcopa_et.accuracy", f"-2 points, {ask}") == "not measured"


def test_items_that_do_not_give_the_value_are_not_believed():
    before, after = results(60), results(59)
    other = Results(after.rows, results(90).items)
    (line,) = check(before, other, {"xcopa_et.accuracy": "-2 points"}).lines
    assert line.status == "passed" and line.low is None


# ---- rules that do not fit


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("xcopa_et.accurcy", "-2 points", "xcopa_et.accuracy"), ("en_bits_per_bite", "+2 %", "en_bits_per_byte"),
        ("xcopa_et.accuracy", "<= 60 %", "more is better"), ("en_bits_per_byte", ">= 1", "less is better"),
        ("en_bits_per_byte", "+2 points", "points are of shares"), ("en_bits_per_byte", "<= 95 %", "no share"),
    ],
)  # fmt: skip
def test_rules_that_make_no_sense(name, text, said):
    with pytest.raises(CurateError) as error:
        check(results(), results(), {name: text})
    assert said in str(error.value)


def test_a_metric_without_a_side_takes_bounds_only():
    rows = [{"task": "mlk", "language": "et", "metric": "locality_effect", "value": 0.1}]
    with pytest.raises(CurateError, match="not known whether more or less"):
        check(rows, rows, {"mlk.locality_effect": "+2 points"})
    assert status(rows, rows, "mlk.locality_effect", "<= 0.2") == "passed"


# ---- the command


@pytest.fixture
def folders(tmp_path):
    for name, found in (("before", results(60)), ("after", results(57))):
        columns = ("task", "language", "metric", "value", "low", "high", "n", "n_missing", "shots")
        write_tables(tmp_path / name, [{k: r[k] for k in columns} for r in found.rows], found.items)
    return tmp_path


def test_the_command_stops_with_the_numbers(folders):
    args = ("train", "gate", folders / "before", folders / "after", "--rule", "xcopa_et.accuracy: -1.5 points")
    done = command.curate(*args)
    assert done.returncode == 1
    assert "60.00 %" in done.stdout and "57.00 %" in done.stdout and "-3.00 points" in done.stdout and "FAILED" in done.stdout
    data = json.loads(command.curate(*args, "--json").stdout)
    assert data["passed"] is False and data["lines"][0]["change"] == pytest.approx(-0.03)
    (folders / "rules.yaml").write_text('xcopa_et.accuracy: "-3 points"\nen_bits_per_byte: "+2 %, proven"\n')
    done = command.curate("train", "gate", folders / "before", folders / "after", "--rules", folders / "rules.yaml")
    assert done.returncode == 0 and "gate: passed (2 passed)" in done.stdout


def test_the_command_refuses_what_it_does_not_understand(folders):
    done = command.curate("train", "gate", folders / "before", folders / "after", "--rule", "xcopa_et.accuracy: 2 points")
    assert done.returncode == 2 and "needs its sign" in done.stderr
    done = command.curate("train", "gate", folders / "before", folders / "nowhere", "--rule", "x: +2 %")
    assert done.returncode == 2 and "no results here" in done.stderr
    done = command.curate("train", "gate", folders / "before", folders / "after")
    assert done.returncode == 2 and "stops nothing" in done.stderr
