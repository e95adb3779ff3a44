local rille = require "rille"
local support = require "spec.lua.support"

describe("an operator's uid", function()
  local ssc

  before_each(function() ssc = rille.StreamingContext({ master = "local[1]", clock = "manual" }, 1) end)
  after_each(function() ssc:stop() end)

  local function same(x) return x end

  local function uid(stream) return stream:toDebugString():match("%[uid (.-)%]") end

  it("is derived from the path of operations", function()
    local words = ssc:socketTextStream("localhost", 9999):flatMap(same)
    assert.equal("socketTextStream(localhost:9999)/flatMap/map/reduceByKey", uid(words:map(same):reduceByKey(math.max)))
    assert.equal("textFileStream(in)/filter", uid(ssc:textFileStream("in"):filter(same)))
    assert.equal("queueStream/count", uid(ssc:queueStream({}):count()))
  end)

  it("is given, and heads the paths below", function()
    local pairs_ = ssc:queueStream({}):map(same):uid("pairs")
    assert.equal("pairs", uid(pairs_))
    assert.equal("pairs/reduceByKey", uid(pairs_:reduceByKey(math.max)))
  end)

  it("names all parents", function()
    local a, b = ssc:queueStream({}):uid("a"), ssc:queueStream({}):uid("b")
    assert.equal("a/join(b)", uid(a:join(b)))
    assert.equal("a/union(b,a)", uid(ssc:union { a, b, a }))
  end)

  it("has a number only among its like", function()
    local stream = ssc:queueStream {}
    local first, second, filtered = stream:map(same), stream:map(same), stream:filter(same)
    assert.equal("queueStream/map", uid(first))
    assert.equal("queueStream/map#2", uid(second))
    assert.equal("queueStream/filter", uid(filtered))
    assert.equal("queueStream#2/map", uid(ssc:queueStream({}):map(same)))
    first:uid("first")
    assert.equal("queueStream/map#2", uid(second))
    local a, b = ssc:queueStream({}):uid("a"), ssc:queueStream({}):uid("b")
    assert.equal("a/join(b)", uid(a:join(b)))
    assert.equal("a/join(first)", uid(a:join(first)))
    assert.equal("a/join(b)#2", uid(a:join(b)))
  end)

  it("does not move when an unrelated operator comes in", function()
    local function job(extra)
      local s = rille.StreamingContext({ master = "local[1]" }, 1)
      local lines = s:socketTextStream("localhost", 9999)
      if extra then lines:filter(same):count() end
      local words = lines:flatMap(same)
      if extra then words:filter(same) end
      local result = uid(words:map(same):reduceByKey(math.max))
      s:stop()
      return result
    end
    assert.equal(job(false), job(true))
  end)

  it("stays short and distinct on long paths", function()
    local a = ssc:queueStream {}
    local b = ssc:queueStream {}
    for _ = 1, 100 do a, b = a:union(a), b:union(b) end
    assert.is_true(#uid(a) <= 260)
    assert.are_not.equal(uid(a), uid(b))
  end)

  it("is unique: both places are named", function()
    local stream = ssc:queueStream {}
    stream:map(same):uid("pairs")
    assert.matches("^spec/lua/uid_spec.lua:%d+: the uid 'pairs' is already that of map at spec/lua/uid_spec.lua:%d+",
      support.failure(function() stream:filter(same):uid("pairs") end))
  end)

  it("is unique among given and derived ones", function()
    local stream = ssc:queueStream {}
    stream:map(same)
    stream:filter(same):uid("queueStream/map"):foreachRDD(function() end)
    assert.matches("the uid 'queueStream/map' of filter at .* is also that of map at",
      support.failure(function() ssc:start() end))
  end)

  it("is checked", function()
    local stream = ssc:queueStream {}
    assert.matches("bad argument #1 to 'uid'", support.failure(function() stream:uid("") end))
    assert.matches("bad argument #1 to 'uid'", support.failure(function() stream:uid("a\nb") end))
    assert.matches("bad argument #1 to 'uid'", support.failure(function() stream:uid(("x"):rep(201)) end))
    stream:uid("one")
    assert.equal(stream, stream:uid("one"))
    assert.matches("already has the uid 'one'", support.failure(function() stream:uid("two") end))
  end)

  it("comes with the line of the function where a tail call hides the call", function()
    local function define(stream)
      return stream:map(function(x) return x end)
    end
    assert.matches("map at spec/lua/uid_spec.lua:" .. debug.getinfo(define, "S").linedefined + 1,
      define(ssc:queueStream {}):toDebugString())
  end)

  it("shows in lineages of the stream and of its RDDs", function()
    local counts = ssc:queueStream({ { 1, 2 } }):map(function(x) return x, 1 end):uid("pairs"):reduceByKey(math.max)
    assert.same({ "reduceByKey", "map", "queueStream" }, (function()
      local names = {}
      for line in counts:toDebugString():gmatch("[^\n]+") do names[#names + 1] = line:match("^%s*(%a+) at") end
      return names
    end)())
    local lineage
    counts:foreachRDD(function(rdd) lineage = rdd:toDebugString() end)
    ssc:start()
    ssc:clock():advance(1)
    assert.matches("pairs/reduceByKey", lineage)
    assert.matches("uid pairs", lineage)
  end)
end)
