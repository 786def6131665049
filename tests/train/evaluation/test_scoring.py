"""What an answer is worth, kind by kind, without a model: prompts and answers by hand in, rows out."""

from __future__ import annotations

import pytest

from curate.errors import CurateError
from train.evaluation import scoring
from train.evaluation.harness import Answer, Prompt
from train.evaluation.suite import Task


def task(kind: str, language: str = "en", **more: object) -> Task:
    template = {"prompt": "{{ q }}", "answer": "a"}
    return Task.model_validate(
        {"name": "t", "kind": kind, "language": language, "data": {"path": "x"}, "template": template, **more}
    )


def scored(of: Task, *said: tuple[dict, list[str], str]) -> tuple[list[dict], dict[str, float]]:
    """(items, value of every metric) of (item, gold, answer)."""
    prompts = [Prompt({"id": str(i), **item}, "?", (), tuple(gold)) for i, (item, gold, _) in enumerate(said)]
    items = scoring.of_answers(of, prompts, [Answer(text, 3, "stop") for _, _, text in said])
    return items, {row["metric"]: row["value"] for row in scoring.rows_of(of, items, {}, 0)}


def test_generate() -> None:
    items, values = scored(
        task("generate", "et", metrics=["exact_match", "f1"], extract="first_line"),
        ({}, ["19. sajandil"], " 19. sajandil!\nKüsimus: mis"), ({}, ["a", "suur maja"], "maja"), ({}, ["x"], "\n"),
    )  # fmt: skip
    assert [(i["extracted"], i["score"]) for i in items] == [("19. sajandil!", 1.0), ("maja", 0.0), (None, 0.0)]
    assert values == {"exact_match": pytest.approx(1 / 3), "f1": pytest.approx((1 + 2 / 3) / 3)}
    (row, _) = scoring.rows_of(task("generate", "et", metrics=["exact_match", "f1"]), items, {}, 0)
    assert row["n"] == 3 and row["n_missing"] == 1


@pytest.mark.parametrize(
    ("how", "text", "found"),
    [
        (None, "  x y ", "x y"), ("number", "So 3 + 4 = 7.", "7"), ("choice", "Answer: (B) because", "B"), ("code", "```python\nx = 1\n```", "x = 1"),
        (r"vastus on (\w+)", "Minu vastus on jah, sest", "jah"), (r"vastus on (\w+)", "ei tea", None), ("number", "none", None),
    ],
)  # fmt: skip
def test_extraction(how: str | None, text: str, found: str | None) -> None:
    assert scoring.extracted(how, text, "en") == found


def test_math() -> None:
    items, values = scored(
        task("math"), ({}, ["... #### 1,234"], "so it is 1234."), ({}, ["#### 7"], "#### 8"), ({}, ["#### 5"], "I do not know")
    )
    assert [i["score"] for i in items] == [1.0, 0.0, 0.0]
    assert values == {"numeric_exact_match": pytest.approx(1 / 3), "format_valid": pytest.approx(2 / 3)}


def test_translate() -> None:
    items, values = scored(
        task("translate", metrics=["chrf++", "bleu"]), ({}, ["the cat sat on the mat"], "the cat sat on the mat\nEesti: x")
    )
    assert values == {"chrf++": pytest.approx(100.0), "bleu": pytest.approx(100.0)} and items[0]["score"] is None
    row = scoring.rows_of(task("translate"), items, {}, 0)[0]
    assert row["metric_signature"].startswith("nrefs:1|case:mixed") and "nw:2" in row["metric_signature"]


def test_corrections() -> None:
    """One of two edits made, one that nobody asked for: P 1/2, R 1/2."""
    items, values = scored(
        task("gec", "et"), ({"original": "Ma lähen kool homme"}, ["Ma lähen kooli homme hommikul"], "Ma lähen kooli homme õhtul")
    )
    assert items[0]["details"] == {"counts": [1, 2, 2]} and values == {"f05": pytest.approx(0.5)}


