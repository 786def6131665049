"""Values for the mathematical texts of bank/math.txt: a topic's name and a random source in, `<slot>` values out.

Everything stated in a text is computed here, so every equation in the sample input holds. Imports nothing of veski.
"""

from __future__ import annotations

import random
from fractions import Fraction
from math import comb, factorial, gcd


def values(topic: str, rng: random.Random) -> dict[str, str]:
    return {key: value if isinstance(value, str) else _latex(value) for key, value in _TOPICS[topic](rng).items()}


def _latex(value: int | Fraction) -> str:
    if isinstance(value, Fraction) and value.denominator != 1:
        return f"{'-' if value < 0 else ''}\\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"
    return str(int(value))


def _signed(value: int | Fraction) -> str:
    """`+ 3` or `- 3`: a further term of a sum."""
    return f"{'-' if value < 0 else '+'} {_latex(abs(value))}"


def _quadratic(rng: random.Random) -> dict:
    r, s = sorted(rng.sample([n for n in range(-12, 13) if n not in (0, 1, -1)], 2))
    while r + s in (0, 1, -1) or s == 0:
        r, s = r - 1, s + 3
    b, c, half = -(r + s), r * s, Fraction(-(r + s), 2)
    return {
        "b": _signed(b), "c": _signed(c), "D": b * b - 4 * c, "sum": r + s, "prod": c, "half": half, "halfs": _signed(half), "half2": -half,
        "r": r, "s": s, "mr": _signed(-r), "ms": _signed(-s), "r2": r * r, "br": _signed(b * r),
    }  # fmt: skip


def _system(rng: random.Random) -> dict:
    x, y = rng.randint(-6, 9), rng.randint(2, 8)
    a, c = rng.sample(range(2, 8), 2)
    b, d = rng.randint(2, 7), -rng.randint(2, 7)
    e, f, det = a * x + b * y, c * x + d * y, a * d - b * c
    return {
        "a": a, "b": _signed(b), "c": c, "d": _signed(d), "b0": b, "d0": d, "e": e, "f": f, "det": det, "dx": x * det, "dy": y * det,
        "x": x, "y": y, "ax": a * x,
    }  # fmt: skip


def _derivative(rng: random.Random) -> dict:
    r, s = sorted(rng.sample([n for n in range(-5, 7) if n], 2))
    while r + s == 0 or s == 0:
        s += 1
    p, q, k = -3 * (r + s), 6 * r * s, rng.randint(2, 20)

    def f(x: int) -> int:
        return 2 * x**3 + p * x**2 + q * x + k

    return {
        "p": _signed(p), "q": _signed(q), "k": _signed(k), "p2": _signed(2 * p), "r": r, "s": s, "mr": _signed(-r), "ms": _signed(-s),
        "fr": f(r), "fs": f(s),
    }  # fmt: skip


def _integral(rng: random.Random) -> dict:
    a, b, c, n = rng.randint(2, 9), rng.randint(2, 9), rng.randint(2, 12), rng.randint(2, 6)
    t3, t2, t1 = Fraction(a * n**3, 3), Fraction(b * n * n, 2), c * n
    return {"a": a, "b": b, "c": c, "n": n, "t3": t3, "t2": t2, "t1": t1, "I": t3 + t2 + t1}


def _gcd(rng: random.Random) -> dict:
    g, a, b = rng.randint(3, 24), 0, 0
    while gcd(a, b) != 1 or a < b + 5:
        a, b = rng.randint(20, 60), rng.randint(11, 45)
    a, b = a * g, b * g
    steps, x, y = [], a, b
    while y:
        steps.append(f"{x} &= {x // y} \\cdot {y} + {x % y}")
        x, y = y, x % y
    return {"a": a, "b": b, "g": x, "l": a * b // x, "a1": a // x, "b1": b // x, "steps": r" \\ ".join(steps)}


def _choose(rng: random.Random) -> dict:
    n = rng.randint(9, 24)
    k = rng.randint(3, 5)
    return {
        "n": n, "k": k, "n1": n - 1, "nk": n - k + 1, "nmk": n - k, "kf": factorial(k), "C": comb(n, k),
        "C1": comb(n - 1, k - 1), "C2": comb(n - 1, k),
    }  # fmt: skip


def _series(rng: random.Random) -> dict:
    q = rng.randint(3, 9)
    p = rng.choice([p for p in range(1, q) if gcd(p, q) == 1])
    a = rng.randint(2, 15)
    return {"a": a, "p": p, "q": q, "d": q - p, "S": Fraction(a * q, q - p), "S2": a + Fraction(a * p, q)}


def _matrix(rng: random.Random) -> dict:
    a, b, c, d = (rng.randint(2, 9) for _ in range(4))
    if a * d == b * c:
        d += 1
    det = a * d - b * c
    return {
        "a": a, "b": b, "c": c, "d": d, "det": det, "detS": _signed(det), "mb": -b, "mc": -c, "tr": a + d, "mtr": _signed(-(a + d)),
    }  # fmt: skip


_TOPICS = {
    "quadratic": _quadratic, "system": _system, "derivative": _derivative, "integral": _integral,
    "gcd": _gcd, "choose": _choose, "series": _series, "matrix": _matrix,
}  # fmt: skip
