"""Another vocabulary for a model: its tokenizer, and the rows of its matrices."""
