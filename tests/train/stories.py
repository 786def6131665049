"""The real pretrained model stories260K as a Hugging Face folder: llama2.c v0 checkpoint and tok512.bin in, Llama files out.

Test helper. Layout of the .bin (llama2.c, export.py, legacy_export): seven int32 (dim, hidden_dim, n_layers, n_heads,
n_kv_heads, vocab_size, seq_len), then fp32 tensors: token embedding; of all layers in turn attention norm, wq, wk, wv, wo,
ffn norm, w1, w2, w3; final norm; two rotary tables that transformers computes itself. vocab_size > 0 says that the head is the
embedding. Rotary pairs are neighbours (2i, 2i+1) there and halves (i, i + d/2) in transformers, so rows of wq and wk move.
tok512.bin: int32 longest piece, then per piece float32 score, int32 length, bytes. Byte pieces are the text <0x0A>; spaces plain.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM


def convert(folder: Path, out: Path) -> Path:
    """`folder` holds stories260K.bin and tok512.bin; `out` then opens with AutoModelForCausalLM and AutoTokenizer."""
    read_model(folder / "stories260K.bin").save_pretrained(out)
    write_tokenizer(folder / "tok512.bin", out)
    return out


def read_model(path: Path) -> LlamaForCausalLM:
    data = path.read_bytes()
    dim, hidden, layers, heads, kv_heads, vocabulary, length = struct.unpack("7i", data[:28])
    values, at = np.frombuffer(data, np.float32, offset=28), 0

    def take(*shape: int) -> torch.Tensor:
        nonlocal at
        size = int(np.prod(shape))
        at += size
        return torch.from_numpy(values[at - size : at].reshape(shape).copy())

    def rotary(weight: torch.Tensor, n: int) -> torch.Tensor:
        return weight.view(layers, n, dim // heads // 2, 2, dim).transpose(2, 3).reshape(layers, -1, dim)

    kv = dim // heads * kv_heads
    state = {"model.embed_tokens.weight": take(vocabulary, dim)}
    tensors = {
        "input_layernorm": take(layers, dim),
        "self_attn.q_proj": rotary(take(layers, dim, dim), heads),
        "self_attn.k_proj": rotary(take(layers, kv, dim), kv_heads),
        "self_attn.v_proj": take(layers, kv, dim),
        "self_attn.o_proj": take(layers, dim, dim),
        "post_attention_layernorm": take(layers, dim),
        "mlp.gate_proj": take(layers, hidden, dim),
        "mlp.down_proj": take(layers, dim, hidden),
        "mlp.up_proj": take(layers, hidden, dim),
    }
    state |= {f"model.layers.{i}.{name}.weight": value[i] for name, value in tensors.items() for i in range(layers)}
    state["model.norm.weight"] = take(dim)
    rest = len(values) - at
    assert rest == length * (dim // heads), f"{rest} numbers left, the rotary tables have {length * (dim // heads)}"
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=dim, intermediate_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, max_position_embeddings=length, rms_norm_eps=1e-5, tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()
    return model.eval()


def read_pieces(path: Path) -> list[tuple[bytes, float]]:
    data, at, pieces = path.read_bytes(), 4, []
    while at < len(data):
        score, length = struct.unpack_from("fi", data, at)
        pieces.append((data[at + 8 : at + 8 + length], score))
        at += 8 + length
    return pieces


def write_tokenizer(path: Path, out: Path) -> None:
    """SentencePiece BPE as Hugging Face writes it for Llama: merges are the pieces with a score, best first."""
    texts = [piece.decode().strip("\n") if i < 3 else piece.decode() for i, (piece, _) in enumerate(read_pieces(path))]
    names = ["<unk>", "<s>", "</s>"] + [text if text.startswith("<0x") else text.replace(" ", "▁") for text in texts[3:]]
    scores = [score for _, score in read_pieces(path)]
    vocabulary = {name: i for i, name in enumerate(names)}
    assert len(vocabulary) == len(names)
    merges = [
        (scores[i], name[:cut], name[cut:])
        for i, name in enumerate(names)
        if i >= 259 and len(name) > 1
        for cut in range(1, len(name))
        if name[:cut] in vocabulary and name[cut:] in vocabulary
    ]
    merges.sort(key=lambda merge: (-merge[0], vocabulary[merge[1]], vocabulary[merge[2]]))
    model = BPE(vocabulary, [(a, b) for _, a, b in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names[:3]])
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))
