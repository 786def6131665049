"""What tokenizers' byte-level BPE is made of: its alphabet, and the regular expression that a tokenizer.json splits by.

In: parts of a tokenizer.json. Out: strings and bytes. Imports nothing.
"""

from __future__ import annotations

from typing import Any

# tokenizers' ByteLevel without an own Split, from GPT-2 (Radford et al. 2019, encoder.py)
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def pattern_of(pre_tokenizer: dict[str, Any] | None) -> str | None:
    """The splitting regex of ByteLevel, or of one Split before a ByteLevel that does not split; None for all else."""
    steps = (pre_tokenizer or {}).get("pretokenizers", [pre_tokenizer] if pre_tokenizer else [])
    if not steps or steps[-1]["type"] != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return None
    splits = steps[-1].get("use_regex", True)
    if len(steps) == 1:
        return GPT2_PATTERN if splits else None
    first = steps[0]
    isolates = first["type"] == "Split" and first["behavior"] == "Isolated" and not first.get("invert")
    if len(steps) != 2 or splits or not isolates:
        return None
    return first["pattern"].get("Regex")


def byte_of_char() -> dict[str, int]:
    """The byte behind each of the 256 characters that byte-level BPE vocabularies are written in (GPT-2's encoder.py)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def bytes_of_ids(config: dict[str, Any]) -> dict[int, bytes]:
    """Id -> the bytes it stands for, of a byte-level tokenizer.json. Special tokens stand for no text and are left out, as are tokens
    written in other characters than the alphabet's, which no text is encoded to."""
    alphabet = byte_of_char()
    plain = {i: token for token, i in config["model"]["vocab"].items() if all(char in alphabet for char in token)}
    added = {token["id"]: None if token["special"] else token["content"].encode() for token in config["added_tokens"]}
    found = {i: bytes(alphabet[char] for char in token) for i, token in plain.items()} | added
    return {i: data for i, data in found.items() if data is not None}
