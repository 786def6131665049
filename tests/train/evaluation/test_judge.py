"""Pairs out, votes in, a model as the judge. Kappas beside published worked examples and scikit-learn; the endpoint is a local HTTP server."""

from __future__ import annotations

import csv
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import pytest

from curate.errors import CurateError
from tests import command
from tests.train.stories import convert
from train.evaluation import judge, judge_models, votes
from train.evaluation.judge import Vote
from train.evaluation.results import write_tables

KEY = {
    "models": ["old", "new"][::-1],
    "pairs": {f"p{i}": {"a": ("new", "old")[i % 2], "b": ("old", "new")[i % 2], "task": "t", "item": str(i)} for i in range(10)},
    "equal": [],
}


def results(folder, answers: list[str], prompt: str = "Question {}", task: str = "estqa"):
    items = [
        {
            "task": task,
            "item": str(i),
            "language": "et",
            "prompt": prompt.format(i),
            "prompt_sha256": str(i),
            "answers": [text],
            "details": {},
        }
        for i, text in enumerate(answers)
    ]
    write_tables(folder, [{"task": task, "metric": "exact_match", "value": 0.0}], items)
    return folder


@pytest.fixture
def three(tmp_path):
    """Three models that say their name, so that a test can tell them apart; on item 3 all say the same."""
    return {
        name: results(tmp_path / name, [f"{name} says {i}" if i != 3 else "the same" for i in range(21)])
        for name in ("base", "cpt", "sft")
    }


# ---- export


def test_what_judges_get_names_no_model_and_the_key_lies_elsewhere(three, tmp_path):
    renamed = {f"model-{name}": folder for name, folder in three.items()}
    found = judge.export(renamed, tmp_path / "for_judges", seed=5)
    assert sorted(p.name for p in found.folder.iterdir()) == ["pairs.csv", "pairs.jsonl", "vote.html"]
    assert found.key == tmp_path / "for_judges.key.json"
    for path in found.folder.iterdir():
        assert "model-" not in path.read_text()
    assert (found.n_pairs, found.n_equal) == (60, 3)


def test_the_key_says_whose_answer_is_where_and_each_model_is_a_as_often(three, tmp_path):
    found = judge.export(three, tmp_path / "out", seed=5)
    key = judge.read_key(found.key)
    for pair in judge.read_pairs(found.folder):
        for side in ("a", "b"):
            assert pair[side].startswith(key["pairs"][pair["pair"]][side])
            assert pair[side].endswith(f" {key['pairs'][pair['pair']]['item']}") and pair["prompt"].endswith(
                pair[side].split()[-1]
            )
    firsts = Counter((frozenset((p["a"], p["b"])), p["a"]) for p in key["pairs"].values())
    assert set(firsts.values()) == {10}  # 20 pairs of every two models


def test_an_odd_number_of_pairs_is_balanced_but_for_one(three, tmp_path):
    key = judge.read_key(judge.export({k: three[k] for k in ("base", "cpt")}, tmp_path / "out", limit=7).key)
    assert sorted(Counter(p["a"] for p in key["pairs"].values()).values()) == [3, 4]


def test_the_seed_is_the_order(three, tmp_path):
    texts = [
        (judge.export(three, tmp_path / str(i), seed=seed).folder / "pairs.jsonl").read_text() for i, seed in enumerate((1, 1, 2))
    ]
    assert texts[0] == texts[1] != texts[2]
    order = [json.loads(line)["prompt"] for line in texts[0].split("\n") if line]
    assert order != sorted(order)


def test_different_prompts_are_left_out(tmp_path):
    one = results(tmp_path / "one", ["a", "b"])
    two = results(tmp_path / "two", ["c", "d"], prompt="<chat>Question {}")
    with pytest.raises(CurateError, match="nothing to judge") as error:
        judge.export({"one": one, "two": two}, tmp_path / "out")
    assert "2 with different prompts" in str(error.value)


