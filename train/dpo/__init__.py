"""Preference tuning: pairs of a manifest in, a checkpoint and a receipt out; losses and reference log-probabilities are TRL's."""
