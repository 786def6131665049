"""What every reader yields: a `Record`, or a `Bad` row for quarantine with one of the causes below.

`RawRow` is a record before its fields are mapped. Imports nothing of ours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

# cause -> what it means. One bad record is one row; its neighbours are read.
CAUSES = {
    "unreadable": "the file, or a part of it, cannot be opened or decoded; lost_bytes as stored, of a Parquet row group unpacked",
    "truncated": "the file ends in the middle of a compressed stream, a Parquet footer or a JSON line; lost_bytes as stored",
    "invalid_utf8": "bytes that are not UTF-8",
    "bomb": "unpacks to more than 1000 times its stored bytes, past the first 4 GiB; lost_bytes as stored",
    "nested_archive": "an archive inside an archive: unpack the outer one first",
    "broken_json": "a line that is not JSON",
    "duplicate_key": "a key that stands twice in one object of JSON: which value is meant cannot be told",
    "broken_csv": "a quote that never closes or goes on after it closed; this line is lost, the next one is read again as a record",
    "wrong_columns": "a row of a table with more or fewer fields than its header",
    "broken_xml": "XML that is not well-formed, or nested too deeply; reading goes on at the next record",
    "xml_entities": "declares entities that could grow, or names one from outside the file: refused",
    "outside_documents": "lines of a corpus file that belong to no <doc>",
    "misaligned": "two files of parallel text whose lines do not pair up",
    "no_group": "a row without the key that rows are grouped by",
    "scattered_group": "rows of a group that came back after others: `group: {scattered: true}` gathers them",
    "not_an_object": "a line of JSON that is no object, such as a list or a number",
    "too_large": "longer than limits.document_bytes: the line of JSON, the file, or the text itself",
    "missing_text": "no text (or no messages), or null",
    "text_not_string": "the text, or a message, is of another type",
    "broken_tools": "tools, or a tool call of a message, that are no JSON of such: no list of objects, or a call without a name",
    "no_templates": "a conversation in a language that its source's templates do not have",
    "damaged_placeholder": "a placeholder of a protected text (code, a name, a number) that came back missing, twice or unknown",
    "no_prompt": "a preference without anything that is answered; a passage without a question that has an answer",
    "prompts_differ": "the dialogues of a preference differ before their last answers",
    "empty_answer": "an answer of a preference is missing or empty, or its dialogue does not end with one",
    "equal_answers": "chosen and rejected are the same text",
    "no_preference": "no answer is better than another, or not by preference.min_margin",
    "not_a_number": "a score, margin or preference that is no number",
    "lone_surrogate": "half of a surrogate pair (\\ud800..\\udfff): not encodable as UTF-8",
    "nul_character": "U+0000 in a mapped field; in source trees the mark of a binary file",
    "empty_text": "nothing but white space",
    "bad_record": "of an archive of the web: a header that cannot be read, or a length that does not lead to the next record",
    "bad_digest": "of an archive of the web: no digest that the record states is that of its content",
    "too_deep": "elements of a page nested deeper than browsers follow (512 levels)",
    "time_limit": "turning it into text took more than the source's time_limit of CPU seconds, and its process was killed",
    "extractor_failed": "the library that makes text of it gave up, ran out of memory, or its process crashed, twice",
}

EXTRA = "\0extra"  # key of a raw row under which a reader puts what becomes `extra`, where the recipe maps nothing else


class Record(NamedTuple):
    """One good record: mapped fields (see fields.COLUMNS), the file it came from, its offset in the decompressed stream."""

    fields: dict[str, Any]
    file: str
    byte_offset: int  # -1: unknown (Parquet)


class Bad(NamedTuple):
    """One quarantine row. `lost_bytes`: of the decompressed stream, or of the stored file for `truncated` and `unreadable`."""

    file: str
    byte_offset: int
    cause: str
    detail: str
    lost_bytes: int


class RawRow(NamedTuple):
    """One parsed record before mapping; `n_bytes` is its size in the stream (Parquet: characters of the string columns read)."""

    values: dict[str, Any]
    byte_offset: int
    n_bytes: int
    file: str = ""  # of a member of an archive: `a.tar!/b.jsonl`


class Refused(Exception):
    """A record that cannot become a document: carries the cause and a detail for its quarantine row."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(cause, detail)
        self.cause, self.detail = cause, detail
