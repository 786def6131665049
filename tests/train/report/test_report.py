"""The page of runs of every kind: finished, stopped, killed and resumed, still going, damaged, empty, of one and of forty components."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from curate.errors import CurateError
from curate.store import write_json
from tests.train.watch.made import record, watching
from train.report import write_report
from train.watch import Sums
from train.watch.log import Log
from train.watch.record import StepRecord


class Page(HTMLParser):
    """Texts by tag, and what a browser would fetch."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text("utf-8")
        self.stack: list[str] = []
        self.figures: list[str] = []
        self.verdict: list[tuple[str, str]] = []
        self.fetched: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(self.text)
        assert self.stack == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.fetched += [f"{tag} {key}" for key in ("src", "href", "srcset", "action") if key in values]
        if tag not in ("meta", "line", "polyline", "polygon", "path"):
            self.stack.append(tag)
        if tag == "figcaption":
            self.figures.append("")
        if tag == "li":
            self.verdict.append((values["class"] or "", ""))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "polyline", "polygon", "path"):
            assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if "figcaption" in self.stack:
            self.figures[-1] += data
        if "li" in self.stack:
            self.verdict[-1] = (self.verdict[-1][0], self.verdict[-1][1] + data)
        if {"td", "th"} & set(self.stack):
            self.rows[-1][-1] += data


def page(folder: Path) -> Page:
    return Page(write_report(folder))


def receipt(
    folder: Path, step: int, rows: int, of: int = 10, differences: tuple[str, ...] = (), skipped: tuple[int, ...] = ()
) -> None:
    parts = [
        {"name": "et", "sequences": rows, "tokens": 900, "loss_tokens": 890},
        {"name": "en", "sequences": 0, "tokens": 100, "loss_tokens": 99},
    ]
    streams = [
        {
            "sequences": rows,
            "stream_sha256": "ab",
            "stream_checkpoints": [],
            "manifest": {"name": "m", "stream": "ab", "sequences": of},
        }
    ]
    (folder / f"step-{step:06d}").mkdir(parents=True)
    write_json(folder / f"step-{step:06d}" / "receipt.json", {
        "tokens": 1000, "sequences": rows, "steps": step, "components": parts, "skipped": list(skipped), "streams": streams,
        "differences": list(differences),
    })  # fmt: skip


def train(folder: Path, first: int, last: int, n_steps: int = 4) -> None:
    with watching(folder, n_steps) as watch:
        if first > 1:
            watch.event("resumed", step=first - 1, path="step")
        else:
            watch.held_out(
                0,
                {"et": {"loss": 8.0, "tokens": 9, "bits_per_byte": 4.0}, "en": {"loss": 6.0, "tokens": 9, "bits_per_byte": 3.0}},
            )
        for done in range(first, last + 1):
            watch.step(record(done))
        watch.held_out(
            last, {"et": {"loss": 2.0, "tokens": 9, "bits_per_byte": 1.0}, "en": {"loss": 6.2, "tokens": 9, "bits_per_byte": 3.1}}
        )


def test_a_finished_run(tmp_path: Path) -> None:
    train(tmp_path, 1, 4)
    receipt(tmp_path / "run", 4, 10)
    planned = [
        {"name": "et", "phases": [{"tokens": 900, "realised": 900}]},
        {"name": "en", "phases": [{"tokens": 60, "realised": 60}] * 2},
    ]
    write_json(tmp_path / "manifest.json", {"components": planned})
    drawn = page(tmp_path / "run")
    assert drawn.verdict == [
        ("good", "Finished: all 4 steps are done."),
        ("good", "Receipt: 1,000 tokens entered the model, equal to the plan to the token."),
        ("open", "Held-out bits per byte, step 0 to 4: et 4.000 → 1.000, en 3.000 → 3.100."),
    ]
    assert ["et", "900", "900", "0", "90.0 %", "10", "2.000", "1.443", "4.000 b/B", "1.000 b/B"] in drawn.rows
    assert ["en", "120", "100", "-20", "10.0 %", "0", "3.000", "2.164", "3.000 b/B", "3.100 b/B"] in drawn.rows
    titles = [re.sub(r" [\d.e+-]+( %)?$", "", title.strip()) for title in drawn.figures]
    assert titles == [
        "loss, all", "loss, by component", "loss, by language", "bits per byte, all", "bits per byte, by component",
        "bits per byte, by language", "held-out loss", "held-out bits per byte", "learning rate", "gradient norm", "tokens a second",
        "packing fill", "seconds of training a step", "peak memory of a device 1.0 kB",
    ]  # fmt: skip
    assert "global_batch: 128 tokens" in drawn.text


