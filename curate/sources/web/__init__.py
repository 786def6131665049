"""Web pages: archives of responses and single files in, rows with their HTML out (warc, html), and the text of a page (page).

Reading runs in the task; making text of a page runs in a worker process that may be killed (worker).
"""
