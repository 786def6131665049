"""How well scores separate two classes: scores and truths in, figures out. Pure numpy; imports nothing of ours."""

from __future__ import annotations

from typing import Any

import numpy as np

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def roc_auc(scores: np.ndarray, is_positive: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties counting half; nan where a class is empty."""
    n_positive = int(is_positive.sum())
    n_negative = len(scores) - n_positive
    if not n_positive or not n_negative:
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # mean rank of equals, from 1
    return float((ranks[is_positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def at_threshold(scores: np.ndarray, is_positive: np.ndarray, threshold: float) -> dict[str, Any]:
    """Counts, precision, recall, F1 and the share of negatives flagged, of `score >= threshold`; precision of nothing is 1."""
    flagged = scores >= threshold
    hits = int((flagged & is_positive).sum())
    n_flagged, n_positive = int(flagged.sum()), int(is_positive.sum())
    precision = hits / n_flagged if n_flagged else 1.0
    recall = hits / n_positive if n_positive else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {
        "threshold": threshold, "n_flagged": n_flagged, "true_positives": hits, "precision": round(precision, 4),
        "recall": round(recall, 4), "f1": round(f1, 4),
        "false_positive_ratio": round((n_flagged - hits) / max(len(scores) - n_positive, 1), 4),
    }  # fmt: skip


def at_recall(scores: np.ndarray, is_positive: np.ndarray, recall: float) -> dict[str, Any]:
    """`at_threshold` of the highest threshold that finds at least this share of the positives."""
    found = np.sort(scores[is_positive])[::-1]
    need = max(int(np.ceil(recall * len(found))), 1)
    return at_threshold(scores, is_positive, float(found[need - 1]) if len(found) else 1.0)


def calibration(scores: np.ndarray, is_positive: np.ndarray, n_bins: int = 10) -> list[dict[str, Any]]:
    """Per tenth of the score: how many texts, their mean score, and the share that is positive. Empty tenths are left out."""
    bins = np.minimum((scores * n_bins).astype(np.int64), n_bins - 1)
    return [
        {
            "from": round(b / n_bins, 2), "n": int((bins == b).sum()), "mean_score": round(float(scores[bins == b].mean()), 4),
            "positive_ratio": round(float(is_positive[bins == b].mean()), 4),
        }
        for b in range(n_bins) if (bins == b).any()
    ]  # fmt: skip


def report(scores: np.ndarray, is_positive: np.ndarray) -> dict[str, Any]:
    """Everything above: counts, ROC-AUC, the table by threshold, calibration."""
    auc = roc_auc(scores, is_positive)
    return {
        "n": len(scores), "n_positive": int(is_positive.sum()), "roc_auc": None if np.isnan(auc) else round(auc, 4),
        **{k: v for k, v in at_threshold(scores, is_positive, 0.5).items() if k in ("precision", "recall", "f1")},
        "by_threshold": [at_threshold(scores, is_positive, t) for t in THRESHOLDS],
        "calibration": calibration(scores, is_positive),
    }  # fmt: skip