def test_the_page_fetches_nothing(tmp_path: Path) -> None:
    train(tmp_path, 1, 4)
    drawn = page(tmp_path / "run")
    assert drawn.fetched == [] and "default-src 'none'" in drawn.text
    assert "http:" not in drawn.text and "https:" not in drawn.text and "url(" not in drawn.text and "@import" not in drawn.text


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (
            {"rows": 10, "differences": ("et: 5 tokens entered the model, 9 were planned",)},
            "bad",
            "DIFFERS from the plan: et: 5 tokens",
        ),
        ({"rows": 8, "skipped": (3, 4)}, "good", "equal to the plan to the token, but for 2 rows that the run file skips"),
        ({"rows": 4}, "open", "1,000 tokens, 4 of 10 rows, equal to the plan as far as it goes"),
    ],
)
def test_what_the_receipt_says(tmp_path: Path, arguments: dict, kind: str, said: str) -> None:
    train(tmp_path, 1, 2)
    receipt(tmp_path / "run", 2, **arguments)
    found = page(tmp_path / "run").verdict[1]
    assert found[0] == kind and said in found[1]


def test_the_newest_readable_receipt_counts(tmp_path: Path) -> None:
    train(tmp_path, 1, 4)
    receipt(tmp_path / "run", 2, 4)
    receipt(tmp_path / "run", 4, 10)
    (tmp_path / "run" / "step-000004" / "receipt.json").write_text("{")
    assert "step-000002" in page(tmp_path / "run").verdict[1][1]


def test_a_run_in_two_parts(tmp_path: Path) -> None:
    train(tmp_path, 1, 3)
    train(tmp_path, 2, 4)
    drawn = page(tmp_path / "run")
    assert drawn.verdict[0] == ("good", "Finished: all 4 steps are done.")
    assert "<dt>done twice</dt><dd>2 steps</dd>" in drawn.text and "<small>2 parts</small>" in drawn.text
    assert "<dt>steps</dt><dd>4</dd>" in drawn.text
    assert drawn.text.count('class="mark resumed"') == len(drawn.figures)
    # 360 tokens in 8 seconds: what was done twice is not in it
    assert "<dt>tokens a second</dt><dd>45</dd><small>50 all, 44 loss</small>" in drawn.text


def test_stops_skips_and_phases_are_marked(tmp_path: Path) -> None:
    with watching(tmp_path, 9) as watch:
        watch.phase(0, "main", 4, 32)
        watch.step(record(1))
        watch.event("skipped", step=2, rows=[5, 6])
        watch.step(record(2))
        watch.phase(2, "anneal", 2, 64)
        watch.event("stopped", step=2, why="max_hours is over")
    drawn = page(tmp_path / "run")
    assert drawn.verdict[0][1].startswith("Stopped after 2 of 9 steps (22.2 %): max_hours is over.")
    for kind, said in (("phase", "phase anneal from step 3 on: 2 sequences of 64 tokens"), ("skipped", "skipped rows: 5, 6 (step 2)"),
                       ("stopped", "stopped after step 2: max_hours is over")):  # fmt: skip
        assert f'class="mark {kind}"' in drawn.text and any(row[0] == said for row in drawn.rows)


