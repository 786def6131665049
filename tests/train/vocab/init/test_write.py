"""A model's folder for another vocabulary: copied rows to the bit, both matrices, configs, shards; on small models and on stories260K."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from curate.errors import CurateError
from tests.train.stories import convert
from train.config import ModelSpec
from train.merge.config import PlaceSpec
from train.vocab.init import tensors
from train.vocab.init.config import Rows, Vectors
from train.vocab.init.write import check, write_model

LETTERS = [*"abcdefgh", "Ġ"]
SMALL: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "tie_word_embeddings": True},
    "gpt_neox": {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "tie_word_embeddings": False},
    "phi": {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2},  # its head has a bias
    "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32},  # tied, matrices are called wte
}  # fmt: skip
SPECIAL = {"<s>": "bos_token", "</s>": "eos_token"}


def write_tokenizer(folder: Path, tokens: Sequence[str], merges: Sequence[tuple[str, str]] = ()) -> Path:
    """Byte-level BPE of these tokens, with <s> and </s> as special tokens where they are among them."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([token for token in tokens if token in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {SPECIAL[token]: token for token in tokens if token in SPECIAL}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **settings}))
    return folder


def write_id_map(folder: Path, old_ids: Sequence[int], tokens: Sequence[str], pieces: Sequence[Sequence[int]]) -> None:
    columns = {
        "new_id": pa.array(range(len(tokens)), pa.int32()), "old_id": pa.array(old_ids, pa.int32()), "token": pa.array(tokens),
        "pieces": pa.array(pieces, pa.list_(pa.int32())),
    }  # fmt: skip
    pq.write_table(pa.table(columns), folder / "id_map.parquet")


