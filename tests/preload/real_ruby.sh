#!/bin/sh
# real_ruby.sh - strings, hashes, threads, fork and the garbage collector

. "$(dirname "$0")/common.sh"
need_program ruby

prepare() {
    cat >work.rb <<'END'
require "digest"
require "json"
require "set"
$x = 1
def random(n) = (($x = ($x * 1103515245 + 12345) & 0x7fffffff) >> 8) % n
words = Array.new(120_000) { "word#{random(30_000)}" }
counts = words.tally
puts counts.sort_by { |w, c| [-c, w] }.first(10).inspect
text = words.join(" ")
puts text.size, text.gsub(/7(\d)/) { "<#{$1}>" }.then { |t| Digest::SHA256.hexdigest(t) }
document = (1..20_000).to_h { |i| ["key#{i}", { "list" => [i, i * 2, nil], "text" => "t" * (i % 40) }] }
puts JSON.parse(JSON.generate(document)) == document
results = 4.times.map { |i| Thread.new { words.each_slice(1000).map { |s| s[i].reverse }.join.hash.class; words.map(&:upcase).uniq.size } }.map(&:value)
puts results.inspect
pids = 3.times.map { |i| fork { GC.start; exit!(words.map { |w| w + i.to_s }.to_set.size == words.to_set.size ? i : 99) } }
puts pids.map { |pid| Process.wait2(pid)[1].exitstatus }.inspect
buffer = +""
50_000.times { |i| buffer << i.to_s }
puts buffer.size
GC.compact if GC.respond_to?(:compact)
puts (1..300).reduce(:*).to_s.size
END
}

workload() {
    ruby --disable-gems -rdigest "$DATA/work.rb"
}

compare_runs ruby --disable-gems -e 'puts 1'
