"""What each extractor makes of pages whose main text is known, how many formulas come through, and
how many Estonian pages without a charset are read right.

Prints: 4-gram precision, recall and F1 against the gold text of `html_en/aeb` (as its own evaluate.py counts them: multisets of 4-grams of
\\w+, mean over pages), the asserts of `trafilatura_eval_small` (F1 as trafilatura's own evaluation counts it), the Estonian
pages of `zuga_originals`, formulas of `latexml_pairs` and of Wikipedia's page, and what a page costs. Needs VESKI_TEST_DATA.
"""

from __future__ import annotations

import ast
import collections
import contextlib
import io
import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import zstandard
from lxml import etree
from lxml import html as lxml_html

from curate.sources.records import Refused
from curate.sources.web import encoding, maths
from curate.sources.web.extractors import EXTRACTORS
from curate.sources.web.mathml import convert
from curate.sources.web.page import page

DATA = Path(os.environ.get("VESKI_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
NAMES = [
    ("trafilatura", "balance"), ("trafilatura", "precision"), ("trafilatura", "recall"), ("resiliparse", "balance"), ("justext", "balance"),
    ("datatrove", "balance"), ("whole", "balance"),
]  # fmt: skip
# LaTeXML's elements as the HTML it makes of them
AS_HTML = {
    "document": "article", "para": "div", "p": "p", "title": "h2", "section": "section", "subsection": "section", "chapter": "section",
    "itemize": "ul", "enumerate": "ol", "item": "li", "tabular": "table", "tbody": "tbody", "thead": "thead", "tr": "tr", "td": "td",
    "equation": "div", "equationgroup": "div",
    "text": "span", "emph": "em", "table": "figure", "figure": "figure", "caption": "figcaption", "note": "span", "ref": "a",
    "theorem": "div", "MathFork": "span",
}  # fmt: skip


def rows(name: str) -> list[dict[str, Any]]:
    with open(DATA / name, "rb") as file:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8", newline="\n")
        return [json.loads(line) for line in lines]


def text_of(html: str, extractor: str, favour: str = "balance", language: str | None = None) -> str:
    try:
        return str(page({"html": html, "extractor": extractor, "favour": favour, "language": language})["text"])
    except Refused:
        return ""


def shingles(text: str, n: int = 4) -> collections.Counter[tuple[str, ...]]:
    tokens = re.findall(r"\w+", text)
    return (
        collections.Counter(zip(*(tokens[i:] for i in range(n)), strict=False))
        if len(tokens) >= n
        else collections.Counter([tuple(tokens)])
    )


def agreement(true: str, found: str, n: int = 4) -> tuple[float, float]:
    """(precision, recall) of the n-grams of one page."""
    a, b = shingles(true, n), shingles(found, n)
    both = (a & b).total()
    if not found.strip():
        return 0.0, 0.0
    return both / max(b.total(), 1), both / max(a.total(), 1)


def f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def gold_pages() -> None:
    pages = rows("html_en/aeb.jsonl.zst")
    size = sum(len(p["html"].encode()) for p in pages) / 1e6
    print(f"html_en/aeb: {len(pages)} pages of news, {size:.1f} MB, against gold text, 4-grams")
    print(f"{'extractor':24}{'precision':>10}{'recall':>10}{'F1':>10}{'empty':>8}{'pages/s':>10}{'MB/s':>8}")
    for name, favour in NAMES:
        text_of(pages[0]["html"], name, favour)  # warm
        started = time.process_time()
        found = [text_of(p["html"], name, favour) for p in pages]
        took = time.process_time() - started
        scores = [agreement(meta(p)["gold_text"], text) for p, text in zip(pages, found, strict=True)]
        precision, recall = (mean([s[i] for s in scores]) for i in (0, 1))
        shown = f"{precision:10.3f}{recall:10.3f}{f1(precision, recall):10.3f}{sum(not t for t in found):8}"
        print(f"{name + ', ' + favour:24}{shown}{len(pages) / took:10.1f}{size / took:8.1f}")


def asserted_pages() -> None:
    pages = rows("html_en/trafilatura_eval_small.jsonl.zst")
    print(
        f"\nhtml_en/trafilatura_eval_small: {len(pages)} pages of many languages; segments that must and must not be in the text"
    )
    print(f"{'extractor':24}{'with':>10}{'without':>10}{'precision':>10}{'recall':>10}{'F1':>10}")
    for name, favour in NAMES:
        tp = fn = fp = tn = 0
        for p in pages:
            text, said = text_of(p["html"], name, favour, p["lang"]), meta(p)
            wanted, unwanted = said.get("must_contain") or [], said.get("must_not_contain") or []
            hits, misses = sum(s in text for s in wanted), sum(s in text for s in unwanted)
            tp, fn, fp, tn = tp + hits, fn + len(wanted) - hits, fp + misses, tn + len(unwanted) - misses
        precision, recall = tp / (tp + fp), tp / (tp + fn)
        shown = f"{f'{tp}/{tp + fn}':>10}{f'{tn}/{tn + fp}':>10}{precision:10.3f}{recall:10.3f}{f1(precision, recall):10.3f}"
        print(f"{name + ', ' + favour:24}{shown}")


def meta(row: dict[str, Any]) -> dict[str, Any]:
    return row["meta"] if isinstance(row["meta"], dict) else ast.literal_eval(row["meta"])


# What a reader sees as the content of the theatre's pages, copied by hand from the crawl.
ZUGA = """Tulekul / Coming:
Zuga Ühendatud Tantsijate uuslavastus "Ilma" / Zuga's new piece "Weather or not"
23.11.2024 @ 15.00 at Sõltumatu Tantsu Lava
23.11.2024 @ 18.00 at Sõltumatu Tantsu Lava
https://www.stl.ee/lavastused/ilma
aitäh!
Zuga pälvis Hea Teatri Auhinnna 2021
uudised:
Zuga pälvis Hea Teatri Auhinnna 2021 - täname!!!
Zuga on välja tulnud oma liikumispausidega, mis on kättesaadavad STL-i kodulehel https://stl.ee/tootuba/liikumispausid/
Zuga heliliikumistöötoad - https://stl.ee/tootuba/zuga-helimuramistootuba/"""


def zuga() -> None:
    pages = rows("et_html/zuga_originals.jsonl.zst")
    made = [row["text"].split("---\n", 2)[2] for row in rows("et_html/zuga_pages_md.jsonl.zst")]
    seen = set(re.findall(r"\w{4,}", text_of(pages[0]["html"], "whole").lower()))
    words = [set(re.findall(r"\w{4,}", text.lower())) for text in made]
    shared = mean([len(w & seen) / len(w) for w in words])
    texts = len({text_of(p["html"], "whole") for p in pages})
    print(
        f"\net_html/zuga_originals: {len(pages)} addresses, {texts} text: the crawl holds the front page under every address. zuga_pages_md"
    )
    print(
        f"({len(made)} files) was made for another form of the site: {shared:.0%} of its words of 4 letters or more stand in these pages, menus"
    )
    print("included, so it cannot score an extraction. Against the page's content as read by hand (words, 4-grams):")
    print(f"{'extractor':24}{'precision':>10}{'recall':>10}{'F1':>10}{'F1 of 4-grams':>15}")
    for name, favour in NAMES:
        text = text_of(pages[0]["html"], name, favour, "et")
        precision, recall = agreement(ZUGA, text, 1)
        shown = f"{precision:10.3f}{recall:10.3f}{f1(precision, recall):10.3f}{f1(*agreement(ZUGA, text, 4)):15.3f}"
        print(f"{name + ', ' + favour:24}{shown}")


def formulas() -> None:
    documents = [(row["id"], _as_page(row["xml"])) for row in rows("math/latexml_pairs.jsonl.zst")]
    wiki = rows("math/wikipedia_math_page.jsonl.zst")[0]["html"]
    wanted = [collections.Counter(maths.cleaned(t) for t in _tex(html)) for _, html in documents]
    of_wiki = collections.Counter(
        maths.cleaned(t) for t in re.findall(r'<annotation encoding="application/x-tex">(.*?)</annotation>', wiki, re.S)
    )
    of_wiki = collections.Counter({lxml_html.fromstring(f"<p>{t}</p>").text: n for t, n in of_wiki.items()})
    total = sum(w.total() for w in wanted)
    print(
        f"\nformulas that stand between $ in the text: latexml_pairs ({total} in {len(documents)} documents), wikipedia_math_page ({of_wiki.total()})"
    )
    print(f"{'extractor':24}{'latexml':>10}{'share':>8}{'wikipedia':>12}{'share':>8}{'without ours':>14}")
    for name, favour in NAMES:
        n = 0
        for (_, html), want in zip(documents, wanted, strict=True):
            n += (want & _delimited(text_of(html, name, favour))).total()
        text = text_of(wiki, name, favour)
        k = (of_wiki & _delimited(text)).total()
        plain = EXTRACTORS[name](wiki, lxml_html.fromstring(wiki), favour, "en")
        bare = sum(min(plain.count(f"{{\\displaystyle {t}}}"), c) for t, c in of_wiki.items())
        print(f"{name + ', ' + favour:24}{n:10}{n / total:8.3f}{k:12}{k / of_wiki.total():8.3f}{bare:14}")


def _as_page(xml: str) -> str:
    """LaTeXML's XML as a page: its elements renamed, formulas as <math tex=...>, the second form of split equations left out."""
    root = etree.fromstring(xml.encode())
    for element in list(root.iter()):
        if not isinstance(element.tag, str):
            continue
        name = etree.QName(element).localname
        if name in ("MathBranch", "resource", "tags", "tag", "TOC", "ERROR"):
            tail, parent, before = element.tail, element.getparent(), element.getprevious()
            if tail and before is not None:
                before.tail = (before.tail or "") + tail
            elif tail:
                parent.text = (parent.text or "") + tail
            parent.remove(element)
            continue
        element.tag = "math" if name == "Math" else AS_HTML.get(name, "div" if name[0].islower() else name)
    etree.cleanup_namespaces(root)
    return f"<html lang='en'><head><title>t</title></head><body>{lxml_html.tostring(root, encoding='unicode')}</body></html>"


def _tex(html: str) -> list[str]:
    return [m.get("tex") for m in lxml_html.fromstring(html).iter("math") if m.get("tex")]


def _delimited(text: str) -> collections.Counter[str]:
    return collections.Counter(a or b for a, b in re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", text))


def conversion() -> None:
    """LaTeX -> MathML by latex2mathml -> LaTeX by us -> MathML again: is it the same formula? No annotation to help."""
    from latex2mathml.converter import convert as to_mathml

    said = sorted({maths.cleaned(t) for row in rows("math/latexml_pairs.jsonl.zst") for t in _tex(_as_page(row["xml"]))})
    page_ = rows("math/wikipedia_math_page.jsonl.zst")[0]["html"]
    n = same = unread = 0
    shown: list[str] = []
    for tex in said:
        try:
            first = to_mathml(tex)
        except Exception:
            unread += 1
            continue
        try:
            bones = _bones(first)
        except etree.XMLSyntaxError:  # an & of an array it does not know
            unread += 1
            continue
        n += 1
        ours = convert(etree.fromstring(first.encode()))
        try:
            again = _bones(to_mathml(ours))
        except Exception:
            again = ""
        if again == bones:
            same += 1
        elif len(shown) < 400:
            shown.append(f"    {tex}   ->   {ours}")
    print(f"\nMathML alone to LaTeX: {n} different formulas of latexml_pairs through latex2mathml ({unread} more it cannot read)")
    print(f"the same MathML again: {same} ({same / n:.3f})")
    tree = lxml_html.fromstring(page_)
    pairs = [(maths.cleaned(convert(m)), maths.cleaned("".join(m.itertext("annotation")))) for m in tree.iter("math")]
    equal = sum(re.sub(r"[{}\s]|\\[,;!]", "", a) == re.sub(r"[{}\s]|\\[,;!]", "", b) for a, b in pairs)
    print(f"of Wikipedia's {len(pairs)}, with the annotation hidden: {equal} equal to it but for braces and spaces")
    if os.environ.get("SHOW"):
        print("\n".join(shown))


def _bones(mathml: str) -> str:
    """MathML without what does not change a formula: rows of one, attributes of spacing, empty rows."""
    if not mathml:
        return ""
    root = etree.fromstring(mathml.encode())
    said: list[str] = []

    def walk(element: Any) -> None:
        name = etree.QName(element).localname
        is_row = name in ("mrow", "mstyle", "math", "mpadded")
        if name == "mspace":
            return
        if not is_row:
            said.append(
                f"<{name}{' ' + element.get('mathvariant') if element.get('mathvariant') else ''}>{(element.text or '').strip()}"
            )
        for child in element:
            walk(child)
        if not is_row:
            said.append("/")

    walk(root)
    return "".join(said)


def encodings() -> None:
    """Estonian texts as pages without a charset: how many are decoded to the last letter."""
    import cchardet

    names = ("et_text/wiki_et_versions", "et_text/ud_ewt_train_2022", "et_text/aa_magazine")
    texts = [row["text"] for name in names for row in rows(f"{name}.jsonl.zst")]
    print(f"\nencodings without any charset stated: {len(texts)} Estonian texts, decoded to the last letter")
    print(f"{'encoding':16}{'pages':>8}{'ours':>8}{'cchardet':>10}")
    for name in ("windows-1252", "windows-1257", "iso-8859-13", "iso-8859-15", "utf-8"):
        pages = [b"<html><body>" + text.encode(name, "ignore") + b"</body></html>" for text in texts]
        pages = [one for one in pages if not one.isascii()]
        ours = sum(encoding.decode(one).text == one.decode(name) for one in pages)
        theirs = 0
        for one in pages:
            with contextlib.suppress(LookupError, UnicodeDecodeError):
                theirs += one.decode(cchardet.detect(one)["encoding"] or "cp1252") == one.decode(name)
        print(f"{name:16}{len(pages):8}{ours / len(pages):8.3f}{theirs / len(pages):10.3f}")


def reading() -> None:
    """Records of a WARC file, ours and warcio's (which datatrove's WarcReader iterates over), content encodings undone."""
    from warcio.archiveiterator import ArchiveIterator

    from curate.sources.formats import Asked
    from curate.sources.web.warc import read_warc

    data = (DATA / "warc" / "sample-0000.warc.gz").read_bytes() * 20
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.warc.gz"
        path.write_bytes(data)
        started = time.process_time()
        n = sum(1 for _ in read_warc(path, Asked(64 * 10**6)))
        ours = time.process_time() - started
        started = time.process_time()
        with open(path, "rb") as file:
            k = sum(len(r.content_stream().read()) > 0 for r in ArchiveIterator(file) if r.rec_type == "response")
        theirs = time.process_time() - started
    size = len(data) / 1e6
    print(f"\nreading a WARC file of {size:.0f} MB, gz: {size / ours:.1f} MB/s, {n / ours:.0f} pages/s, digests checked;")
    print(f"warcio without digests: {size / theirs:.1f} MB/s, {k / theirs:.0f} pages/s")


def main() -> None:
    import importlib.metadata as md

    print(", ".join(f"{p} {md.version(p)}" for p in ("trafilatura", "resiliparse", "justext", "lxml", "datatrove")), "\n")
    gold_pages()
    asserted_pages()
    zuga()
    formulas()
    conversion()
    encodings()
    reading()


if __name__ == "__main__":
    main()
