"""Looking at a build: its tables, one document, texts by reason, what another threshold would do. Writes corpus.duckdb only."""
