"""The bytes of a DOCX in, its text and metadata out: paragraphs, lists with dashes, tables with bars, formulas as LaTeX. Runs in the worker.

Holds python-docx. Headers, footers, footnotes, comments and deleted text are left out. Imports zipped and omml.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from curate.sources.paged.omml import latex
from curate.sources.paged.zipped import Zip
from curate.sources.records import Refused

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
SKIPPED = {W + "del", W + "moveFrom", W + "instrText", W + "delText", W + "txbxContent", W + "pPr", W + "rPr"}


def text(job: dict[str, Any]) -> dict[str, Any]:
    """{data, limit, unpacked} -> {text, title, date, extra}. Raises Refused for what is no DOCX."""
    import docx
    from docx.opc.exceptions import OpcError

    with Zip(job["data"], job["unpacked"]):  # python-docx unpacks every part
        pass
    try:
        document = docx.Document(io.BytesIO(job["data"]))
    except (OpcError, KeyError, ValueError) as error:
        raise Refused("unreadable", f"no DOCX that opens: {error}"[:180]) from None
    found = "\n".join(_blocks(document.element.body)).strip("\n")
    about = document.core_properties
    return {
        "text": found, "title": about.title or None, "date": about.created.isoformat() if about.created else None,
        "language": about.language or None,
    }  # fmt: skip


def _blocks(body: Any) -> Iterator[str]:
    for element in body:
        if element.tag == W + "p":
            yield _paragraph(element)
        elif element.tag == W + "tbl":
            yield ""
            for row in element.iter(W + "tr"):
                cells = [" ".join(" ".join(_blocks(cell)).split()) for cell in row if cell.tag == W + "tc"]
                yield " | ".join(cells)
            yield ""
        elif element.tag in (W + "sdt", W + "sdtContent", W + "customXml", W + "ins"):
            yield from _blocks(element)


def _paragraph(element: Any) -> str:
    said = "".join(_runs(element))
    style = element.find(f"{W}pPr/{W}pStyle")
    is_listed = element.find(f"{W}pPr/{W}numPr") is not None or (
        style is not None and (style.get(W + "val") or "").startswith("List")
    )
    is_title = style is not None and (style.get(W + "val") or "").startswith(("Heading", "Title"))
    return "- " + said if is_listed and said.strip() and not is_title else said


def _runs(element: Any) -> Iterator[str]:
    for child in element:
        if child.tag in SKIPPED:
            continue
        if child.tag == W + "t":
            yield child.text or ""
        elif child.tag == W + "tab":
            yield "\t"
        elif child.tag in (W + "br", W + "cr"):
            yield "\n"
        elif child.tag == W + "noBreakHyphen":
            yield "\u2011"
        elif child.tag == M + "oMathPara":
            yield "".join(f"$${said}$$" for math in child.iter(M + "oMath") if (said := latex(math)))
        elif child.tag == M + "oMath":
            yield f"${said}$" if (said := latex(child)) else ""
        elif isinstance(child.tag, str):
            yield from _runs(child)