def test_corrections_of_an_m2_file() -> None:
    m2 = "S This are a sentence .\nA 1 2|||R:VERB|||is|||REQUIRED|||-NONE-|||0"
    _, values = scored(task("gec"), ({"original": "This are a sentence .", "m2": m2}, [], "This is a sentence ."))
    assert values == {"f05": 1.0}


def test_instructions() -> None:
    row = {"instruction_id_list": ["punctuation:no_comma", "change_case:english_lowercase"], "kwargs": [{}, {}]}
    items, values = scored(task("ifeval"), (row, [], "no commas here at all"), (row, [], "with Capitals there are none"))
    assert [i["score"] for i in items] == [1.0, 0.0]
    assert values == {"ifeval_prompt_strict": 0.5, "ifeval_instruction_strict": 0.75}


def test_function_calls() -> None:
    tools = [
        {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}
    ]
    row = {"tools": tools, "calls": [{"name": "weather", "arguments": {"city": "Tartu"}}]}
    good, bad = (
        '<tool_call>{"name": "weather", "arguments": {"city": "Tartu"}}</tool_call>',
        '<tool_call>{"name": "weather"}</tool_call>',
    )
    _, values = scored(task("calls", metrics=["valid", "call_exact"]), (row, [], good), (row, [], bad))
    assert values == {"valid": 0.5, "call_exact": 0.5}


def test_programs() -> None:
    row = {"prompt": 'def twice(x):\n    """2x"""\n', "entry_point": "twice", "test": "def check(f):\n    assert f(3) == 6\n"}
    items, values = scored(task("code", benchmark="humaneval"), (row, [], "    return 2 * x\n"), (row, [], "    return x\n"))
    assert values == {"pass_at_1": 0.5} and [i["details"]["status"] for i in items] == ["passed", "failed"]


def test_multiloko() -> None:
    _, values = scored(
        task("multiloko", "mul", metrics=["average", "gap"]),
        ({"language": "et"}, ["x"], "x"), ({"language": "et"}, ["x"], "y"), ({"language": "fi"}, ["x"], "x"),
    )  # fmt: skip
    assert values == {"average": pytest.approx(0.75), "gap": pytest.approx(0.5)}


def test_choices() -> None:
    """Nats -4 and -5 for texts of 2 and 10 characters: the first by itself, the second by character."""
    of = task(
        "multiple_choice", metrics=["accuracy", "accuracy_norm"], template={"prompt": "", "choices": ["a", "b"], "answer": "a"}
    )
    items = scoring.of_choices(of, [Prompt({"id": "0"}, "?", ("ab", "abcdefghij"), ("0",))], [[(-4.0, False), (-5.0, False)]])
    assert (items[0]["extracted"], items[0]["details"]["chosen_norm"]) == ("0", "1")
    assert {row["metric"]: row["value"] for row in scoring.rows_of(of, items, {}, 0)} == {"accuracy": 1.0, "accuracy_norm": 0.0}


def test_bits_are_of_all_bytes() -> None:
    """ln 2 nats over 1 byte and 3 ln 2 over 3: one bit a byte; not the mean of items but of bytes."""
    of = Task.model_validate({"name": "t", "kind": "bits_per_byte", "data": {"path": "x"}})
    lines = [
        {"item": "a", "nats": 0.6931471805599453, "bytes": 1, "n_tokens": 1},
        {"item": "b", "nats": 6 * 0.6931471805599453, "bytes": 3, "n_tokens": 2},
    ]
    items = scoring.of_bits(of, "t", lines, "et")
    assert [i["score"] for i in items] == [pytest.approx(1.0), pytest.approx(2.0)]
    assert scoring.rows_of(of, items, {}, 0)[0]["value"] == pytest.approx(7 / 4)


def test_unknown_metric() -> None:
    with pytest.raises(CurateError, match="no metric 'f2'"):
        scoring.check_metrics(task("generate", metrics=["f2"]))
