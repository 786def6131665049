"""numba set up once: `kernel` compiles without the GIL, with numpy's division rules, cached on disk.

numba's cache looks at one file only and goes stale silently when a helper in another module changes. So each room keeps
all its numba code in one file called kernels.py, and the cache folder is named by the hash of all of them and of this file.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _cache_dir() -> Path:
    top = Path(__file__).resolve().parent.parent
    sources = hashlib.sha256()
    for path in [Path(__file__), *sorted(p for room in ("curate", "mixture") for p in (top / room).rglob("kernels.py"))]:
        sources.update(path.read_bytes())
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "veski" / f"numba-{sources.hexdigest()[:16]}"


os.environ.setdefault("NUMBA_CACHE_DIR", str(_cache_dir()))

import numba  # noqa: E402  (the cache folder must be set before numba is imported)


def kernel(function: Callable[..., Any] | None = None, *, allocates: bool = False, **options: Any) -> Any:
    """`@kernel` or `@kernel(allocates=True)`: numba.njit as every kernel of ours is compiled.

    Without reference counts of arrays, which numba otherwise raises and lowers, atomically, around calls inside the innermost
    loops (a segmentation went from 133 to 240 MB/s without). A kernel that makes arrays needs them: it says so (numba refuses
    to compile it else), and leaves its hot loop to one that does not.
    """
    settings = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": allocates, **options}
    return numba.njit(function, **settings) if function is not None else numba.njit(**settings)


# For what only kernels call: without the wrappers Python needs, it compiles a quarter faster.
inner = functools.partial(kernel, no_cpython_wrapper=True, no_cfunc_wrapper=True)
