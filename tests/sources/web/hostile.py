"""What a worker may be made to do: the function of test_page's workers."""

from __future__ import annotations

import os

from curate.sources.records import Refused


def work(job: str) -> object:
    if job == "loop":
        while True:
            pass
    if job == "crash":
        os.abort()
    if job == "memory":
        return len(bytearray(2 << 30))
    if job == "recurse":
        return work("recurse")
    if job == "raise":
        raise KeyError("what")
    if job == "refuse":
        raise Refused("empty_text", "nothing")
    if job == "print":
        print("this is no answer")
        return "printed"
    return os.getpid()
