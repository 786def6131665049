"""Addresses and the words around a number: kernels of PII."""
