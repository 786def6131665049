"""Documents made of pages or parts (PDF, EPUB, DOCX): a file in, one row with its text out.

A file is read whole, at most limits.document_bytes of it, and its text is made in a worker process that may be killed.
"""
