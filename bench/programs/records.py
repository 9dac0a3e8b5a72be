"""records.py - JSON, dictionaries and strings, as a script that shovels data meets them"""

import hashlib
import json

RECORDS = 60_000


def main():
    data = [
        {"id": i, "name": f"record {i}", "tags": [f"t{i % 7}", f"u{i % 11}"], "score": i * 0.25}
        for i in range(RECORDS)
    ]
    for _ in range(2):
        text = json.dumps(data)
        data = json.loads(text)
    words = {}
    for record in data:
        for word in record["name"].split() + record["tags"]:
            words.setdefault(word, []).append(record["id"])
    lines = sorted(f"{word} {len(ids)} {sum(ids)}" for word, ids in words.items())
    print(len(text), hashlib.sha256("\n".join(lines).encode()).hexdigest())


main()
