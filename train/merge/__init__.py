"""Weight arithmetic on folders of models: a + lambda (b - c), read and written block by block."""
