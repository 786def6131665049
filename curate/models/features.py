"""A batch of texts in, one row of numbers per text out: the shape of its characters, words, sentences and lines, and its skeleton.

For a classifier that needs no hub and no other model. No column depends on how long the text is by design, none on a word list.
The hashed columns hold how often words and pairs of words occur when each word is reduced to its skeleton: words of up to four
letters stay (in most languages the function words), longer ones keep their last three letters (endings, not topics), numbers are
one mark. Imports text and kernels.
"""

from __future__ import annotations

import numpy as np

from curate import text
from curate.models import kernels
from curate.text import Segments
from curate.text.unicode import tables

VERSION = 1  # raise it when a column changes its meaning; models of another version are refused

SHAPE = (
    # shares of the code points
    "letter_ratio", "digit_ratio", "upper_ratio (of letters)", "space_ratio", "symbol_ratio", "non_ascii_ratio (of letters)",
    "comma", "full_stop", "exclamation", "question", "colon", "semicolon", "quote", "bracket", "dash", "currency", "percent",
    "other_mark", "icon", "newline",
    # of the words with a letter or digit, unless said otherwise
    "mean_word_chars", "sd_word_chars", "words_to_3_chars", "words_from_10_chars", "words_from_15_chars",
    "upper_inside_sentence", "all_caps (by the first two letters)", "number_with_letters", "number",
    "type_token (mean over windows of 50 words)", "same_as_word_before", "with_c_q_w_x_y", "symbol_words (of all words)",
    "web_marks (://, @) per word", "phone_like (7 to 15 digits) per word", "price_like (digit by currency) per word",
    # sentences end at . ! ? … or a newline
    "log_words_per_sentence", "sd_by_mean_of_sentence_words", "sentence_begins_as_the_one_before", "sentence_begins_low",
    # lines that are not blank
    "log_words_per_line", "line_without_final_mark", "line_to_5_words", "words_per_byte",
)  # fmt: skip
N_BUCKETS = 1024
N_FEATURES = len(SHAPE) + N_BUCKETS
if len(SHAPE) != kernels.N_SHAPE:
    raise AssertionError("features.SHAPE and kernels.N_SHAPE disagree")


def rows(data: np.ndarray, offsets: np.ndarray, seg: Segments) -> np.ndarray:
    """(n, N_FEATURES) float32: SHAPE, then the square roots of the skeletons' relative frequencies by bucket. Empty texts: zeros."""
    out = np.empty((len(offsets) - 1, N_FEATURES), np.float32)
    kernels.feature_rows(*_given(data, offsets, seg), out)
    return out


def logits(
    data: np.ndarray, offsets: np.ndarray, seg: Segments, mean: np.ndarray, scale: np.ndarray, weight: np.ndarray, bias: float,
    clip: float,
) -> np.ndarray:  # fmt: skip
    """(n,) float64: bias + sum over the features of weight * (feature - mean) / scale, each cut to +-clip standard units."""
    out = np.empty(len(offsets) - 1, np.float64)
    kernels.logits(*_given(data, offsets, seg), mean, scale, weight, float(bias), float(clip), out)
    return out


def _given(data: np.ndarray, offsets: np.ndarray, seg: Segments) -> tuple[np.ndarray, ...]:
    classes, lower_delta = tables()
    return (
        *_frozen(data, offsets), classes, lower_delta, seg.doc_ptr, seg.start, seg.end, seg.flags, seg.lower, seg.chars
    )  # fmt: skip


def _frozen(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Read-only views: Arrow's are, and numba compiles once more for arrays that are not."""
    views = tuple(array.view() for array in arrays)
    for view in views:
        view.flags.writeable = False
    return views


def rows_of(texts: list[str]) -> np.ndarray:
    """The rows of some texts, batch by batch."""
    import pyarrow as pa

    found = [np.empty((0, N_FEATURES), np.float32)]
    for batch in text.batches(pa.array(texts, pa.large_string())):
        data, offsets = text.buffers(batch)
        found.append(rows(data, offsets, text.segment(data, offsets)))
    return np.concatenate(found)
