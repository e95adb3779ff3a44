--- Outputs whose batches are written one after another, each once: none behind one that could not be.
local core = require "rille.core"

--- Makes the body of such an output. The batch that fails is told of; those behind it fail with it, which is one line.
---@param context userdata core's
---@param skips fun(): boolean are batches that fail passed over?
---@param what fun(): string the output, for messages
---@param write fun(rdd: rille.RDD, time: integer)
---@return fun(rdd: rille.RDD, time: integer)
return function(context, skips, what, write)
  local turn, failed, cause, told = core.turn(context), nil, nil, false
  return function(rdd, time)
    local _ <close> = turn:take() -- batches may run at once; they are written in their order
    if failed and time > failed then
      if not told then
        core.log("warn", ("%s: what comes behind batch %d ms is not written, as that one has to come first"):format(
          what(), failed))
      end
      told = true
      core.follows()
      error(("batch %d ms has to come first, and could not be written: %s"):format(failed, cause), 0)
    end
    local ok, why = pcall(write, rdd, time)
    failed, cause, told = not ok and not skips() and time or nil, tostring(why):match "^[^\n]*", false
    if not ok then error(why, 0) end
  end
end
