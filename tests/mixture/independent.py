"""Order and stream once more, from the words of order.py and stream.py alone: hashlib, json, and numpy to read arrays."""

import hashlib
import json

import numpy as np


def mix64(z):
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        z = (z ^ z >> shift) * factor % 2**64
    return z


def permutation(n, *labels):
    parts = b"".join(len(s.encode()).to_bytes(8, "little") + s.encode() for s in ("veski-order-1", *labels))
    key = int.from_bytes(hashlib.blake2b(parts, digest_size=16).digest()[:8], "little")
    keys = [mix64((key + i * 0x9E3779B97F4A7C15) % 2**64) for i in range(1, 9)]
    b = next(b for b in range(1, 32) if 4**b >= n)

    def image(x):
        left, right = x >> b, x % 2**b
        for k in keys:
            left, right = right, left ^ mix64((right + k) % 2**64) % 2**b
        x = left << b | right
        return x if x < n else image(x)

    return map(image, range(n))


def order(manifest, first=0):
    for phase in manifest["phases"]:
        rows = {c["name"]: [] for c in manifest["components"]}
        for p in phase["packing"]["passes"]:
            labels = str(manifest["seed"]), "sequences", phase["name"], p["component"], str(p["pass"])
            rows[p["component"]] += [first + x for x in permutation(p["sequences"], *labels)]
            first += p["sequences"]
        rows = [own for own in rows.values() if own]
        total, a, m = sum(map(len, rows)), max(1, 2 * len(rows) - 2), [0] * len(rows)
        for t in range(1, total + 1):
            free = [i for i, own in enumerate(rows) if m[i] < len(own) and a * (len(own) * t - total * m[i]) >= total]
            i = min(free, key=lambda i: total * (a - 1 + a * m[i]) // (a * len(rows[i])))
            yield rows[i][m[i]]
            m[i] += 1


def stream_hash(build, manifest):
    row_ptr, chunks = (np.load(build / "sequences" / name) for name in ("row_ptr.npy", "chunks.npy"))
    listed, state = json.loads((build / "sequences" / "shards.json").read_text()), hashlib.sha256(b"veski-stream-1").digest()
    shards = [np.fromfile(build / s["path"], f"<u{listed['token_bytes']}") for s in listed["shards"]]
    for q in order(manifest):
        own = chunks[row_ptr[q] : row_ptr[q + 1]].tolist()
        tokens = [shards[shard][start : start + length] for shard, start, length, _, _ in own]
        row = np.concatenate([[len(own)], [len(part) for part in tokens], *tokens]).astype("<u4").tobytes()
        state = hashlib.sha256(state + hashlib.blake2b(row, digest_size=16).digest()).digest()
    return state.hex()