def test_mistakes_of_an_export(three, tmp_path):
    with pytest.raises(CurateError, match="needs two models"):
        judge.export({"base": three["base"]}, tmp_path / "out")
    with pytest.raises(CurateError, match="must not lie in the folder"):
        judge.export(three, tmp_path / "out", tmp_path / "out" / "key.json")
    with pytest.raises(CurateError, match="no answers of this task") as error:
        judge.export(three, tmp_path / "out", tasks=["estq"])
    assert error.value.allowed == "estqa"
    judge.export(three, tmp_path / "out")
    with pytest.raises(CurateError, match="already there"):
        judge.export(three, tmp_path / "out")


def test_texts_do_not_leave_their_place(tmp_path):
    """A closing tag inside an answer, a formula in a spreadsheet, line separators."""
    wild = ["</script><b>x", "=HYPERLINK(1)", "a\u2028b", "-1", ""]
    one, two = results(tmp_path / "one", wild), results(tmp_path / "two", ["other"] * 5)
    folder = judge.export({"one": one, "two": two}, tmp_path / "out").folder
    page = (folder / "vote.html").read_text()
    data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)[1])
    assert {pair[side] for pair in data["pairs"] for side in "ab"} == {*wild, "other"}
    assert page.count("</script>") == 2 and "http" not in page.replace('http-equiv="Content', "")
    cells = {row[side] for row in csv.DictReader((folder / "pairs.csv").open(encoding="utf-8-sig", newline="")) for side in "ab"}
    assert {"'=HYPERLINK(1)", "'-1"} <= cells and not any(cell.startswith("=") for cell in cells)


# ---- votes


def test_votes_from_csv_with_commas_or_semicolons_and_from_json_lines(tmp_path):
    (tmp_path / "a.csv").write_text('pair,judge,vote,note\np0,Mari,a,"hea, lühike"\np1,Mari,tie,\np2,Mari,,\n')
    (tmp_path / "b.csv").write_text("\ufeffpair;judge;vote;note;prompt\r\np0;Jüri;B;;x\r\n", encoding="utf-8")
    (tmp_path / "c.jsonl").write_text(
        '{"pair": "p0", "judge": "Ann", "vote": "skip"}\n\n{"pair": "p0", "judge": "Ann", "vote": "b"}\n'
    )
    found, n_replaced = judge.read_votes([tmp_path / name for name in ("a.csv", "b.csv", "c.jsonl")], KEY)
    assert found == [
        Vote("p0", "Mari", "a", (), "hea, lühike"), Vote("p1", "Mari", "tie"), Vote("p0", "Jüri", "b"), Vote("p0", "Ann", "b"),
    ]  # fmt: skip
    assert n_replaced == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pair,judge,vote\np0,Mari,c\n", ":2: no such vote"), ("pair,judge,vote\np77,Mari,a\n", ":2: the key knows no such pair"),
        ("pair,judge,vote\np0,,a\n", ":2: a vote needs its judge"), ("pair,vote\np0,a\n", "a column is missing"),
        ('{"pair": "p0"', ":1: this line is no JSON"), ('{"pair": "p0", "judge": "x", "vote": "a"}\n[1]\n', ":2: this line is no vote"),
    ],
)  # fmt: skip
def test_votes_that_are_none(tmp_path, text, said):
    (tmp_path / "votes").write_text(text)
    with pytest.raises(CurateError) as error:
        judge.read_votes([tmp_path / "votes"], KEY)
    assert said in str(error.value)


def test_win_rates_by_hand():
    """new is A of even pairs. Votes a on p0 (won), b on p1 (won), b on p2 (lost), tie on p3: (2 + 0.5) / 4."""
    said = [Vote("p0", "Mari", "a"), Vote("p1", "Mari", "b"), Vote("p2", "Mari", "b"), Vote("p3", "Mari", "tie")]
    new, old = votes.rates(said, KEY)
    assert (new.model, new.other, new.wins, new.ties, new.losses) == ("new", "old", 2, 1, 1)
    assert new.rate.value == 0.625 and old.rate.value == 0.375
    assert new.rate.low == pytest.approx(1 - old.rate.high)


