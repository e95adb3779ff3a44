--- RDD:pipe: records through real processes.
local rille = require "rille"
local support = require "spec.lua.support"

local pairs_of = support.pairs_of

describe("a piped RDD", function()
  local sc, here

  setup(function()
    sc = rille.Context { master = "local[2]" }
    here = "^spec/lua/rdd_pipe_spec.lua:%d+: "
  end)
  teardown(function() sc:stop() end)

  it("gives lines for records, and records for lines", function()
    local rdd = sc:parallelize({ "b", 2, true, 1.5, "two\nlines" }, 1)
    assert.same({ "b", "2", "true", "1.5", "two", "lines" }, rdd:pipe("cat"):collect())
    assert.same({ "(a,1)", "(b,2)" }, sc:parallelize(pairs_of("a", 1, "b", 2), 2):pipe("cat"):collect())
  end)

  it("has a process a partition, empty ones too", function()
    local count = { "sh", "-c", "wc -l | tr -d ' '" }
    assert.same({ "0", "2" }, sc:parallelize({}, 1):union(sc:parallelize({ 1, 2 }, 1)):pipe(count):collect())
  end)

  it("cuts a text at white space, and runs no shell", function()
    assert.same({ "$HOME", "*" }, sc:parallelize({}, 1):pipe(" printf  %s\\n $HOME   * "):collect())
  end)

  it("takes an array for words with spaces", function()
    assert.same({ "a  b" }, sc:parallelize({}, 1):pipe({ "printf", "%s\\n", "a  b" }):collect())
  end)

  it("sets variables of the environment", function()
    assert.same({ "x=y z", os.getenv "HOME" or "" }, sc:parallelize({}, 1)
      :pipe({ "sh", "-c", "echo $RILLE_SPEC; echo $HOME" }, { env = { RILLE_SPEC = "x=y z" } }):collect())
  end)

  it("stands between other steps", function()
    local rdd = sc:range(0, 100, 1, 2):map(function(x) return x * 2 end):pipe("grep 9"):pipe("cat")
      :map(function(line) return tonumber(line) + 1 end)
    assert.same({ 91, 93, 95, 97, 99, 191, 193, 195, 197, 199 },
      rdd:filter(function(x) return x % 100 > 90 end):collect())
  end)

  it("passes more than pipes hold", function()
    local text = ("x"):rep(1000)
    local rdd = sc:range(0, 20000, 1, 2):map(function(x) return text .. x end)
    assert.equal(20000, rdd:pipe("cat"):distinct():count())
    assert.equal(2, rdd:pipe("tail -n 1"):count())
    assert.equal(4, rdd:pipe("head -n 2"):count())
  end)

  it("fails with its command and status", function()
    assert.matches(here .. "pipe: 'sh %-c exit 7' ended with status 7",
      support.failure(function() local _ = sc:range(3):pipe({ "sh", "-c", "exit 7" }):collect() end))
    assert.matches(here .. "pipe: 'grep nothing' ended with status 1",
      support.failure(function() local _ = sc:range(3):pipe("grep nothing"):collect() end))
    assert.matches(here .. "pipe: 'sh %-c kill %-9 %$%$' was ended by signal 9",
      support.failure(function() local _ = sc:range(3):pipe({ "sh", "-c", "kill -9 $$" }):collect() end))
    assert.matches(here .. "pipe: cannot run 'rille%-no%-such%-command': No such file",
      support.failure(function() local _ = sc:range(3):pipe("rille-no-such-command"):collect() end))
  end)

  it("is tried again as any task", function()
    local dir = support.directory()
    local script = ("cat; test -e %s/seen || { touch %s/seen; exit 1; }"):format(dir, dir)
    assert.same({ "1", "2" }, sc:parallelize({ 1, 2 }, 1):pipe({ "sh", "-c", script }):collect())
    support.remove(dir)
  end)

  it("ends its process when enough was taken, or the job fails", function()
    assert.same({ "y", "y" }, sc:range(1):pipe("yes"):take(2))
    assert.matches("no more", support.failure(function()
      sc:range(0, 10, 1, 1):pipe("yes"):foreach(function() error("no more") end)
    end))
  end)

  it("checks its arguments", function()
    local rdd = sc:range(3)
    for _, bad in ipairs { "", "  ", {}, { 1 }, 5, { "a\0b" } } do
      assert.matches(here .. "bad argument #1 to 'pipe' %(command",
        support.failure(function() local _ = rdd:pipe(bad) end))
    end
    for _, env in ipairs { { "x" }, { ["a=b"] = "c" }, { a = 1 }, { [""] = "x" } } do
      assert.matches(here .. "bad argument #2 to 'pipe' %(option 'env'",
        support.failure(function() local _ = rdd:pipe("cat", { env = env }) end))
    end
  end)

  it("has lines as text files have them", function()
    assert.same({ "a", "", "b", "c" }, sc:parallelize({}, 1):pipe({ "printf", "a\\r\\n\\nb\\rc" }):collect())
  end)
end)