def small_model(folder: Path, kind: str, rows: int = 12, **changes: object) -> Path:
    """Random weights, twelve rows for the eleven tokens of `old_tokens`: the last is padding."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, vocab_size=rows, bos_token_id=9, eos_token_id=10, pad_token_id=None, **SMALL[kind], **changes
    )
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    model.save_pretrained(folder)
    write_tokenizer(folder, old_tokens())
    return folder


def old_tokens() -> list[str]:
    return [*LETTERS, "<s>", "</s>"]


def extended(to: Path) -> None:
    """ab and abc are new; special tokens stay where they were."""
    tokens = [*old_tokens(), "ab", "abc"]
    write_tokenizer(to, tokens, [("a", "b"), ("ab", "c")])
    write_id_map(to, [*range(11), -1, -1], tokens, [[i] for i in range(11)] + [[0, 1], [0, 1, 2]])


def written(model: Path, to: Path, rows: Rows, texts: Sequence[str] = (), seed: int = 0) -> tuple[dict[str, Any], list[str]]:
    said: list[str] = []
    found = write_model(rows, ModelSpec(init=str(model)), model, to, {"et": lambda: iter(texts)}, seed, said.append)
    return found, said


def matrices(folder: Path) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    model = AutoModelForCausalLM.from_pretrained(folder)
    head = model.get_output_embeddings()
    return model, model.get_input_embeddings().weight.data, head.weight.data, getattr(head, "bias", None)


@pytest.mark.parametrize("kind", SMALL)
def test_extended(tmp_path: Path, kind: str) -> None:
    """Rows of both matrices, of a bias, tied or not; everything else bit for bit."""
    old = small_model(tmp_path / "old", kind)
    to = tmp_path / "new"
    extended(to)
    found, said = written(old, to, Rows(noise=0.0, pad_to_multiple_of=8))
    model, embedding, head, bias = matrices(to)
    before, old_embedding, old_head, old_bias = matrices(old)
    assert embedding.shape == head.shape == (16, 16) and model.config.vocab_size == 16
    for matrix, was in ((embedding, old_embedding), (head, old_head)):
        assert torch.equal(matrix[:11], was[:11])
        torch.testing.assert_close(matrix[11], was[:2].mean(0), rtol=0, atol=1e-6)
        torch.testing.assert_close(matrix[12], was[:3].mean(0), rtol=0, atol=1e-6)
        torch.testing.assert_close(
            matrix[13:], was[:11].mean(0).expand(3, -1), rtol=0, atol=1e-6
        )  # eleven: without the old padding
    is_tied = kind in ("llama", "gpt2")
    assert (embedding.data_ptr() == head.data_ptr()) == is_tied == found["tied"]
    assert (bias is not None) == (kind == "phi")
    if bias is not None and old_bias is not None:
        assert torch.equal(bias[:11], old_bias[:11])
        torch.testing.assert_close(bias[12], old_bias[:3].mean(), rtol=0, atol=1e-6)
    kept = {name: p for name, p in before.state_dict().items() if p.shape[:1] != (12,)}
    assert kept and all(torch.equal(p, model.state_dict()[name]) for name, p in kept.items())
    assert found["rows"] == {"copied": 11, "subword_mean": 2} and found["padding"] == 3 and found["old_vocab_size"] == 11
    assert pq.read_table(to / "rows.parquet").to_pydict() == {
        "new_id": list(range(13)),
        "how": ["copied"] * 11 + ["subword_mean"] * 2,
    }
    assert said[-1] == "16 rows: 11 copied, 2 subword_mean, 3 padding"
    assert AutoTokenizer.from_pretrained(to)("abc")["input_ids"] == [12]


def test_old_text_has_the_old_logits(tmp_path: Path) -> None:
    """An extended model given old ids answers as before on the old tokens, to the bit."""
    old = small_model(tmp_path / "old", "gpt_neox")
    extended(tmp_path / "new")
    written(old, tmp_path / "new", Rows())
    ids = torch.tensor([[9, 0, 3, 4, 8, 7, 1, 1, 10]])
    with torch.no_grad():
        before, after = (AutoModelForCausalLM.from_pretrained(folder).eval()(ids).logits for folder in (old, tmp_path / "new"))
    assert torch.equal(after[..., :11], before[..., :11])


@pytest.mark.parametrize("kind", SMALL)
def test_trimmed_keeps_logits_to_the_bit(tmp_path: Path, kind: str) -> None:
    """Tokens c, a, f, the blank and both special ones are kept, in another order."""
    old = small_model(tmp_path / "old", kind)
    to = tmp_path / "new"
    kept = [2, 0, 5, 8, 10, 9]
    tokens = [old_tokens()[i] for i in kept]
    write_tokenizer(to, tokens)
    write_id_map(to, kept, tokens, [[i] for i in kept])
    found, _ = written(old, to, Rows(pad_to_multiple_of=1))
    assert found["rows"] == {"copied": 6} and found["padding"] == 0
    model = AutoModelForCausalLM.from_pretrained(to).eval()
    assert (model.config.bos_token_id, model.config.eos_token_id, model.config.vocab_size) == (5, 4, 6)
    new = torch.tensor([[5, 1, 0, 3, 2, 1, 4]])
    with torch.no_grad():
        after = model(new).logits
        before = AutoModelForCausalLM.from_pretrained(old).eval()(torch.tensor(kept)[new]).logits
    assert torch.equal(after, before[..., kept])


def test_trimmed_stories(data: Path, tmp_path: Path) -> None:
    """The real model, without the tokens that a story does not use (specials and bytes stay): the same logits on the story."""
    old = convert(data / "models" / "stories260K", tmp_path / "old")
    text = (data / "models" / "stories260K" / "tinystories_sample.txt").read_text()[:1500]
    tokenizer = AutoTokenizer.from_pretrained(old)
    ids = tokenizer(text)["input_ids"]
    kept = sorted({*range(259), *ids})
    assert len(kept) < 480
    to = tmp_path / "new"
    to.mkdir()
    names = tokenizer.convert_ids_to_tokens(kept)
    config = json.loads((old / "tokenizer.json").read_text())
    config["model"]["vocab"] = {name: i for i, name in enumerate(names)}
    config["model"]["merges"] = [m for m in config["model"]["merges"] if {*m, "".join(m)} <= set(names)]
    (to / "tokenizer.json").write_text(json.dumps(config))
    write_id_map(to, kept, names, [[i] for i in kept])
    written(old, to, Rows(pad_to_multiple_of=1))
    new_id = {old_id: i for i, old_id in enumerate(kept)}
    given = torch.tensor([ids[:400]])
    with torch.no_grad():
        before = AutoModelForCausalLM.from_pretrained(old).eval()(given).logits
        after = AutoModelForCausalLM.from_pretrained(to).eval()(torch.tensor([[new_id[i] for i in ids[:400]]])).logits
    assert torch.equal(after, before[..., kept])


def test_special_ids(tmp_path: Path) -> None:
    """An end token of two, one of which is gone; a pad token that is gone and has no other; generation_config.json too."""
    old = small_model(tmp_path / "old", "llama")
    for name in ("config.json", "generation_config.json"):
        config = json.loads((old / name).read_text())
        config |= {"eos_token_id": [10, 4], "pad_token_id": 3, "image_token_id": 2}
        (old / name).write_text(json.dumps(config))
    to = tmp_path / "new"
    tokens = ["</s>", "<s>", "c", "a"]
    write_tokenizer(to, tokens)
    write_id_map(to, [10, 9, 2, 0], tokens, [[10], [9], [2], [0]])
    _, said = written(old, to, Rows(pad_to_multiple_of=1))
    for name in ("config.json", "generation_config.json"):
        config = json.loads((to / name).read_text())
        assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"], config["image_token_id"]) == (
            1,
            [0],
            None,
            2,
        )
    assert said[0] == "pad_token_id of the old config has no token in the new vocabulary"


def test_shards_and_a_missing_one(tmp_path: Path) -> None:
    old = small_model(tmp_path / "old", "gpt_neox")
    weights = load_file(old / "model.safetensors")
    (old / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, own in parts.items():
        save_file({name: weights[name] for name in own}, old / file)
    listed = {name: file for file, own in parts.items() for name in own}
    (old / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": listed}))
    extended(tmp_path / "new")
    written(old, tmp_path / "new", Rows())
    index = json.loads((tmp_path / "new" / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == listed
    found = {name: p for file in parts for name, p in load_file(tmp_path / "new" / file).items()}
    assert index["metadata"]["total_size"] == sum(p.nbytes for p in found.values())
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "new").config.vocab_size == 64
    (old / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CurateError, match="weights are missing"):
        check(Rows(), ModelSpec(init=str(old)), ["et"])


def test_two_matrices_of_an_untied_donor(tmp_path: Path) -> None:
    """The donor has its letters and ab = 2 a - b, abc = 3 c in its embedding, ab = a + b, abc = c in its head: so has the model then."""
    old, donor, to = small_model(tmp_path / "old", "gpt_neox"), small_model(tmp_path / "donor", "gpt_neox", 13), tmp_path / "new"
    extended(to)
    write_tokenizer(donor, [*LETTERS, "<s>", "</s>", "abc", "ab"], [("a", "b"), ("ab", "c")])
    weights = load_file(donor / "model.safetensors")
    lot = torch.Generator().manual_seed(4)
    for name, ab, abc in (("gpt_neox.embed_in.weight", (2.0, -1.0), 3.0), ("embed_out.weight", (1.0, 1.0), 1.0)):
        matrix = torch.linalg.qr(torch.randn(16, 16, generator=lot))[0][:13].contiguous()  # rows at right angles
        matrix[11], matrix[12] = abc * matrix[2], ab[0] * matrix[0] + ab[1] * matrix[1]
        weights[name] = matrix
    save_file(weights, donor / "model.safetensors", {"format": "pt"})
    rows = Rows(method="orthogonal_matching", donor=str(donor), atoms=2, noise=0.0)
    check(rows, ModelSpec(init=str(old)), ["et"])
    found, said = written(old, to, rows)
    _, embedding, head, _ = matrices(to)
    _, was, was_head, _ = matrices(old)
    assert found["rows"] == {"copied": 11, "orthogonal_matching": 2}
    assert said[0] == "2 of 2 new tokens are in the donor, which shares 11 with the model"
    torch.testing.assert_close(embedding[11:13], torch.stack([2 * was[0] - was[1], 3 * was[2]]), rtol=0, atol=1e-5)
    torch.testing.assert_close(head[11:13], torch.stack([was_head[0] + was_head[1], was_head[2]]), rtol=0, atol=1e-5)


TEXTS = ["abc ab ba cab", "bad cab fed hag abc", "gab ab abc de"] * 40
TINY = Vectors(dim=6, epochs=2, min_count=1, negatives=2)
OF_TEXT = {
    "focus": {"vectors": TINY},
    "orthogonal_matching": {"vectors": TINY, "atoms": 2},
    "ofa": {"vectors": TINY, "neighbours": 3},
    "wechsel": {"vectors": TINY, "source_language": "et", "target_language": "et", "neighbours": 3, "by": "words"},
}  # fmt: skip


@pytest.mark.parametrize("method", OF_TEXT)
def test_methods_on_text(tmp_path: Path, method: str) -> None:
    """Each makes both new rows from old ones; twice the same, and another seed only changes the noise."""
    old = small_model(tmp_path / "old", "llama")
    rows = Rows(method=method, noise=0.0, **OF_TEXT[method])  # type: ignore[arg-type]
    made = {}
    for name, seed, noise in (("a", 0, 0.0), ("b", 1, 0.0), ("c", 0, 0.1), ("d", 0, 0.1), ("e", 1, 0.1)):
        extended(tmp_path / name)
        found, _ = written(old, tmp_path / name, rows.model_copy(update={"noise": noise}), TEXTS, seed)
        assert found["rows"] == {"copied": 11, method: 2}
        made[name] = matrices(tmp_path / name)[1][:13]
        assert not list((tmp_path / name).glob(".rows-*"))
    was = matrices(old)[1]
    assert all(torch.equal(rows[:11], was[:11]) for rows in made.values())
    assert torch.equal(made["a"], made["b"]) and torch.equal(made["c"], made["d"])
    assert not torch.equal(made["c"], made["e"]) and not torch.equal(made["a"], made["c"])
    weights = torch.linalg.lstsq(was[:11].double().T, made["a"][11:].double().T)  # eleven rows of sixteen numbers are independent
    back = was[:11].double().T @ weights.solution
    torch.testing.assert_close(back, made["a"][11:].double().T, rtol=0, atol=1e-5)  # only old tokens are in the new rows
    if method != "orthogonal_matching":  # its coefficients may be negative; the others' are shares
        assert weights.solution.min() > -1e-5
        torch.testing.assert_close(weights.solution.sum(0), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-4)


def test_wechsel_with_a_dictionary(tmp_path: Path) -> None:
    """Two languages of one word each for every token; the target's space is the source's turned by 90 degrees, so abc finds its source d."""
    old, to = small_model(tmp_path / "old", "llama"), tmp_path / "new"
    extended(to)
    (tmp_path / "source.vec").write_text("4 2\nd 1 0\ne 0 1\nf -1 0\ng 0 -1\n")
    (tmp_path / "target.vec").write_text("4 2\nabc 0 1\nab -1 0\nh 0 -1\nc 1 0\n")
    (tmp_path / "words.txt").write_text("d\tabc\ne\tab\nf\th\ng\tc\n")
    rows = Rows(
        method="wechsel", source_vectors=str(tmp_path / "source.vec"), target_vectors=str(tmp_path / "target.vec"), by="words",
        dictionary=str(tmp_path / "words.txt"), neighbours=1, noise=0.0,
    )  # fmt: skip
    check(rows, ModelSpec(init=str(old)), [])
    written(old, to, rows)
    _, was, _, _ = matrices(old)
    assert torch.equal(matrices(to)[1][11:13], was[[4, 3]])  # ab is e's, abc is d's


def test_what_is_refused(tmp_path: Path) -> None:
    old, to = small_model(tmp_path / "old", "llama"), tmp_path / "new"
    spec = ModelSpec(init=str(old))
    with pytest.raises(CurateError, match=r"run\.yaml:7: there is no text of this language"):
        check(Rows(method="wechsel", source_language="en", target_language="et"), spec, ["et"], lambda key: "run.yaml:7")
    with pytest.raises(CurateError, match="there is no such file"):
        check(Rows(method="orthogonal_matching", donor=str(tmp_path / "nowhere")), spec, [])
    with pytest.raises(CurateError, match="there is no model here"):
        check(Rows(), ModelSpec(init="org/name"), [])
    with pytest.raises(CurateError, match="a fresh model has no rows"):
        check(Rows(), ModelSpec(init={"model_type": "llama"}), [])
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text((old / "config.json").read_text())
    with pytest.raises(CurateError, match="there are no weights here"):
        check(Rows(), ModelSpec(init=str(tmp_path / "bare")), [])
    extended(to)
    write_id_map(to, [*range(11), 40, -1], [*old_tokens(), "ab", "abc"], [[]] * 13)
    with pytest.raises(CurateError, match="fewer rows than its tokenizer has tokens"):
        written(old, to, Rows())
    write_id_map(to, [*range(11), 3, -1], [*old_tokens(), "ab", "abc"], [[]] * 13)
    with pytest.raises(CurateError, match="the row of one old token"):
        written(old, to, Rows())
    write_id_map(to, [-1] * 13, [*old_tokens(), "ab", "abc"], [[]] * 13)
    with pytest.raises(CurateError, match="share nothing"):
        written(old, to, Rows())
    write_id_map(to, [-1] * 13, [*old_tokens(), "ab", "abc"], [[0]] * 13)
    with pytest.raises(CurateError, match="no old token has a vector"):
        written(old, to, Rows(method="focus", vectors=TINY), TEXTS)
    assert not list(to.glob("*.safetensors"))


def test_a_third_matrix_of_the_vocabulary_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model whose layers have embeddings of their own, one row for each token."""
    old = small_model(tmp_path / "old", "llama")
    whole = tensors._empty

    def with_another(config: Any) -> Any:
        model = whole(config)
        model.model.embed_per_layer = torch.nn.Embedding(config.vocab_size, 4, device="meta")
        return model

    monkeypatch.setattr(tensors, "_empty", with_another)
    with pytest.raises(CurateError, match=r"model\.embed_per_layer\.weight: this model has another tensor"):
        check(Rows(), ModelSpec(init=str(old)), [])


