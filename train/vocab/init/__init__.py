"""Rows of both matrices for a new vocabulary. Nothing is imported here, so that `config` stays light."""