def test_many_judges_of_one_prompt_are_one_observation():
    said = [Vote(f"p{i}", f"judge {j}", "a" if i % 2 == 0 else "tie") for i in range(6) for j in range(20)]
    (new, _) = votes.rates(said, KEY)
    alone, _ = votes.rates([v for v in said if v.judge == "judge 0"], KEY)
    assert (new.rate.low, new.rate.high) == (alone.rate.low, alone.rate.high)


def test_of_three_models_each_against_all_others():
    key = {
        "models": ["x", "y", "z"], "equal": [],
        "pairs": {"1": {"a": "x", "b": "y", "task": "t", "item": "1"}, "2": {"a": "z", "b": "x", "task": "t", "item": "1"},
                  "3": {"a": "y", "b": "z", "task": "t", "item": "1"}},
    }  # fmt: skip
    found = votes.rates([Vote("1", "m", "a"), Vote("2", "m", "b"), Vote("3", "m", "tie")], key)
    assert [(r.model, r.rate.value) for r in found if not r.other] == [("x", 1.0), ("y", 0.25), ("z", 0.25)]
    assert [(r.model, r.other) for r in found if r.other][:2] == [("x", "y"), ("x", "z")]


def test_cohen_by_hand_and_beside_scikit_learn():
    """20 both yes, 5 and 10 apart, 15 both no: 0.7 agree, 0.5 by chance, so 0.4 (the worked example of Wikipedia's page)."""
    said = [np.array(pair) for pair, n in (((0, 0), 20), ((0, 2), 5), ((2, 0), 10), ((2, 2), 15)) for _ in range(n)]
    assert votes.cohen(said) == pytest.approx(0.4)
    from sklearn.metrics import cohen_kappa_score

    drawn = np.random.default_rng(1).integers(0, 3, (60, 2))
    assert votes.cohen([*drawn]) == pytest.approx(cohen_kappa_score(drawn[:, 0], drawn[:, 1]))


def test_fleiss_by_hand():
    """4 pairs, 3 judges. Agreement of pairs of judges: 1, 1, 1/3, 1/3, mean 2/3; outcomes 5, 4, 3 of 12, by chance 50/144; kappa 46/94."""
    said = [np.array(x) for x in ([0, 0, 0], [1, 1, 1], [0, 0, 2], [2, 2, 1])]
    assert votes.fleiss(said) == pytest.approx((2 / 3 - 50 / 144) / (1 - 50 / 144))
    assert votes.fleiss(said) == pytest.approx(46 / 94)


def test_agreement_is_about_models_not_places():
    """p0 and p1 have the models the other way round: a on both is one win each way."""
    said = [
        Vote("p0", "Mari", "a"),
        Vote("p1", "Mari", "b"),
        Vote("p0", "Jüri", "a"),
        Vote("p1", "Jüri", "a"),
        Vote("p5", "Jüri", "a"),
    ]
    (one,) = votes.agreements(said, KEY, ["Jüri", "Mari"])
    assert (one.n, one.same) == (2, 0.5)
    said += [Vote("p0", "Ann", "a"), Vote("p1", "Ann", "b")]
    assert [len(a.judges) for a in votes.agreements(said, KEY, ["Ann", "Jüri", "Mari"])] == [3, 2, 2, 2]


def test_judges_that_always_say_the_same_have_no_kappa():
    said = [Vote(f"p{i}", name, "a" if i % 2 == 0 else "b") for i in range(6) for name in ("Mari", "Jüri")]
    outcome = votes.count(said, KEY)
    assert np.isnan(outcome.agreement[0].kappa.value) and "not defined" in outcome.text()


