--- The pairs of bench/run rdd: key i of so many keys, as random as it takes, the same for the job and its baseline.
local pairs_of = {}

---@param i integer
---@param keys integer how many different ones there are
---@return integer
function pairs_of.key(i, keys)
  local z = i * 0x9e3779b97f4a7c15
  z = (z ~ z >> 30) * 0xbf58476d1ce4e5b9
  return ((z ~ z >> 27) & 0x7fffffffffff) % keys
end

--- { records, keys } of each benchmark for records in millions: sort, distinct and group have 5, join has 1 and 1.
---@param n integer records
---@return table<string, integer[]>
function pairs_of.sizes(n)
  return { sort = { n, n }, distinct = { n, n // 5 }, join = { n // 5, n // 5 }, group = { n, n // 50 } }
end

return pairs_of
