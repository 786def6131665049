"""`paged:` of a source: what a PDF, EPUB or DOCX file may cost, and how the lines of its pages are joined. Imports recipe.strict."""

from __future__ import annotations

from pydantic import Field

from curate.recipe.strict import Bytes, Strict


class Paged(Strict):
    join_lines: bool = True  # of PDF: undo the hyphens and breaks of lines, leave out page numbers and running heads
    time_limit: float = Field(120, gt=0, le=36000)  # seconds of CPU time a file may take
    memory: Bytes = 3 * 10**9  # of the process that makes the text
    unpacked_bytes: Bytes = 500 * 10**6  # of EPUB and DOCX, pictures included