def test_a_judge_that_always_takes_the_first_is_told():
    key = {
        **KEY,
        "pairs": {
            f"p{i}": {"a": ("new", "old")[i % 2], "b": ("old", "new")[i % 2], "task": "t", "item": str(i)} for i in range(40)
        },
    }
    outcome = votes.count([Vote(f"p{i}", "Mari", "a") for i in range(40)], key)
    assert outcome.places[0].first.value == 1.0 and "biased to the first" in outcome.text()
    assert outcome.rates[0].rate.value == 0.5  # and because of the balance no model wins by it


def test_the_commands(three, tmp_path):
    done = command.curate(
        "train",
        "judge",
        "export",
        f"base={three['base']}",
        f"cpt={three['cpt']}",
        "--to",
        tmp_path / "out",
        "--question",
        "Milline on parem?",
    )
    assert done.returncode == 0, done.stderr
    key = json.loads((tmp_path / "out.key.json").read_text())
    rows = [{"pair": p, "judge": "Mari", "vote": "a" if sides["a"] == "cpt" else "b"} for p, sides in key["pairs"].items()]
    (tmp_path / "votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = command.curate("train", "judge", "import", tmp_path / "out.key.json", tmp_path / "votes.jsonl")
    assert done.returncode == 0, done.stderr
    assert re.search(r"cpt over base +100.0 % \(83.9 to 100.0\) +20 won, 0 tied, 0 lost; better", done.stdout)
    assert "1 more with equal answers" in done.stdout and "base over cpt" not in done.stdout
    data = json.loads(
        command.curate("train", "judge", "import", tmp_path / "out.key.json", tmp_path / "votes.jsonl", "--json").stdout
    )
    assert data["n_votes"] == 20 and data["places"][0]["n_reversed"] is None
    rows = [{**row, "judge": name, "vote": "tie"} for row in rows for name in ("Ann", "Jüri")]
    (tmp_path / "ties.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = command.curate("train", "judge", "import", tmp_path / "out.key.json", tmp_path / "ties.jsonl", "--json")
    assert "NaN" not in done.stdout and json.loads(done.stdout)["agreement"][0]["kappa"]["value"] is None
    done = command.curate("train", "judge", "export", str(three["base"]), str(three["cpt"]), "--to", tmp_path / "other")
    assert done.returncode == 2 and "NAME=RESULTS" in done.stderr


# ---- a model as the judge


def test_verdicts_are_read_from_the_end():
    assert judge_models.verdict("I thought [[A]] at first.\n[[B]]") == "b"
    assert judge_models.verdict("[[ C ]]") == "tie"
    assert judge_models.verdict("A is better") == "skip"


def test_places_of_the_template_are_filled_once():
    spec = judge_models.JudgeSpec(kind="http", model="m", template="{prompt}|{a}|{b}|{c}")
    assert judge_models.filled(spec, "{a}", "{b}", "x") == "{a}|{b}|x|{c}"


@pytest.mark.parametrize(
    ("first", "second", "vote"),
    [("a", "b", "a"), ("b", "a", "b"), ("a", "a", "tie"), ("b", "b", "tie"), ("tie", "tie", "tie"), ("a", "tie", "tie"), ("skip", "b", "skip")],
)  # fmt: skip
def test_both_orders(first, second, vote):
    said = iter([first, second])
    pair = {"pair": "p", "prompt": "q", "a": "one", "b": "two"}
    assert judge_models.both_orders(lambda *_: next(said), pair) == {"vote": vote, "orders": [first, second]}


class Endpoint(BaseHTTPRequestHandler):
    """Prefers the answer of cpt, wherever it stands; what it is told to do first stands in `script`: a status, or "drop"."""

    script: ClassVar[list] = []
    asked: ClassVar[list] = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, self.headers.get("Authorization"), body))
        now = self.script.pop(0) if self.script else 200
        if now == "drop":
            self.connection.close()
            return
        content = body["messages"][0]["content"]
        a, b = re.search(r"\[Answer A\]\n(.*)\n", content)[1], re.search(r"\[Answer B\]\n(.*)\n", content)[1]
        said = "Well. [[A]]" if a.startswith("cpt") else "Well. [[B]]" if b.startswith("cpt") else "[[C]]"
        answer = (
            {"choices": [{"message": {"content": said}}]}
            if now == 200
            else {"error": f"bad key {self.headers.get('Authorization')}"}
        )
        data = json.dumps(answer).encode() if now != "rubbish" else b"<html>"
        self.send_response(200 if now == "rubbish" else now)
        self.send_header("Content-Length", str(len(data)))
        if now == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint():
    Endpoint.script, Endpoint.asked = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture
