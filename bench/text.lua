-- The benchmarks' text in Lua: loading it, cutting it into blocks, and the checksum that proves two counts equal.
local text = {}

local BLOCK_SIZE <const> = 1 << 22

function text.load(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read("a")
  file:close()
  return bytes
end

--- A list of strings: the text cut at the first line end behind each BLOCK_SIZE bytes.
function text.blocks(bytes)
  local blocks, at = {}, 1
  while at <= #bytes do
    local stop = bytes:find("\n", at + BLOCK_SIZE, true) or #bytes
    blocks[#blocks + 1] = bytes:sub(at, stop)
    at = stop + 1
  end
  return blocks
end

--- What one word adds to the checksum, which is the sum over all words in wrapping integers.
function text.checksum(word, count)
  local hash = 0
  for i = 1, #word do hash = hash * 31 + word:byte(i) end
  return hash * count
end

return text