def test_a_model_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a revision it is fetched; without one there is no model of that name here."""
    old = small_model(tmp_path / "old", "llama")
    asked: list[tuple[str, str | None]] = []

    def fetched(place: PlaceSpec) -> Path:
        asked.append((place.init, place.revision))
        return old

    monkeypatch.setattr("train.merge.places._fetched", fetched)
    extended(tmp_path / "new")
    write_model(Rows(), ModelSpec(init="org/name", revision="abc"), old, tmp_path / "new", {}, 0, lambda _: None)
    assert asked == [("org/name", "abc")] and torch.equal(matrices(tmp_path / "new")[1][:11], matrices(old)[1][:11])


def test_adapters_are_to_be_merged_first(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(CurateError, match=r"there is no model here[\s\S]*--merge-adapters"):
        check(Rows(), ModelSpec(init=str(tmp_path)), [])


def test_keys_belong_to_their_method() -> None:
    with pytest.raises(ValueError, match="donor: belongs to method orthogonal_matching"):
        Rows(method="focus", donor="x")
    with pytest.raises(ValueError, match="one of source_vectors"):
        Rows(method="wechsel", target_language="et")


def test_noise_differs_between_the_two_matrices(tmp_path: Path) -> None:
    """Else a new token's input and output would lean the same way."""
    old, to = small_model(tmp_path / "old", "gpt_neox"), tmp_path / "new"
    extended(to)
    written(old, to, Rows(noise=0.5))
    _, embedding, head, _ = matrices(to)
    _, was, was_head, _ = matrices(old)
    pull = [((m[11] - w[:2].mean(0)) / w[:11].std(0, correction=0)).numpy() for m, w in ((embedding, was), (head, was_head))]
    assert np.abs(pull[0] - pull[1]).max() > 0.1
