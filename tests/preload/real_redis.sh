#!/bin/sh
# real_redis.sh - redis-server under redis-benchmark, its data read back through a socket
#
# Debian's redis-server is linked to libjemalloc, but under the plain names malloc and free, so a
# preloaded library comes before it; only jemalloc's own mallctl stays with jemalloc.

. "$(dirname "$0")/common.sh"
need_program redis-server redis-cli redis-benchmark

prepare() {
    perl -e '
        my $x = 1;
        sub random { $x = ($x * 1103515245 + 12345) & 0x7fffffff; return ($x >> 8) % $_[0] }
        for my $i (1 .. 20000) {
            my $key = "k" . random(3000);
            my $value = "v" x (random(100) == 0 ? random(200000) : random(300)) . $i;
            my $kind = random(6);
            print $kind == 0 ? "SET string:$key $value\n"
                : $kind == 1 ? "APPEND string:$key $value\n"
                : $kind == 2 ? "HSET hash:" . random(50) . " $key $i\n"
                : $kind == 3 ? "RPUSH list:" . random(50) . " $i$key\n"
                : $kind == 4 ? "ZADD sorted:" . random(50) . " $i $key\n"
                : "DEL string:k" . random(3000) . "\n";
        }' >commands
}

# ask ARGUMENT... - one question to the server
ask() { redis-cli -s "$SOCKET" "$@"; }

start_server() {
    redis-server --port 0 --unixsocket "$SOCKET" --dir "$PWD" --save '' --appendonly no \
        --enable-debug-command yes --activedefrag no --daemonize no >server.log 2>&1 &
    server=$!
    tries=0
    until ask PING >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || { cat server.log >&2; return 1; }
        sleep 0.1
    done
}

workload() {
    SOCKET=$PWD/socket
    start_server
    trap 'kill $server 2>/dev/null' EXIT
    ask <"$DATA/commands" | sha256sum
    redis-benchmark -s "$SOCKET" -q -n 20000 -c 20 -P 4 -d 500 -r 1000 \
        -t set,get,incr,lpush,lpop,sadd,hset,zadd >benchmark.log 2>&1
    grep -c 'requests per second' benchmark.log
    # What the benchmark left depends on the order of its clients; what the commands left does not.
    for kind in string hash list sorted; do
        ask --scan --pattern "$kind:*" | sort >"keys.$kind"
        wc -l <"keys.$kind"
    done
    sed 's/^/GET /' keys.string | ask | sha256sum
    sed 's/^/HVALS /' keys.hash | ask | sort | sha256sum
    sed 's/.*/LRANGE & 0 -1/' keys.list | ask | sha256sum
    sed 's/.*/ZRANGE & 0 -1 WITHSCORES/' keys.sorted | ask | sha256sum
    ask BGSAVE >/dev/null # a fork that reads the whole heap
    tries=0
    until ask INFO persistence | grep -q 'rdb_bgsave_in_progress:0'; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || return 1
        sleep 0.05
    done
    ask INFO persistence | grep rdb_last_bgsave_status | tr -d '\r'
    ask DEBUG RELOAD
    sed 's/^/GET /' keys.string | ask | sha256sum
    ask FLUSHALL
    ask SHUTDOWN NOSAVE || true
    wait $server
    trap - EXIT
}

compare_runs redis-server --version
