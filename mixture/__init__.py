"""Kept documents in, manifest and token stream out. No torch."""
