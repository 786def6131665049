"""Imports point one way: train -> mixture -> curate's contract modules; heavy libraries live behind one module each."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
CONTRACT = {
    "curate.errors",
    "curate.recipe",
    "curate.schema",
    "curate.manifest",
    "curate.store",
    "curate.engine",
    "curate.units",
    "curate.jit",
}

# words, sentences and languages of generated text are those of curated text
OF_TEXTS = {
    "train.evaluation.texts": ("curate.text", "curate.langid", "curate.signals"),
    "train.vocab.init.words": ("curate.models.fasttext_files",),
}

# third-party library -> the modules that may import it (prefixes)
HOMES = {
    "torch": ("train",),
    "accelerate": ("train",),
    "safetensors": ("train",),
    "deepspeed": ("train.zero",),
    "trl": ("train.sft", "train.dpo"),
    "pynvml": ("train.watch.energy",),
    "rich": ("curate", "train.watch.screen"),
    "typer": ("curate.cli",),
    "duckdb": ("curate.inspect",),
    "datasets": ("mixture.dataset", "train.evaluation.data", "train.dpo.losses"),
    "lm_eval": ("train.evaluation.harness",),
    "datasketch": ("curate.recipe.bands", "curate.inspect.similar_index"),
    "datatrove": ("curate.text.tokenizers", "curate.engine", "curate.signals.datatrove_filter", "curate.sources.web.extractors"),
    "multiprocess": ("curate.engine",),
    "numba": ("curate.jit",),
    "pydantic": (
        "curate.recipe",
        "train.config",
        "train.dpo.config",
        "train.evaluation.suite",
        "train.vocab.config",
        "train.vocab.init.config",
        "train.merge.config",
        "train.chain",
    ),
    "yaml": ("curate.recipe", "curate.signals.code.parsing", "curate.sources.readers.markdown"),
    "tree_sitter": ("curate.signals.code.grammars",),
    "fasttext": ("curate.models.fasttext_files",),
    "kenlm": ("curate.models.lm",),
    "py3langid": ("curate.langid",),
    "fsspec": ("curate.sources.places",),
    "requests": ("curate.sources.places.http", "train.evaluation.judge_models"),
    "huggingface_hub": ("curate.sources.places.hub", "curate.models.files", "mixture.tokenizer.files", "train.merge.places"),
    "ftfy": ("curate.sources.repair",),
    "orjson": ("curate.sources", "curate.documents", "curate.ingest"),
    "zstandard": ("curate.sources",),
    "tokenizers": ("mixture.tokenizer", "train.vocab.library"),
    "tiktoken": ("mixture.tokenizer",),
    "tldextract": ("curate.signals.urls.address",),
    "sentencepiece": ("mixture.tokenizer",),
    "lxml": ("curate.sources",),
    "trafilatura": ("curate.sources.web.extractors",),
    "resiliparse": ("curate.sources.web.extractors",),
    "justext": ("curate.sources.web.extractors",),
    "brotli": ("curate.sources.web.http",),
    "cchardet": ("curate.sources.web.encoding",),
    "pypdfium2": ("curate.sources.paged.pdf",),
    "docx": ("curate.sources.paged.docx",),
    "sacrebleu": ("train.evaluation.metrics",),
    "rouge_score": ("train.evaluation.metrics",),
    "polars": ("curate.rules", "curate.decide", "curate.inspect"),
}


def modules() -> dict[str, Path]:
    found = {}
    for package in ("curate", "mixture", "train"):
        for path in sorted((TOP / package).rglob("*.py")):
            name = ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__")
            found[name] = path
    return found


def imports(path: Path) -> set[str]:
    """Every module named by an import statement anywhere in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def test_rooms_import_downwards():
    wrong = []
    for name, path in modules().items():
        room = name.split(".")[0]
        for target in imports(path):
            top = target.split(".")[0]
            if name == "curate.cli" or top not in ("curate", "mixture", "train"):
                continue
            contract = any(target == m or target.startswith(m + ".") for m in CONTRACT) or target == "curate"
            allowed = top == room or (room == "mixture" and contract) or (room == "train" and (top == "mixture" or contract))
            allowed = allowed or any(target == m or target.startswith(m + ".") for m in OF_TEXTS.get(name, ()))
            if not allowed:
                wrong.append(f"{name} imports {target}")
    assert wrong == []


def test_each_library_has_one_home():
    wrong = []
    for name, path in modules().items():
        for target in imports(path):
            homes = HOMES.get(target.split(".")[0])
            if homes and not any(name == home or name.startswith(home + ".") for home in homes):
                wrong.append(f"{name} imports {target}, which lives in {', '.join(homes)}")
    assert wrong == []


@pytest.mark.parametrize("package", ["curate", "mixture"])
def test_no_torch_outside_train(package):
    for name, path in modules().items():
        if name.split(".")[0] == package:
            assert not any(t.split(".")[0] == "torch" for t in imports(path)), name


def test_help_is_light():
    """`curate --help` loads none of the heavy libraries."""
    code = (
        "import sys; from curate.cli import app\n"
        "heavy = {'numba','polars','duckdb','pyarrow','transformers','torch','datatrove','tokenizers','numpy'} & set(sys.modules)\n"
        "print(sorted(heavy)); sys.exit(bool(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
