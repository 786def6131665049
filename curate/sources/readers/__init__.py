"""Readers of the formats beside JSON lines, Parquet and text: tables, markup, corpora, parallel files, archives. See formats.py."""