def test_still_going_and_its_last_line_half_written(tmp_path: Path) -> None:
    train(tmp_path, 1, 2, n_steps=9)
    with (tmp_path / "run" / "log.jsonl").open("a") as file:
        file.write('{"event": "step", "st')
    drawn = page(tmp_path / "run")
    assert drawn.verdict[0] == (
        "open", "Not finished: 2 of 9 steps (22.2 %) are in the log. It is still going, or it was killed; the same command goes on.",
    )  # fmt: skip
    assert drawn.verdict[-1] == ("open", "1 line of the log could not be read and is left out.")


def test_an_empty_log(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").touch()
    drawn = page(tmp_path)
    assert drawn.figures == [] and drawn.verdict[0] == ("open", "Nothing has been logged yet.")


def test_one_component_and_forty(tmp_path: Path) -> None:
    for n in (1, 40):
        parts = {f"c{k}": Sums(20.0, 10, 10, 20) for k in range(n)}
        with watching(tmp_path / str(n), 2) as watch:
            for done in (1, 2):
                watch.step(
                    StepRecord(
                        done,
                        "main",
                        1e-3,
                        1.0,
                        parts,
                        {"et": Sums(20.0 * n, 10 * n, 10 * n, 20 * n)},
                        10 * n,
                        10 * n,
                        {"data": 1.0},
                    )
                )
    one, forty = (page(tmp_path / n / "run") for n in ("1", "40"))
    assert [title.strip() for title in one.figures][:2] == ["loss, all 2.000", "bits per byte, all 1.443"]
    assert len([title for title in forty.figures if re.match(r"c\d+ ", title)]) == 80 and forty.text.count('class="small"') == 80


def test_mfu_with_its_formula(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    flops = {"per_token_causal": 3e9, "per_token": 4e9, "peak": 1e12, "formula": "6 x 0.5B weights", "source": "data sheet"}
    log.write("start", name="x", steps=1, world=2, flops=flops)
    log.write("step", **record(1).line(7.2e6))
    log.close()
    drawn = page(tmp_path)
    # 45 tokens a second x 3e9 / 2e12
    assert "<dt>MFU</dt><dd>6.8 %</dd><small>causal; 9.0 % non-causal</small>" in drawn.text
    assert "<dt>energy</dt><dd>2.00 kWh</dd>" in drawn.text
    assert "6 x 0.5B weights; peak 1 Tflop/s (data sheet)" in drawn.text


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    bad = '<script>alert("x")</script>&'
    line = record(1).line(None)
    line["components"] = {bad: line["components"]["et"], "en": line["components"]["en"]}
    log.write("start", name=bad, steps=1, run={"name": bad})
    log.write("step", **line)
    log.close()
    drawn = page(tmp_path)
    assert "<script>alert" not in drawn.text and drawn.text.count("<script>") == 1


def test_the_run_file_names_the_folder(tmp_path: Path) -> None:
    train(tmp_path, 1, 4)
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({"save": {"to": str(tmp_path / "run")}}))
    (tmp_path / "run.yaml").write_text("extends: base.yaml\nname: tiny\n")
    assert write_report(tmp_path / "run.yaml", tmp_path / "elsewhere" / "page.html") == tmp_path / "elsewhere" / "page.html"
    (tmp_path / "wrong.yaml").write_text("name: tiny\n")
    with pytest.raises(CurateError, match="this is not a run file"):
        write_report(tmp_path / "wrong.yaml")
    with pytest.raises(CurateError, match="there is no log of a run here"):
        write_report(tmp_path)


def test_no_torch_is_loaded(tmp_path: Path) -> None:
    """On a machine where torch and accelerate cannot be imported, through the command."""
    train(tmp_path, 1, 4)
    code = (
        "import sys\n"
        "for name in ('torch', 'accelerate', 'transformers', 'safetensors'): sys.modules[name] = None\n"
        "sys.argv = ['curate', 'report', sys.argv[1], '--json']\n"
        "from curate.cli import app; app()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"report": str(tmp_path / "run" / "report.html")}