def spec(endpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "sk-very-secret")
    path = tmp_path / "judge.yaml"
    path.write_text(f"kind: http\nurl: {endpoint}\nmodel: some-judge\nkey_env: JUDGE_KEY\nwait: 0.01\ntimeout: 5\n")
    return path


def test_an_endpoint_judges_every_pair_in_both_orders(three, spec, tmp_path):
    two = {name: three[name] for name in ("base", "cpt")}
    folder = judge.export(two, tmp_path / "out").folder
    found = judge_models.ask(folder, judge_models.build(judge_models.load_spec(spec)), "some-judge", tmp_path / "votes.jsonl")
    assert found == {"asked": 20, "before": 0, "turned": 0, "skip": 0}
    assert len(Endpoint.asked) == 40 and {path for path, *_ in Endpoint.asked} == {"/v1/chat/completions"}
    assert {key for _, key, _ in Endpoint.asked} == {"Bearer sk-very-secret"}
    assert all(body["model"] == "some-judge" and body["temperature"] == 0 for *_, body in Endpoint.asked)
    assert "secret" not in (tmp_path / "votes.jsonl").read_text()
    key = judge.read_key(tmp_path / "out.key.json")
    outcome = votes.count(judge.read_votes([tmp_path / "votes.jsonl"], key)[0], key)
    assert [(r.model, r.rate.value) for r in outcome.rates] == [("base", 0.0), ("cpt", 1.0)]
    assert outcome.places[0].first.value == 0.5 and outcome.places[0].n_both == 20 and outcome.places[0].n_reversed == 0


def test_the_command_asks_and_tells_no_key(three, spec, tmp_path):
    judge.export({name: three[name] for name in ("base", "cpt")}, tmp_path / "out", limit=3)
    done = command.curate("train", "judge", "ask", tmp_path / "out", spec, "--to", tmp_path / "votes.jsonl")
    assert done.returncode == 0, done.stderr
    assert "3 pairs asked in both orders" in done.stdout and "secret" not in done.stdout + done.stderr
    Endpoint.script = [401]
    done = command.curate("train", "judge", "ask", tmp_path / "out", spec, "--to", tmp_path / "other.jsonl")
    assert done.returncode == 1 and "401" in done.stderr and "***" in done.stderr and "secret" not in done.stderr


def test_votes_go_on_where_they_stopped(three, spec, tmp_path):
    folder = judge.export({name: three[name] for name in ("base", "cpt")}, tmp_path / "out").folder
    calls = []

    def dies(prompt, a, b):
        calls.append(a)
        if len(calls) > 10:
            raise KeyboardInterrupt
        return "tie"

    with pytest.raises(KeyboardInterrupt):
        judge_models.ask(folder, dies, "j", tmp_path / "votes.jsonl")
    with (tmp_path / "votes.jsonl").open("a") as file:
        file.write('{"pair": "half a li')
    found = judge_models.ask(folder, lambda *_: "tie", "j", tmp_path / "votes.jsonl")
    assert (found["before"], found["asked"]) == (5, 15)
    rows = [json.loads(line) for line in (tmp_path / "votes.jsonl").read_text().splitlines()]
    assert len({row["pair"] for row in rows}) == len(rows) == 20


