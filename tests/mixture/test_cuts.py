"""Cuts applied to texts and conversations: against plain Python, and the loss mask of what is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import engine
from curate.cuts import Cuts, cut_texts
from curate.errors import CurateError
from curate.schema import CUTS
from curate.sources.fields import chat_text
from curate.store import Store
from mixture import tokens
from mixture.cuts import Cut, ShardCuts, apply, apply_to_messages
from mixture.token_files import TokenShards
from mixture.tokenizer import load_tokenizer
from tests.mixture import tiny_tokenizer
from tests.mixture.test_tokens import make_decisions, make_documents, recipe

TEXT = st.text(alphabet="aõ中😀\n ", max_size=30)


@st.composite
def cut_text(draw) -> tuple[str, list[tuple[int, int, str]]]:
    """A text and cuts of it (characters), in order, without overlaps; some touch."""
    text = draw(TEXT)
    edges = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pairs = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False) if a < b]
    return text, [(a, b, draw(st.sampled_from(["", "[EMAIL]", "õ"]))) for a, b in pairs]


def plain(text: str, cuts: list[tuple[int, int, str]]) -> str:
    """Character by character: what stands in a cut is left out, its replacement put where the cut begins."""
    put = {start: replacement for start, _, replacement in cuts}
    inside = {i for start, end, _ in cuts for i in range(start, end)}
    return "".join(put.get(i, "") + ("" if i in inside else c) for i, c in enumerate(text))


def in_bytes(text: str, cuts: list[tuple[int, int, str]]) -> list[Cut]:
    at = [len(text[:i].encode()) for i in range(len(text) + 1)]
    return [Cut(at[a], at[b], replacement.encode()) for a, b, replacement in cuts]


def write_cuts(path: Path, rows: list[list[Cut]]) -> Path:
    table = [
        {"row": i, "start": c.start, "end": c.end, "kind": "email", "replacement": c.replacement.decode()}
        for i, cuts in enumerate(rows) for c in cuts
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(table, CUTS), path)
    return path


@given(cut_text())
def test_apply_is_plain_python(given_text) -> None:
    text, cuts = given_text
    assert apply(text.encode(), in_bytes(text, cuts)).decode() == plain(text, cuts)


@settings(deadline=None, max_examples=50)
@given(st.lists(cut_text(), max_size=6))
def test_a_shard_is_cut_as_its_texts_are_and_as_they_are_measured(tmp_path_factory, documents) -> None:
    want = [plain(*one) for one in documents]
    path = write_cuts(tmp_path_factory.mktemp("c") / "cuts.parquet", [in_bytes(*one) for one in documents])
    rows = np.arange(len(documents))
    texts = pa.array([text for text, _ in documents], pa.large_string())
    values, is_cut = ShardCuts(path).apply(rows, texts, False)
    assert values.to_pylist() == want and is_cut.tolist() == [bool(cuts) for _, cuts in documents]
    table = pq.read_table(path).combine_chunks()
    cuts = Cuts(*(table[n].to_numpy() for n in ("row", "start", "end")), table["kind"], table["replacement"])
    assert cut_texts(texts, rows, cuts).to_pylist() == want
    every = ShardCuts(path)
    odd, _ = every.apply(rows[1::2], texts.take(pa.array(rows[1::2])), False)
    assert odd.to_pylist() == want[1::2]  # any rows, wherever they stand


@given(st.lists(TEXT, min_size=1, max_size=5), st.data())
def test_conversations_lose_what_their_text_loses(contents: list[str], data) -> None:
    messages = [{"role": "user", "content": content} for content in contents]
    text = chat_text(messages)
    edges = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    cuts = [(a, b, "") for a, b in zip(edges[::2], edges[1::2], strict=False) if a < b]
    inside = {i for a, b, _ in cuts for i in range(a, b)}
    left, at = [], 0
    for content in contents:  # what is left of each content, where it stands in the text
        left.append("".join(c for i, c in enumerate(content, at) if i not in inside))
        at += len(content) + 2 if content else 0
    result = apply_to_messages(messages, in_bytes(text, cuts))
    assert [m["content"] for m in result] == left and [m["role"] for m in result] == ["user"] * len(contents)


def test_a_cut_over_two_messages_leaves_its_replacement_once() -> None:
    messages = [{"role": "user", "content": "ab"}, {"role": "user", "content": ""}, {"role": "assistant", "content": "cd"}]
    assert [m["content"] for m in apply_to_messages(messages, [Cut(1, 5, b"[X]")])] == ["a[X]", "", "d"]
    assert [m["content"] for m in apply_to_messages(messages, [Cut(2, 5, b"[X]")])] == ["ab", "", "[X]d"]
    assert [m["content"] for m in apply_to_messages(messages, [Cut(2, 4, b"[X]")])] == [
        "ab",
        "",
        "cd",
    ]  # the blank line is no content
    assert [m["content"] for m in apply_to_messages(messages, [Cut(0, 2, b""), Cut(4, 6, b"")])] == ["", "", ""]
    with pytest.raises(ValueError, match="a cut ends at byte 7 of a conversation of 6 bytes"):
        apply_to_messages(messages, [Cut(5, 7, b"")])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_tokenizer.write(tmp_path_factory.mktemp("tiny"), template=tiny_tokenizer.CHATML)


def tokenized(store: Store, a_recipe, texts: list[str], rows: list[list[Cut]] | None, keep: list[bool] | None = None, **more):
    """The finished tokens stage of one shard, cut where `rows` is given; a cuts stage of its own root."""
    made = make_documents(store, texts, n_shards=1, **more)
    cuts = {}
    if rows is not None:
        stage = store.stage("cuts", version=1, settings={"cuts": repr(rows)}, parents=[made.root])
        if not stage.complete:
            with stage.shard("00000") as out:
                write_cuts(out.path / "cuts.parquet", rows)
                out.done(sum(map(len, rows)), repr(rows))
            stage.finish(["00000"])
        cuts["web"] = stage
    stages, tasks = tokens.tasks(store, a_recipe, {"web": made}, make_decisions(store, made, keep or [True] * len(texts)), cuts)
    engine.run(tasks, workers=1, label="tokenize")
    stages["web"].finish(["00000"])
    return stages["web"]


def decoded(stage, folder: Path) -> list[str]:
    from curate.recipe import TokenizerSpec

    shard, tokenizer = TokenShards([stage.shard_path("00000")]), load_tokenizer(TokenizerSpec(model=str(folder)))
    spans = [slice(r["token_start"], r["token_start"] + r["n_tokens"]) for r in shard.index(0).to_pylist()]
    return [tokenizer.decode(shard.tokens(0)[span]).removesuffix("<|endoftext|>") for span in spans]


TEXTS = ["Kiri: mari@firma.ee!", "Õhtul", "jah\n3 likes\n", "x"]
ROWS = [[Cut(6, 19, b"[EMAIL]")], [], [Cut(4, 12, b"")], []]


def test_tokens_are_those_of_the_cut_text(tmp_path, folder) -> None:
    stage = tokenized(Store(tmp_path / "a"), recipe(folder), TEXTS, ROWS, [True, True, True, False])
    assert decoded(stage, folder) == ["Kiri: [EMAIL]!", "Õhtul", "jah\n"]
    plain_stage = tokenized(Store(tmp_path / "b"), recipe(folder), ["Kiri: [EMAIL]!", "Õhtul", "jah\n", "x"], None)
    assert decoded(plain_stage, folder)[:3] == decoded(stage, folder)


def test_other_cuts_tokenize_again_and_equal_cuts_do_not(tmp_path, folder) -> None:
    store = Store(tmp_path)
    first = tokenized(store, recipe(folder), TEXTS, ROWS, [True, True, True, False])
    more = tokenized(store, recipe(folder), TEXTS, ROWS, [True, True, True, True])
    assert (more.info()["counts"]["reused"], more.info()["counts"]["tokenized"]) == (3, 1)
    other = tokenized(store, recipe(folder), TEXTS, [[], [], [Cut(4, 12, b"")], []], [True, True, True, True])
    none = tokenized(store, recipe(folder), TEXTS, None, [True, True, True, True])
    assert other.info()["counts"]["reused"] == none.info()["counts"]["reused"] == 0
    assert len({s.fingerprint for s in (first, more, other, none)}) == 4
    assert decoded(other, folder)[0] == TEXTS[0]


def test_conversations_are_rendered_after_their_cuts(tmp_path, folder) -> None:
    chats = [
        [{"role": "user", "content": "Kes on mari@firma.ee?"}, {"role": "assistant", "content": "Ei tea.\n3 likes"}],
        [{"role": "user", "content": "Tere"}, {"role": "assistant", "content": "3 likes"}],
    ]
    texts = [chat_text(chat) for chat in chats]
    rows = [[Cut(7, 20, b"[EMAIL]"), Cut(31, 38, b"")], [Cut(6, 13, b"")]]
    assert [t.encode()[c.start : c.end] for t, cuts in zip(texts, rows, strict=True) for c in cuts] == [
        b"mari@firma.ee", b"3 likes", b"3 likes",
    ]  # fmt: skip
    stage = tokenized(Store(tmp_path), recipe(folder, "conversation", "assistant"), texts, rows, messages=chats)
    assert decoded(stage, folder) == [
        "<|im_start|>user\nKes on [EMAIL]?<|im_end|>\n<|im_start|>assistant\nEi tea.\n<|im_end|>\n",
        "<|im_start|>user\nTere<|im_end|>\n<|im_start|>assistant\n<|im_end|>\n",
    ]
    from curate.recipe import TokenizerSpec

    shard, tokenizer = TokenShards([stage.shard_path("00000")]), load_tokenizer(TokenizerSpec(model=str(folder)))
    learned = [tokenizer.decode(shard.tokens(0)[s][shard.loss(0)[s] == 1]) for s in (
        slice(r["token_start"], r["token_start"] + r["n_tokens"]) for r in shard.index(0).to_pylist()
    )]  # fmt: skip
    assert learned == ["Ei tea.\n<|im_end|>", "<|im_end|>"]


def test_an_answer_that_cuts_emptied_is_not_an_error(tmp_path) -> None:
    """A template that ends no empty turn: nothing is learned of the emptied answer; one that came empty is refused as before."""
    template = "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}" \
               "{{ '<|im_end|>' if m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}|{% endfor %}"  # fmt: skip
    folder = tiny_tokenizer.write(tmp_path / "t", template=template)
    chats = [[{"role": "user", "content": "Tere"}, {"role": "assistant", "content": "3 likes"}]]
    a_recipe = recipe(folder, "conversation", "assistant")
    stage = tokenized(Store(tmp_path / "a"), a_recipe, ["Tere\n\n3 likes"], [[Cut(6, 13, b"")]], messages=chats)
    assert decoded(stage, folder) == ["Tere||"] and stage.info()["counts"]["n_loss_tokens"] == 0
    empty = [[{"role": "user", "content": "Tere"}, {"role": "assistant", "content": ""}]]
    with pytest.raises(CurateError, match="nothing to learn"):
        tokenized(Store(tmp_path / "b"), a_recipe, ["Tere"], [[]], messages=empty)


def test_cuts_in_reasoning_and_in_the_arguments_of_calls() -> None:
    call = {"type": "function", "function": {"name": "kirjuta", "arguments": '{"kellele":"a@b.ee","n":12345}'}}
    messages = [
        {"role": "user", "content": "Kiri"},
        {"role": "assistant", "reasoning_content": "Aadress on a@b.ee.", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "ok"},
    ]
    text = chat_text(messages)
    assert text == 'Kiri\n\nAadress on a@b.ee.\n\nkirjuta {"kellele":"a@b.ee","n":12345}\n\nok'

    def after(*pieces: str) -> list[dict]:
        """With the last place of each piece cut."""
        return apply_to_messages(messages, sorted(Cut(text.rindex(p), text.rindex(p) + len(p), b"[X]") for p in pieces))

    def arguments(found: list[dict]) -> str:
        return found[1]["tool_calls"][0]["function"]["arguments"]

    assert arguments(after("a@b.ee")) == '{"kellele":"[X]","n":12345}'
    assert after("Aadress on a@b.ee")[1]["reasoning_content"] == "[X]."
    assert arguments(after("12345")) == "{}"  # [X] without quotes would be no JSON
    whole = after('kirjuta {"kellele":"a@b.ee","n":12345}')[1]["tool_calls"][0]["function"]
    assert whole == {"name": "kirjuta", "arguments": "{}"}  # a name of a tool stays
    assert after("ok")[2]["content"] == "[X]" and after("ok")[1] == messages[1]
    with pytest.raises(ValueError, match=f"of {len(text)} bytes"):
        apply_to_messages(messages, [Cut(0, len(text) + 1, b"")])
