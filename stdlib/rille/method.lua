--- Methods that check what they are called on and with. All of the library's methods that a job calls are made like this.
local check = require "rille.check"

-- So that a method need not end in a tail call, which would take its frame from the stack while it runs: see site.here.
local function results(...) return ... end

---@param class table
---@return fun(name: string, takes: string[], body: fun(self: any, ...: any): ...) method adds one to the class: `takes` are
--- the kinds of its arguments (rille.check)
local function methods_of(class)
  return function(name, takes, body)
    class[name] = function(self, ...)
      check.self(class, name, self)
      return results(body(self, check.arguments(name, takes, 1, ...)))
    end
  end
end

return methods_of
