--- What workers do with the places of records: numbers for them, sides taken apart, keys in order. Functions for
--- mapPartitions and mapPartitionsWithIndex.
local core = require "rille.core"
local sorting = require "rille.sorting"

local compare, fields, sorted = core.compare, core.fields, sorting.sorted

local numbering = {}

--- (record, its number) over records as one value each.
---@param starts integer[] the number of the first record of each partition
function numbering.from(starts)
  return function(partition, records)
    local number = starts[partition + 1] - 1
    return function()
      local record = records()
      number = number + 1
      if record ~= nil then return record, number end
    end
  end
end

--- (record, a number of its own): partition i of n has i, i + n, i + 2 n, ...
---@param n integer
function numbering.every(n)
  return function(partition, records)
    local number = partition - n
    return function()
      local record = records()
      number = number + n
      if record ~= nil then return record, number end
    end
  end
end

--- Rows of an uneven zip, (true, record of each side or nil), as an iterator of records for each side. A side may be read
--- ahead of another, whose records wait meanwhile.
---@param sides integer
---@param f fun(...: fun(): ...): any[]|function
function numbering.apart(sides, f)
  return function(rows)
    local waiting, first, last = {}, {}, {} -- of each side: its records from first to last
    for side = 1, sides do waiting[side], first[side], last[side] = {}, 1, 0 end

    local function arrived(any, ...)
      if any == nil then return false end
      for side = 1, sides do
        local record = select(side, ...)
        if record ~= nil then
          last[side] = last[side] + 1
          waiting[side][last[side]] = record
        end
      end
      return true
    end

    local function reader(side)
      return function()
        while first[side] > last[side] do
          if not arrived(rows()) then return nil end
        end
        local record = waiting[side][first[side]]
        waiting[side][first[side]] = nil
        first[side] = first[side] + 1
        return fields(record)
      end
    end

    local readers = {}
    for side = 1, sides do readers[side] = reader(side) end
    return f(table.unpack(readers, 1, sides))
  end
end

local function keys_rise(a, b) return compare(a[1], b[1]) < 0 end
local function keys_fall(a, b) return compare(a[1], b[1]) > 0 end

--- (key, value) records, each as one tuple, by key.
---@param ascending boolean
function numbering.key_sorter(ascending)
  local less = ascending and keys_rise or keys_fall
  return function(records)
    local list = {}
    for record in records do list[#list + 1] = record end
    return sorted(list, less)
  end
end

return numbering
