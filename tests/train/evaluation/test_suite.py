"""Suite files and evaluation run files: what is wrong is said with file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.errors import CurateError
from train.evaluation.run import check_suite
from train.evaluation.suite import chosen, load_evaluation, load_suite

TOP = Path(__file__).resolve().parents[3]
GOOD = """\
name: s
roots: {eval: /data}
defaults: {language: et}
tasks:
  - name: a
    kind: multiple_choice
    data: {path: "{eval}/a.jsonl"}
    template: {prompt: "{{ q }}", choices: [x, y], answer: label}
  - {name: b, kind: bits_per_byte, data: {path: b.txt}}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "suite.yaml"
    path.write_text(text)
    return path


def refused(folder: Path, *changes: tuple[str, str]) -> str:
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(CurateError) as error:
        load_suite(written(folder, text))
    return str(error.value)


def test_defaults_and_roots(tmp_path: Path) -> None:
    suite = load_suite(written(tmp_path, GOOD))
    assert [task.language for task in suite.tasks] == ["et", "et"]
    assert [task.asked for task in suite.tasks] == [("accuracy",), ("bits_per_byte",)]
    assert suite.file("{eval}/a.jsonl", {}) == Path("/data/a.jsonl")
    assert suite.file("{eval}/a.jsonl", {"eval": "/other"}) == Path("/other/a.jsonl")
    assert suite.file("b.txt", {}) == tmp_path / "b.txt"


def test_a_root_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = load_suite(written(tmp_path, GOOD.replace("/data", '"${VESKI_NOWHERE}"')))
    monkeypatch.delenv("VESKI_NOWHERE", raising=False)
    with pytest.raises(CurateError, match="environment variable is not set") as error:
        suite.file("{eval}/a.jsonl", {})
    assert "--set roots.eval=FOLDER" in str(error.value)
    with pytest.raises(CurateError, match="no root 'evil'"):
        suite.file("{evil}/a.jsonl", {})


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("kind: multiple_choice", "kind: multiple_choices", 6, "tasks.0.kind"),
        ("    data: {path", "    dataset: {path", 7, "did you mean 'data'?"),
        ("prompt: \"{{ q }}\"", "prompt: \"{{ q }\"", 8, "does not parse"),
        (", choices: [x, y]", "", 5, "template.choices belongs to kind multiple_choice"),
        (", answer: label", "", 5, "template.answer is missing"),
        ("data: {path: b.txt}", "data: {path: b.txt, hub: org/b, revision: abc}", 9, "one of path, hub, manifest"),
        ("data: {path: b.txt}", "data: {hub: org/b}", 9, "revision is missing"),
        ("name: b", "name: a", 1, "two tasks are called 'a'"),
        ("{language: et}", "{langauge: et}", 3, "unknown key 'tasks.0.langauge'"),
        ("{name: b, kind: bits_per_byte, data: {path: b.txt}}", "{name: b, kind: bits_per_byte}", 9, "one of data, needs"),
    ],
)  # fmt: skip
def test_mistakes_name_file_line_and_key(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    message = refused(tmp_path, (old, new))
    assert f"suite.yaml:{line}" in message and said in message, message


def test_unknown_metric(tmp_path: Path) -> None:
    suite = load_suite(written(tmp_path, GOOD.replace("    data: {path", "    metrics: [acuracy]\n    data: {path")))
    with pytest.raises(CurateError, match=r"s: a.metrics: no metric 'acuracy'") as error:
        check_suite(suite, suite.tasks)
    assert "accuracy" in error.value.allowed


def test_tasks_by_name(tmp_path: Path) -> None:
    suite = load_suite(written(tmp_path, GOOD))
    assert [task.name for task in chosen(suite, ["b"])] == ["b"]
    with pytest.raises(CurateError, match="no such task"):
        chosen(suite, ["c"])


RUN = """\
method: evaluate
name: r
model: {init: MODEL}
suite: SUITE
to: results
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("suite: SUITE", "suite: nowhere.yaml", "run.yaml:4: there is no such suite"),
        ("{init: MODEL}", "{init: ./nowhere}", "run.yaml:3: there is no model here"),
        ("{init: MODEL}", "{init: org/name}", "run.yaml:3: a model from the hub is pinned"),
        ("to: results", "to: results\ngate: {before: nowhere, rules: {a.accuracy: -1 points}}", "run.yaml:6: there are no results to compare with"),
        ("to: results", "to: results\nbatch: 0", "run.yaml:6: batch"),
        ("to: results", "to: results\nmanifest: nowhere.json", "run.yaml:6: there is no manifest here"),
    ],
)  # fmt: skip
def test_run_files(tmp_path: Path, old: str, new: str, said: str) -> None:
    suite = written(tmp_path, GOOD)
    text = RUN.replace(old, new).replace("MODEL", str(tmp_path)).replace("SUITE", str(suite))
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(CurateError) as error:
        load_evaluation(tmp_path / "run.yaml")
    assert said in str(error.value), error.value


@pytest.mark.parametrize("name", ["et-quick", "estllm", "llammas"])
def test_the_recipes_are_whole(name: str) -> None:
    suite = load_suite(TOP / "recipes" / "eval" / f"{name}.yaml")
    check_suite(suite, suite.tasks)
    assert suite.name == name and all(task.source or (task.data and task.data.manifest) for task in suite.tasks)
