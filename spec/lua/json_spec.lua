-- rille.json and rille.null.
local rille = require "rille"
local support = require "spec.lua.support"

local json, null, failure = rille.json, rille.null, support.failure

describe("rille.json.decode", function()
  it("keeps integers and floats apart", function()
    assert.equal("integer", math.type(json.decode "12"))
    assert.equal("float", math.type(json.decode "12.0"))
    assert.equal("float", math.type(json.decode "1e2"))
    assert.equal(math.maxinteger, json.decode "9223372036854775807")
    assert.equal(math.mininteger, json.decode "-9223372036854775808")
    assert.equal(0.1, json.decode "0.1")
  end)

  it("gives plain tables, rille.null and strings of bytes", function()
    local v = json.decode [[ {"a": [1, null, {"b": true}], "empty": [], "text": "\u00e9\n\u0000\ud83d\ude00"} ]]
    assert.equal(null, v.a[2])
    assert.is_true(v.a[3].b)
    assert.equal(3, #v.a)
    assert.same({}, v.empty)
    assert.is_nil(getmetatable(v.empty))
    assert.equal("é\n\0😀", v.text)
    assert.equal("x", json.decode '"x"')
    assert.equal(null, json.decode "null")
    assert.is_false(json.decode "false")
  end)

  it("takes the last of equal keys", function()
    assert.same({ a = 2 }, json.decode '{"a":1,"a":2}')
  end)

  it("says what is wrong and at which byte", function()
    for text, pattern in pairs {
      ['{"a":}'] = "unexpected token near '}' at byte 6",
      ["[1,2"] = "'%]' expected near end of file at byte 4",
      ['{"a":1}x'] = "end of file expected near 'x' at byte 8",
      ["[99999999999999999999]"] = "too big integer",
      ["[1e999]"] = "real number overflow",
      ['"\xff"'] = "unable to decode byte 0xff",
      ['"\\ud800"'] = "invalid Unicode",
      ['{"a\\u0000":1}'] = "NUL byte in object key",
      [""] = "unexpected token near end of file",
      ["[01]"] = "at byte %d",
      ["{a:1}"] = "string or '}' expected near 'a' at byte 2",
      [("["):rep(101) .. ("]"):rep(101)] = "nested more than 100 deep at byte 101",
    } do
      local message = failure(function() return json.decode(text) end)
      assert.matches("json_spec.lua:%d+: rille.json.decode: .*" .. pattern, message)
    end
    assert.matches("bad argument #1", failure(function() return json.decode {} end))
    assert.equal("table", type(json.decode(("["):rep(100) .. ("]"):rep(100))))
    assert.equal(1, #json.decode '["[[[\\"[[["]')
  end)

  it("has a limit of size", function()
    assert.matches("more than 64 MiB", failure(json.decode, (" "):rep((64 << 20) + 1)))
  end)
end)

describe("rille.json.encode", function()
  it("writes keys in order, whatever the table", function()
    local keys = {}
    for i = 1, 60 do keys[("k%02d"):format(i)] = i end
    local parts = {}
    for i = 1, 60 do parts[i] = ('"k%02d":%d'):format(i, i) end
    assert.equal("{" .. table.concat(parts, ",") .. "}", json.encode(keys))
    assert.same(keys, json.decode(json.encode(keys, { sorted = false })))
    assert.equal('{"":1,"a":2,"aa":3,"b":4}', json.encode { b = 4, aa = 3, a = 2, [""] = 1 })
  end)

  it("writes numbers so that they come back as they went", function()
    for _, n in ipairs { 0, -1, math.maxinteger, math.mininteger, 0.1, 1.0, -0.0, 1e15, 1e300, 5e-324, 1 / 3 } do
      local back = json.decode(json.encode(n))
      assert.equal(math.type(n), math.type(back))
      assert.equal(string.pack("n", n), string.pack("n", back))
    end
    assert.equal("0.1", json.encode(0.1))
    assert.equal("1.0", json.encode(1.0))
    for _, n in ipairs { 1 / 0, -1 / 0, 0 / 0 } do assert.matches("infinities", failure(json.encode, n)) end
  end)

  it("tells arrays from objects", function()
    assert.equal("[1,2]", json.encode { 1, 2 })
    assert.equal("{}", json.encode {})
    assert.equal("[]", json.encode(json.array()))
    assert.equal("[]", json.encode(json.array {}))
    assert.equal('{"a":[[]]}', json.encode { a = { json.array {} } })
    assert.equal("[1,null,3]", json.encode(rille.tuple(1, nil, 3)))
    assert.equal("[null]", json.encode { null })
    local neither = { { 1, x = 1 }, { [2] = 1 }, { [1.5] = 1 }, { [true] = 1 }, { 1, nil, 3 }, json.array { a = 1 } }
    for _, t in ipairs(neither) do
      assert.matches("rille.json.encode: a table with", failure(json.encode, t))
    end
  end)

  it("writes strings that JSON allows", function()
    assert.equal([["a\"b\\c\n\t\u0000\u001Fé😀"]], json.encode 'a"b\\c\n\t\0\x1fé😀')
    assert.equal('""', json.encode "")
    for _, s in ipairs { "\xff", "\xc0\x80", "\xed\xa0\x80", "a\xe9" } do
      assert.matches("not UTF%-8", failure(json.encode, s))
    end
    assert.matches("not UTF%-8", failure(json.encode, { ["\xff"] = 1 }))
  end)

  it("refuses what has no form in JSON", function()
    local HERE = "json_spec.lua:%d+: rille.json.encode: "
    local cycle = {}
    cycle.self = cycle
    assert.matches(HERE .. "a function has no form", failure(function() return json.encode { f = print } end))
    assert.matches(HERE .. "a userdata has no form", failure(function() return json.encode(io.stdout) end))
    assert.matches(HERE .. ".*contains itself", failure(function() return json.encode(cycle) end))
    assert.matches(HERE .. "a table with a metatable", failure(function() return json.encode(setmetatable({}, {})) end))
    assert.matches("bad argument #1", failure(function() return json.encode() end))
  end)
end)

describe("random values", function()
  it("come back from JSON as they went", function()
    local seed = os.time()
    math.randomseed(seed)
    local function random(depth)
      local kind = math.random(depth > 3 and 6 or 8)
      if kind == 1 then return math.random(math.mininteger, math.maxinteger) end
      if kind == 2 then return (math.random() - 0.5) * 10.0 ^ math.random(-300, 300) end
      if kind == 3 then return math.random(2) == 1 end
      if kind == 4 then return null end
      if kind <= 6 then
        local codes = {}
        for i = 1, math.random(0, 8) do codes[i] = math.random(0, 0xd7ff) end
        return utf8.char(table.unpack(codes))
      end
      local t = {}
      for i = 1, math.random(1, 5) do
        if kind == 7 then t[i] = random(depth + 1) else t["k" .. math.random(100)] = random(depth + 1) end
      end
      return t
    end
    for _ = 1, 300 do
      local value = random(0)
      local text = json.encode(value)
      assert.same(value, json.decode(text), "seed " .. seed)
      assert.equal(text, json.encode(json.decode(text)), "seed " .. seed)
    end
  end)
end)

describe("in workers", function()
  local sc

  before_each(function()
    sc = rille.Context { master = "local[2]", ["rille.log.level"] = "off", ["rille.task.maxFailures"] = 1 }
  end)
  after_each(function() sc:stop() end)

  it("the library is there: captured whole, by function, by name", function()
    local decode, encode, array = json.decode, rille.json.encode, json.array
    local lines = sc:parallelize({ '{"k":"a","n":1}', '{"k":"b","n":2.5}' }, 2)
    assert.same({ '["a",2,[]]', '["b",3.5,[]]' }, lines:map(function(line)
      local v = decode(line)
      return encode { rille.json.decode(line).k, v.n + 1, array() }
    end):collect())
    assert.same({ 1, 2.5 }, lines:map(function(line) return require "rille.json".decode(line).n end):collect())
  end)

  it("a bad text can be diverted", function()
    local good = sc:parallelize({ '{"n":1}', "{", '{"n":3}' }, 1):map(function(line) return json.decode(line).n end)
    assert.same({ 1, 3 }, good:onError("skip"):collect())
    assert.matches("json_spec.lua:%d+: rille.json.decode: .* at byte 1", failure(function()
      sc:parallelize({ "{" }, 1):map(function(line) return json.decode(line) end):collect()
    end))
  end)
end)

describe("rille.null", function()
  local sc

  before_each(function() sc = rille.Context { master = "local[2]", ["rille.log.level"] = "off" } end)
  after_each(function() sc:stop() end)

  it("is one userdata, equal to itself only, and true", function()
    assert.equal("userdata", type(null))
    assert.equal("null", tostring(null))
    assert.is_true(null == rille.null)
    assert.is_false(null == nil)
    assert.is_true(null and true)
    assert.equal("x", ({ [null] = "x" })[rille.null])
  end)

  it("travels as a value, in tables and tuples, and back", function()
    local records = { null, rille.tuple(1, null), { null, a = null, [null] = 1 }, rille.tuple(null, 2) }
    local back = sc:parallelize(records, 2):map(function(...) return ... end):collect()
    assert.equal(null, back[1])
    assert.equal(null, back[2][2])
    assert.equal(null, back[3][1])
    assert.equal(null, back[3].a)
    assert.equal(1, back[3][null])
    assert.equal(null, back[4][1])
    assert.same({ true, true }, sc:parallelize({ null, null }, 2):map(function(v) return v == rille.null end):collect())
    assert.same({ "userdata" }, sc:parallelize({ null }, 1):map(function(v) return type(v) end):collect())
  end)

  it("is a key as any other", function()
    local pairs_rdd = sc:parallelize(support.pairs_of(null, 1, "a", 2, null, 3, rille.tuple(null), 4), 3)
    assert.same({ "((null),4)", "(a,2)", "(null,4)" },
      support.sorted(pairs_rdd:reduceByKey(function(a, b) return a + b end):collect()))
    local groups = pairs_rdd:groupByKey():filter(function(k) return k == null end)
    assert.same({ "(null,{1,3})" }, support.texts(groups:collect()))
    assert.equal(4, pairs_rdd:join(pairs_rdd):filter(function(k) return k == null end):count())
    assert.same({ "null", "null", "a", "null" }, support.texts(pairs_rdd:sortByKey():keys():collect()))
    assert.equal(1, sc:parallelize({ null, null, null }, 3):distinct():count())
  end)

  it("survives files of objects", function()
    local dir = support.directory() .. "/objects"
    sc:parallelize({ rille.tuple(null, { null }) }, 1):saveAsObjectFile(dir)
    local record = sc:objectFile(dir):first()
    assert.equal(null, record[1])
    assert.equal(null, record[2][1])
    support.remove(dir:match "^(.*)/objects$")
  end)
end)
