"""Numbers with a meaning: kernels of PII."""
