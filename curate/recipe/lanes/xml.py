"""`xml:` and `mediawiki:` of a source: which elements are records, what of them is which field. Imports recipe.strict."""

from __future__ import annotations

from curate.recipe.strict import Names, Strict


class Xml(Strict):
    """`record`: a path such as `tu`, `body/p` or `/tei/text`; "" takes the root, so that a file is one document.

    `fields`: name -> path inside a record, ElementTree's kind and `@attribute`; without any, `text` is the whole record.
    """

    record: str = ""
    nested: bool = (
        False  # records inside a record belong to it; else a record that begins inside another shows that one lost its end
    )
    fields: dict[str, str] = {}
    skip: Names = []  # elements left out of every text, by name
    inline: Names = []  # elements that do not start a line of their own
    breaks: Names = ["br", "lb"]  # empty elements that end a line inside of running text


class MediaWiki(Strict):
    """`namespaces`: numbers of those read; 0 are articles. `redirects`: they are documents too."""

    namespaces: list[int] = [0]
    redirects: bool = False
