#!/bin/sh
# real_node.sh - JSON, buffers, worker threads, zlib and crypto in node

PROGRAM=node
. "$(dirname "$0")/common.sh"
need_program node

prepare() {
    cat >work.js <<'END'
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const crypto = require('crypto');
const zlib = require('zlib');
const digest = (data) => crypto.createHash('sha256').update(data).digest('hex').slice(0, 16);

function work(seed) {
    let x = seed;
    const random = (n) => (x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff, (x >> 8) % n);
    const object = {};
    for (let i = 0; i < 20000; i++)
        object['key' + random(5000)] = { i, list: Array.from({ length: random(10) }, () => random(99)) };
    const text = JSON.stringify(object);
    const buffers = [];
    for (let i = 0; i < 100; i++)
        buffers.push(Buffer.alloc(1000 + random(300000), 'b' + i));
    const all = Buffer.concat(buffers);
    const packed = zlib.gzipSync(Buffer.from(text), { level: 6 });
    const back = zlib.gunzipSync(packed).toString();
    return [text.length, digest(text), all.length, digest(all), back === text,
        text.match(/"i":\d+7,/g).length];
}

if (isMainThread) {
    console.log(work(1));
    const results = {};
    let left = 4;
    for (let i = 1; i <= 4; i++) {
        const worker = new Worker(__filename, { workerData: i });
        worker.on('message', (message) => {
            results[i] = message;
            if (--left === 0)
                console.log(JSON.stringify(results));
        });
    }
    zlib.deflate(Buffer.alloc(5000000, 'abc'), (error, out) => zlib.inflate(out, (error2, back) => {
        crypto.pbkdf2('secret', 'salt', 1000, 32, 'sha256', (error3, key) =>
            process.on('exit', () => console.log(back.length, digest(back), key.toString('hex'))));
    }));
} else {
    parentPort.postMessage(work(workerData));
}
END
}

workload() {
    node --no-warnings "$DATA/work.js"
}

compare_runs node -e 'console.log(1)'
