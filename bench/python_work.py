"""python_work.py - the real program that scripts/demo runs when it is given no command

Strings, JSON and byte buffers as a script that shovels data meets them: many small objects, and a
few buffers of many MiB that come and go. Prints the same line whichever malloc is underneath.
"""

import hashlib
import json
import zlib

RECORDS = 30_000
FRAMES = 40
FRAME_BYTES = 8 << 20
LOG_BYTES = 48 << 20


def records():
    return [
        {"id": i, "name": f"record {i}", "tags": [f"t{i % 7}", f"u{i % 11}"], "score": i * 0.25}
        for i in range(RECORDS)
    ]


def json_round_trips(digest):
    data = records()
    for _ in range(2):
        text = json.dumps(data)
        data = json.loads(text)
        digest.update(text[-1000:].encode())
    lines = [json.dumps(record) for record in data]
    digest.update("\n".join(sorted(lines))[:1000].encode())


def buffers_come_and_go(digest):
    pattern = bytes(range(256))
    kept = []
    for i in range(FRAMES):
        length = FRAME_BYTES // 256 + i * 37
        frame = pattern * length
        turned = frame[128:] + frame[:128]
        kept.append(turned)
        if len(kept) > 6:
            digest.update(zlib.crc32(kept.pop(0)[::4096]).to_bytes(4, "little"))


def buffer_grows(digest):
    log = bytearray()
    chunk = b"x" * 65536
    while len(log) < LOG_BYTES:
        log += chunk
    digest.update(log[:: 1 << 20])


def main():
    digest = hashlib.sha256()
    json_round_trips(digest)
    buffers_come_and_go(digest)
    buffer_grows(digest)
    print("python3:", digest.hexdigest()[:16])


main()
