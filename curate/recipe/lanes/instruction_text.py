"""`render:` of a source of type instruction_text: how a passage and its questions become one text. Imports recipe's own modules."""

from __future__ import annotations

from pydantic import model_validator

from curate.recipe.strict import Share, Strict
from curate.recipe.templates import Template, Templates

QA = "qa"  # the pool <language>/qa: one question and its answer


class Render(Strict):
    """`render: qa_after_text` is `render: {forms: {qa_after_text: 100 %}}`."""

    forms: dict[str, Share]  # name of a pool <language>/<form> -> share of the documents
    language: str | None = None  # of the templates; None: the source's
    seed: int = 0  # another one draws the choices again
    templates: Templates

    @model_validator(mode="after")
    def _whole(self) -> Render:
        if sum(share.value for share in self.forms.values()) != 1:
            raise ValueError("forms are shares that sum to 100 %, such as {qa_after_text: 80 %, qa_before_text: 20 %}")
        return self

    def pool(self, language: str, form: str) -> list[Template]:
        needed = {"question", "answer"} if form == QA else {"passage", "qa"}
        return self.templates.pool(f"{language}/{form}", needed, ())

    def targets(self) -> dict[str, tuple[str, ...]]:
        """What fields: may map besides the columns of every source, with the fields tried for it where it does not."""
        return {"text": ("text", "passage", "context"), "qa": ("qa", "qas", "qa_pairs", "questions"),
                "question": ("question",), "answer": ("answer", "answers")}  # fmt: skip

    def needed(self) -> tuple[str, ...]:
        """Of these, what the first file must have."""
        return ("text",)
