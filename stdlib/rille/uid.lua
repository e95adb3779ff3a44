--- Operator identity (DESIGN section 6): a uid is given by stream:uid(name), or derived from the path of operations
--- above the operator, beginning at the nearest one that was given. An operator inserted elsewhere does not move it; a
--- number is added only among operators that are otherwise the same: same parents, same operation.
local check = require "rille.check"

local uid = {}

local MAX_GIVEN = 200
local MAX_DERIVED = 240

--- Notes a new operator among its like, in the order in which the job makes them.
---@param node table with `operation`, `detail`, `parents`, `number`; gets `twin`, counted from 1
---@param roots table<string, integer> counts of operators without parents
function uid.enlist(node, roots)
  local first = node.parents[1]
  local family = first and first.children or roots
  local kin = { node.operation, node.detail }
  for i = 2, #node.parents do kin[#kin + 1] = node.parents[i].number end
  local key = table.concat(kin, ",")
  family[key] = (family[key] or 0) + 1
  node.twin = family[key]
end

-- FNV-1a.
local function hash(text)
  local h = 0xcbf29ce484222325
  for i = 1, #text do h = (h ~ text:byte(i)) * 0x100000001b3 end
  return h
end

local function derived(node, uids)
  local parts = {}
  for i, parent in ipairs(node.parents) do parts[i] = uids[parent] end
  local first = table.remove(parts, 1)
  local own = node.operation
  if node.detail then own = own .. "(" .. node.detail .. ")" end
  if #parts > 0 then own = own .. "(" .. table.concat(parts, ",") .. ")" end
  if node.twin > 1 then own = own .. "#" .. node.twin end
  local path = first and first .. "/" .. own or own
  -- A long path keeps its end; what is before it is there as a hash, so paths that differ stay different.
  if #path > MAX_DERIVED then
    path = ("~%016x/%s"):format(hash(path), #own > MAX_DERIVED / 2 and node.operation or own)
  end
  return path
end

--- The uids of all operators.
---@param nodes table[] parents before children
---@return table<table, string>
function uid.all(nodes)
  local uids, owners = {}, {}
  for _, node in ipairs(nodes) do
    local name = node.given or derived(node, uids)
    local other = owners[name]
    if other then
      check.fail(("the uid '%s' of %s is also that of %s; give one of them another with :uid(name)")
        :format(name, node:label(), other:label()))
    end
    uids[node], owners[name] = name, node
  end
  return uids
end

--- Names an operator.
---@param node table
---@param name string
---@param nodes table[] all operators of its context
function uid.give(node, name, nodes)
  check.argument(1, "uid", "text", name)
  if #name > MAX_GIVEN or name:find "%c" then
    check.fail(("bad argument #1 to 'uid' (at most %d bytes without control characters expected)"):format(MAX_GIVEN))
  end
  if node.given and node.given ~= name then
    check.fail(("%s already has the uid '%s'"):format(node:label(), node.given))
  end
  for _, other in ipairs(nodes) do
    if other ~= node and other.given == name then
      check.fail(("the uid '%s' is already that of %s"):format(name, other:label()))
    end
  end
  node.given = name
end

return uid