@pytest.mark.parametrize("script", [[500, 503], [429], ["drop", "drop"]])
def test_it_tries_again(spec, script):
    Endpoint.script = list(script)
    asked = judge_models.build(judge_models.load_spec(spec))
    assert asked("q", "cpt says 1", "base says 1") == "a"
    assert len(Endpoint.asked) == len(script) + 1


@pytest.mark.parametrize(("script", "n"), [([401], 1), ([404], 1), ([500] * 9, 5), (["rubbish"], 1), ([302], 1)])
def test_what_does_not_help_is_told_without_the_key(spec, script, n):
    Endpoint.script = list(script)
    asked = judge_models.build(judge_models.load_spec(spec))
    with pytest.raises(CurateError) as error:
        asked("q", "cpt says 1", "base says 1")
    assert len(Endpoint.asked) == n and error.value.exit_code == 1
    assert "secret" not in str(error.value)


def test_a_hung_endpoint_is_given_up(spec, tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        spec.write_text(
            f"kind: http\nurl: http://127.0.0.1:{silent.getsockname()[1]}/v1\nmodel: m\ntimeout: 0.1\nretries: 1\nwait: 0.01\n"
        )
        asked = judge_models.build(judge_models.load_spec(spec))
        with pytest.raises(CurateError, match="does not answer") as error:
            asked("q", "a", "b")
    assert "Timeout" in error.value.found


def test_mistakes_of_a_judge_file(tmp_path, monkeypatch):
    path = tmp_path / "judge.yaml"
    for text, said in (
        ("kind: http\nmodel: m\n", "where is the endpoint"), ("kind: http\nurl: http://x\nmodel: m\ntemplate: '{a} {b}'\n", "lacks what is judged"),
        ("kind: http\nurl: http://x\nmodel: m\nkey: sk-secret\n", "key"), ("kind: htp\nmodel: m\n", "kind"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(CurateError) as error:
            judge_models.load_spec(path)
        assert said in str(error.value) and "judge.yaml" in str(error.value)
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    path.write_text("kind: http\nurl: http://x\nmodel: m\nkey_env: NO_SUCH_KEY\n")
    with pytest.raises(CurateError, match="environment variable is not set"):
        judge_models.build(judge_models.load_spec(path))


def test_a_local_model_judges_by_its_likeliest_verdict(data, tmp_path):
    """Beside the loss that transformers computes over the verdict's tokens alone; the texts are such that more than one verdict occurs."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = convert(data / "models" / "stories260K", tmp_path / "model")
    path = tmp_path / "judge.yaml"
    path.write_text(f"kind: local\nmodel: {folder}\ntemplate: '{{prompt}} {{a}} {{b}}'\n")
    asked = judge_models.build(judge_models.load_spec(path))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)

    def nats(before: str, verdict: str) -> float:
        ids = torch.tensor([tokenizer(before + verdict)["input_ids"]])
        n = len(tokenizer(verdict)["input_ids"]) - 1  # without the space that a text of its own begins with
        labels = ids.clone()
        labels[:, :-n] = -100
        return model(ids, labels=labels).loss.item() * n

    seen = set()
    for prompt, a, b in (
        ("A A A A A A A", ".", ""),
        ("He said: A, A, A, A", ".", ""),
        ("[[B]] was [[B]].", "x", "y"),
        ("[[C]] " * 9, "x", "y"),
    ):
        costs = {letter: nats(f"{prompt} {a} {b}", f"[[{letter}]]") for letter in "ABC"}
        likeliest = min(costs, key=costs.__getitem__)
        seen.add(likeliest)
        assert asked(prompt, a, b) == judge_models.LETTERS[likeliest]
    assert len(seen) > 1, seen
    assert asked("long " * 600, "x", "y") == "skip"
