"""What a row says of its licence, as SPDX has it: the columns license and license_evidence of a mapped row, settled. Imports licenses.

`license_evidence` is null where the recipe declares the licence or the row's field has it in SPDX's own words.
"""

from __future__ import annotations

from typing import Any

from curate import licenses
from curate.recipe import License


def settle(mapped: dict[str, Any], asked: License) -> dict[str, Any]:
    """`mapped` with its licence settled, in place: the field's words become an expression, or null with the words in the evidence.

    A lane that found the licence elsewhere (a file's header) has written evidence of its own, which does not begin with "field". A row
    that says nothing is left to `declared`; where nothing is declared, the evidence says so.
    """
    evidence = mapped["license_evidence"]
    if mapped["license"] is None or not (evidence is None or evidence.startswith("field")):
        return mapped
    said = mapped["license"]
    if (own := (asked.spellings or {}).get(said)) is not None:
        mapped["license"], mapped["license_evidence"] = own, f'spelled "{said[:120]}", as the recipe reads it'
        return mapped
    mapped["license"], how = licenses.read(said)
    if mapped["license"] is None and how is None:
        evidence = None if asked.declared else f'says "{said[:120]}"'
    mapped["license_evidence"] = how or evidence
    return mapped
