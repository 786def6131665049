"""What one optimizer step gave: sums and counts of the global batch, so that steps, ranks and parts of a run add up.

In: numbers the loop has anyway. Out: `StepRecord`, the `step` line of log.jsonl, and `Totals` of many steps. No imports of ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

BESIDE_OF = {"saved": "save", "held_out": "evaluate"}  # event of the log -> the part of the time it took
BESIDES = tuple(BESIDE_OF.values())  # parts that are no training: speeds leave them out


@dataclass(frozen=True)
class Sums:
    """Of a component, a language, or all."""

    loss_sum: float = 0.0  # nats
    loss_tokens: int = 0  # tokens with a label; of preferences: pairs
    tokens: int = 0  # without padding
    n_bytes: int = 0  # UTF-8 of the tokens with a label; 0: not known

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.loss_sum + other.loss_sum, self.loss_tokens + other.loss_tokens, self.tokens + other.tokens,
            self.n_bytes + other.n_bytes,
        )  # fmt: skip

    @property
    def loss(self) -> float | None:
        """Nats per loss token."""
        return self.loss_sum / self.loss_tokens if self.loss_tokens else None

    @property
    def bits_per_byte(self) -> float | None:
        return self.loss_sum / math.log(2) / self.n_bytes if self.n_bytes else None


def together(parts: Mapping[str, Sums]) -> Sums:
    """All of them; their bytes are not known where those of one are not."""
    whole = sum(parts.values(), Sums())
    if any(part.loss_tokens and not part.n_bytes for part in parts.values()):
        return Sums(whole.loss_sum, whole.loss_tokens, whole.tokens)
    return whole


@dataclass(frozen=True)
class StepRecord:
    done: int  # steps done, this one included
    phase: str
    lr: float
    gradient_norm: float
    components: dict[str, Sums]
    languages: dict[str, Sums]
    tokens: int  # of the global batch, without padding
    all_tokens: int  # rows x length
    seconds: dict[
        str, float
    ]  # data, forward_backward, optimizer, account: the clock of rank 0 (Watching times saves and held-out)
    memory_bytes: int = 0  # peak of this device since the run began; 0: not known
    pairs: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict
    )  # of preferences: "all" and components, sums of train.dpo.measure

    def line(self, joules: float | None) -> dict:
        """The values of the `step` event."""
        whole = together(self.components)
        values = {
            "step": self.done, "phase": self.phase, "lr": self.lr, "gradient_norm": self.gradient_norm, "loss_sum": whole.loss_sum,
            "loss_tokens": whole.loss_tokens, "tokens": self.tokens, "all_tokens": self.all_tokens, "n_bytes": whole.n_bytes,
            "components": {name: asdict(sums) for name, sums in self.components.items()},
            "languages": {name: asdict(sums) for name, sums in self.languages.items()},
            "seconds": {name: round(value, 6) for name, value in self.seconds.items()}, "memory_bytes": self.memory_bytes,
        }  # fmt: skip
        if self.pairs:
            values["pairs"] = self.pairs
        return values if joules is None else {**values, "joules": round(joules, 3)}


@dataclass
class Totals:
    """Of so many steps."""

    n_steps: int = 0
    tokens: int = 0
    all_tokens: int = 0
    components: dict[str, Sums] = field(default_factory=dict)
    languages: dict[str, Sums] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    joules: float | None = None  # None: of no step known
    loss_unit: str = "loss"  # what a loss is of: a token with a label ("loss"), or of preferences a pair ("pairs")

    def add(self, record: StepRecord, joules: float | None = None) -> None:
        self.n_steps += 1
        self.loss_unit = "pairs" if record.pairs else self.loss_unit
        self.tokens += record.tokens
        self.all_tokens += record.all_tokens
        for mine, theirs in ((self.components, record.components), (self.languages, record.languages)):
            for name, sums in theirs.items():
                mine[name] = mine.get(name, Sums()) + sums
        for part, value in record.seconds.items():
            self.seconds[part] = self.seconds.get(part, 0.0) + value
        if joules is not None:
            self.joules = (self.joules or 0.0) + joules

    @property
    def all(self) -> Sums:
        return together(self.components)

    @property
    def training_seconds(self) -> float:
        return sum(value for part, value in self.seconds.items() if part not in BESIDES)

    @property
    def fill(self) -> float | None:
        """Share of the positions that are no padding."""
        return self.tokens / self.all_tokens if self.all_tokens else None

    def speeds(self) -> dict[str, float]:
        """Tokens a second, three ways, of the time that is training; {} while no time has passed."""
        if not (seconds := self.training_seconds):
            return {}
        counts = {"all": self.all_tokens, "non-padding": self.tokens, self.loss_unit: self.all.loss_tokens}
        return {way: count / seconds for way, count in counts.items()}

    def mfu(self, flops: Mapping | None, world: int) -> dict[str, float]:
        """{causal, non-causal} by train.flops, of tokens without padding; {} where the device's peak is not known."""
        if not flops or not flops.get("peak") or not self.training_seconds:
            return {}
        rate = self.tokens / self.training_seconds / (world * flops["peak"])
        return {"causal": rate * flops["per_token_causal"], "non-causal": rate * flops["per_token"]}


MFU_IS = "flop per token x tokens without padding / (seconds of training x devices x dense bf16 peak)"
