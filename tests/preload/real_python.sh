#!/bin/sh
# real_python.sh - json, threads, forked workers, big strings and numbers; with Python's own small
# allocator and with malloc for everything

PROGRAM=python3
. "$(dirname "$0")/common.sh"
need_program python3

prepare() {
    cat >work.py <<'END'
import array, collections, gc, hashlib, json, multiprocessing, random, re, threading, zlib
import concurrent.futures

def digest(thing):
    return hashlib.sha256(repr(thing).encode()).hexdigest()[:16]

def tree(depth, rng):
    if depth == 0:
        return rng.choice([None, rng.random(), rng.randint(0, 10**9), "x" * rng.randint(0, 60)])
    if depth % 2:
        return [tree(depth - 1, rng) for _ in range(8)]
    return {"key%d" % i: tree(depth - 1, rng) for i in range(6)}

def worker(seed):
    rng = random.Random(seed)
    text = json.dumps(tree(4, rng), sort_keys=True)
    data = bytearray()
    for i in range(300):
        data += text[i:i + 3000].encode()
    back = zlib.decompress(zlib.compress(bytes(data), 1))
    words = collections.Counter(re.findall(r"[a-z]+\d*", text))
    return seed, len(text), digest(json.loads(text)), len(back), sorted(words.items())[:5]

def main():
    rng = random.Random(1)
    document = tree(6, rng)
    text = json.dumps(document, indent=1)
    assert json.loads(text) == document
    print("json", len(text), digest(text))

    print("sort", digest(sorted(rng.random() for _ in range(200000))[::1000]))
    grown = array.array("d")
    for i in range(40):
        grown.extend(range(i * 1000))
    print("array", len(grown), grown[-1])
    big = 3 ** 60000
    print("number", big % 10**20, len(str(big % 7**3000)))
    joined = "".join(str(i) for i in range(300000))
    print("string", len(joined), digest(joined.replace("11", "abc").split("7")))

    class Node:
        pass
    for i in range(30000):
        a, b = Node(), Node()
        a.other, b.other, a.data = b, a, [i] * 10
    print("garbage", gc.collect() >= 0)

    results = [None] * 6
    def fill(i):
        results[i] = worker(i)
    threads = [threading.Thread(target=fill, args=(i,)) for i in range(6)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    print("threads", digest(results))
    with multiprocessing.get_context("fork").Pool(3) as pool:
        print("processes", pool.map(worker, range(6)) == results)
    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        print("executor", list(executor.map(worker, range(6))) == results)

if __name__ == "__main__":
    main()
END
}

workload() {
    export PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
    python3 "$DATA/work.py"
    PYTHONMALLOC=malloc python3 "$DATA/work.py"
}

compare_runs python3 -c 'print(1)'
