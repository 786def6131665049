"""Models that score texts: fastText and feature classifiers (train, load, score), and language models.

Nothing here knows a recipe's rules: texts in, scores out. Imports errors, store, text, sources; fasttext lives in fasttext_files.py.
"""
