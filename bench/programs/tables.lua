-- tables.lua - tables, closures and strings, made and dropped

local function tree(depth)
  if depth == 0 then return {} end
  return { tree(depth - 1), tree(depth - 1) }
end

local function count(node)
  if not node[1] then return 1 end
  return 1 + count(node[1]) + count(node[2])
end

local total = 0
local lasting = tree(15)
for i = 1, 60 do
  total = total + count(tree(10))
end
total = total + count(lasting)

local words = {}
for i = 1, 150000 do
  local word = string.format("%d:%s", i % 5000, string.rep("ab", i % 17))
  words[word] = (words[word] or 0) + 1
end
local distinct, length = 0, 0
for word, n in pairs(words) do
  distinct = distinct + 1
  length = length + #word * n
end

local parts = {}
for i = 1, 200000 do parts[i] = tostring(i) end
print(total, distinct, length, #table.concat(parts, ","))
