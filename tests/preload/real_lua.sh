#!/bin/sh
# real_lua.sh - tables, strings, closures and coroutines: millions of reallocs of small blocks

. "$(dirname "$0")/common.sh"
need_program lua5.4

prepare() {
    cat >work.lua <<'END'
local x = 1
local function random(n) x = (x * 1103515245 + 12345) & 0x7fffffff; return (x >> 8) % n end
local list = {}
for i = 1, 200000 do list[i] = "item " .. random(50000) end
table.sort(list)
print(#list, list[1], list[100000], list[#list])
local count = {}
for _, item in ipairs(list) do count[item] = (count[item] or 0) + 1 end
local most, name = 0, nil
for item, n in pairs(count) do if n > most or (n == most and item < name) then most, name = n, item end end
print(most, name)
local text = table.concat(list, ",")
print(#text, select(2, text:gsub("7", "<seven>")))
local function tree(d) if d == 0 then return {} end return { tree(d - 1), tree(d - 1) } end
local function nodes(t) return 1 + (t[1] and nodes(t[1]) + nodes(t[2]) or 0) end
for _ = 1, 6 do print(nodes(tree(14))) end
local producer = coroutine.wrap(function() for i = 1, 50000 do coroutine.yield(("x"):rep(random(300))) end end)
local sum = 0
for i = 1, 50000 do sum = sum + #producer() end
print(sum)
local grown = ""
for i = 1, 4000 do grown = grown .. i end
print(#grown)
collectgarbage("generational")
local keep = {}
for i = 1, 300000 do keep[random(1000)] = { i, tostring(i) } end
collectgarbage()
print(next(keep) ~= nil)
END
}

workload() {
    lua5.4 "$DATA/work.lua"
}

compare_runs lua5.4 -e 'print(1)'
