#!/bin/sh
# cache.sh - a Redis server filled, read and emptied by its own benchmark client; prints what is
# in it, which depends on nothing but the commands
set -e
folder=$(mktemp -d)
socket=$folder/socket
trap 'kill $server 2>/dev/null; wait; rm -rf "$folder"' EXIT
redis-server --port 0 --unixsocket "$socket" --save '' --dir "$folder" --logfile "$folder/log" &
server=$!
tries=0
until redis-cli -s "$socket" ping >"$folder/pong" 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { cat "$folder/log" >&2; exit 1; }
    sleep 0.05
done
work() { redis-benchmark -s "$socket" -c 10 -P 16 -q "$@" >"$folder/out"; }
redis-cli -s "$socket" debug populate 100000 key 200 >"$folder/out"
work -n 60000 -r 50000 set key:__rand_int__ "$(printf '%0300d' 7)"
work -n 60000 -r 20000 rpush list:__rand_int__ element-of-some-length
work -n 60000 -r 5000 hset hash:__rand_int__ field:__rand_int__ value
work -n 40000 -r 50000 get key:__rand_int__
redis-cli -s "$socket" strlen key:99999
redis-cli -s "$socket" exists key:1 key:2 key:100001
redis-cli -s "$socket" flushall
redis-cli -s "$socket" dbsize
