"""Raw text in, the raw material of tokens out; inspection; the command line. No torch."""

__version__ = "0.1.0"
