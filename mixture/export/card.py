"""The card of an exported dataset repository: counts in, README.md with the hub's YAML head and LICENSE.md out.

Every figure is one that was counted while the rows were written. YAML is written by hand: few keys, strings as JSON writes them, which
YAML reads alike. Imports store.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.store import write_atomic

# Licences the hub has a word for, of those that data comes with (hub docs, "Licenses", as of datasets 5): SPDX id in lower case -> word.
HUB_LICENSES = {
    **{name: name for name in (
        "apache-2.0", "mit", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0",
        "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0",
        "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "bsd-2-clause",
        "bsd-3-clause", "bsd-3-clause-clear", "isc", "mpl-2.0", "eupl-1.1", "eupl-1.2", "etalab-2.0", "unlicense", "zlib",
    )},
    "odc-by-1.0": "odc-by", "odbl-1.0": "odbl", "pddl-1.0": "pddl",
}  # fmt: skip
SIZES = (10**3, 10**4, 10**5, 10**6, 10**7, 10**8, 10**9, 10**10, 10**11, 10**12)
_SHORT = {10**3: "1K", 10**4: "10K", 10**5: "100K", 10**6: "1M", 10**7: "10M", 10**8: "100M", 10**9: "1B", 10**10: "10B",
          10**11: "100B", 10**12: "1T"}  # fmt: skip
COLUMNS = {
    "id": "128-bit hash of the document's origin, 32 hex digits; the same in every export of the build",
    "source": "the source of the recipe it was read from",
    "text": "what the model read: repaired, and after the recipe's cuts (personal data, boilerplate)",
    "messages": "of conversations: role, content and, where there are some, reasoning and tool calls of every turn, after the cuts; the "
    "tokenizer's chat template renders them",
    "tools": "what a conversation may call, as JSON text of a list; the chat template is given it beside the messages",
    "language": "as its origin declares it, where it does",
    "license": "of this row, as its origin declares it",
    "url": "where it was found, where that is known",
    "component": "the part of the mixture it is trained in",
    "uses": "how often that part trains on it",
}


def write(folder: Path, manifest: Mapping[str, Any], counted: Mapping[str, Any]) -> None:
    """README.md and LICENSE.md into the folder of the repository."""
    write_atomic(folder / "README.md", "\n".join([*_head(manifest, counted), *_body(manifest, counted), ""]).encode())
    write_atomic(folder / "LICENSE.md", "\n".join([*_licences(counted), ""]).encode())


def size_category(rows: int) -> str:
    """The hub's word for a number of rows: `n<1K`, `1K<n<10K`, ... `n>1T`."""
    above = next((size for size in SIZES if rows < size), None)
    if above is None:
        return "n>1T"
    return "n<1K" if above == SIZES[0] else f"{_SHORT[above // 10]}<n<{_SHORT[above]}"


def languages(found: Mapping[str, int]) -> list[str]:
    """ISO 639 codes of the rows' languages (`ekk_Latn` is `ekk`), the most frequent first; what is no code is left out."""
    codes = (re.match(r"([a-z]{2,3})(?![a-z])", name) for name in found)
    return list(dict.fromkeys(match[1] for match in codes if match))


def _head(manifest: Mapping[str, Any], counted: Mapping[str, Any]) -> list[str]:
    lines = ["---", f"pretty_name: {json.dumps(manifest['name'], ensure_ascii=False)}"]
    if codes := languages(counted["languages"]):
        lines += ["language:", *(f"- {json.dumps(code)}" for code in codes)]
    names = list(counted["licences"])
    own = HUB_LICENSES.get(names[0].lower()) if len(names) == 1 else None
    lines += [f"license: {own}"] if own else ["license: other", "license_name: per-row", "license_link: LICENSE.md"]
    lines += ["size_categories:", f"- {size_category(counted['rows']['exported'])}", "task_categories:", "- text-generation"]
    lines += ["tags:", "- veski", "configs:"]
    is_first = True
    for own in counted["components"].values():
        if own["files"]:
            name = Path(own["files"][0]).parent.name
            lines += [f"- config_name: {json.dumps(name)}", "  data_files:", "  - split: train",
                      f"    path: {json.dumps(f'data/{name}/*.parquet')}"]  # fmt: skip
            lines += ["  default: true"] if is_first else []
            is_first = False
    return [*lines, "---", ""]


def _body(manifest: Mapping[str, Any], counted: Mapping[str, Any]) -> list[str]:
    rows, documents = counted["rows"], counted["documents"]
    shown = {name: own for name, own in counted["components"].items() if own["selected"]}
    has = {"text": False, "messages": False, "tools": False}
    for name in has:
        has[name] = any(name in own["columns"] for own in shown.values())
    lines = [
        f"# {manifest['name']}", "",
        f"The documents of the mixture `{manifest['name']}`, as the model read them. Made by `curate export --hub`; the mixture's stream "
        f"root is `{manifest['roots']['stream']}`.", "",
        f"{documents['selected']:,} documents are trained on. {documents['exported']:,} of them are here, {documents['withheld']:,} are withheld "
        "because of their licence: `withheld.parquet` names them (id, source, address) with the reason. Held-out documents are not here.", "",
        "| component | rows here | withheld | uses | trained tokens |", "|---|---:|---:|---:|---:|",
        *(
            f"| {name} | {own['exported']:,} | {own['withheld']:,} | {own['uses']:,} | {own['trained_tokens']:,} |"
            for name, own in shown.items()
        ),
        f"| all | {rows['exported']:,} | {rows['withheld']:,} | {sum(o['uses'] for o in shown.values()):,} | "
        f"{sum(o['trained_tokens'] for o in shown.values()):,} |", "",
        "Uses and tokens are of the rows here. A document that is trained on in two components stands in both.", "",
        "| column | |", "|---|---|",
        *(f"| `{name}` | {says} |" for name, says in COLUMNS.items() if has.get(name, True)), "",
        "Every row has its own licence (`license`); see LICENSE.md.", "",
        f"Tokenizer: {manifest['tokenizer'].get('name', '')} (sha256 `{manifest['tokenizer']['sha256']}`). "
        f"Recipe: sha256 `{manifest['recipe_sha256']}`.",
    ]  # fmt: skip
    return lines


def _licences(counted: Mapping[str, Any]) -> list[str]:
    lines = [
        "# Licences", "", "Each row is under the licence that its column `license` names, as its origin declares it:", "",
        "| licence | rows |", "|---|---:|", *(f"| {name} | {n:,} |" for name, n in counted["licences"].items()),
    ]  # fmt: skip
    withheld = counted["withheld_reasons"]
    if withheld:
        lines += [
            "",
            "Withheld (`withheld.parquet`):",
            "",
            "| reason | rows |",
            "|---|---:|",
            *(f"| {why} | {n:,} |" for why, n in withheld.items()),
        ]
    return lines
