-- The benchmarks. Run through bench/run, which builds what is measured:
--
--   lua5.4 bench/run.lua SOURCE BUILD WORK [NAME...] [--json] [--pairs N] [--quick]
--
-- Each line of the table is one metric: the median of several runs, with the smallest and the largest. A ratio is the
-- median over interleaved pairs (A, B, A, B, ...), so that what else the machine does meets both sides; it says how
-- many times as fast as the baseline Rille is. --quick takes three pairs of a tenth of the text: a check only.
local clock = require "bench.clock"

local source, build, work = arg[1], arg[2], arg[3]
local options = { json = false, quick = false, pairs = nil }

-- running programs ---------------------------------------------------------------------------------------------------

local function quote(s)
  return "'" .. s:gsub("'", "'\\''") .. "'"
end

local function command(...)
  local words = {}
  for i, word in ipairs { ... } do words[i] = quote(tostring(word)) end
  return table.concat(words, " ")
end

local function job(name, ...)
  return command(build .. "/bin/rille", "run", source .. "/bench/jobs/" .. name .. ".lua", ...)
end

--- Everything it prints, as a list of lines.
local function run_lines(what)
  local pipe = assert(io.popen("exec timeout --foreground 600 " .. what, "r"))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  local ok, _, status = pipe:close()
  if not ok or #lines == 0 then error(("failed with status %d: %s"):format(status or 0, what), 0) end
  return lines
end

--- A program that loads its input once and then answers each line it reads with one line. `ask` gives the next answer.
local function server(name, what)
  local fifo = work .. "/" .. name
  assert(os.execute(command("mkfifo", fifo)))
  local answers = assert(io.popen("exec " .. what .. " <" .. quote(fifo), "r"))
  local requests = assert(io.open(fifo, "w"))
  return {
    name = name,
    ask = function(request)
      requests:write(request or "run", "\n")
      requests:flush()
      return answers:read("l") or error("ended without an answer: " .. what, 0)
    end,
    close = function()
      requests:close()
      answers:close()
      os.remove(fifo)
    end,
  }
end

-- results ------------------------------------------------------------------------------------------------------------

local function median(values)
  local sorted = table.move(values, 1, #values, 1, {})
  table.sort(sorted)
  local middle = #sorted // 2
  if #sorted % 2 == 1 then return sorted[middle + 1] end
  return (sorted[middle] + sorted[middle + 1]) / 2
end

local ROW <const> = "%-10s %-20s %10s %10s %10s %5s  %s"

local function heading()
  if not options.json then
    print(ROW:format("bench", "metric", "median", "min", "max", "runs", "target"))
  end
end

--- `target` is as people read it, "at least 1.6"; nil where a metric is only reported.
local function report(bench, metric, values, target)
  local value, min, max = median(values), math.min(table.unpack(values)), math.max(table.unpack(values))
  if options.json then
    print(('{"bench":"%s","metric":"%s","value":%.6g,"min":%.6g,"max":%.6g,"runs":%d}')
      :format(bench, metric, value, min, max, #values))
  else
    local function number(x) return ("%.4g"):format(x) end
    print(ROW:format(bench, metric, number(value), number(min), number(max), #values, target or ""))
  end
  io.stdout:flush()
end

local function ratios(baseline, ours)
  local out = {}
  for i = 1, #ours do out[i] = baseline[i] / ours[i] end
  return out
end

-- the text -----------------------------------------------------------------------------------------------------------

local function words()
  return options.quick and 500000 or 5000000
end

local function text_file()
  local path = ("%s/bench-%d-words.txt"):format(build, words())
  local file = io.open(path, "rb")
  if file then
    file:close()
  else
    local part = path .. ".part"
    assert(os.execute(command(build .. "/bin/bench_gen", words()) .. " >" .. quote(part)), "cannot make the text")
    assert(os.rename(part, path))
  end
  return path
end

local function runs(otherwise)
  return options.pairs or options.quick and 3 or otherwise
end

-- the benchmarks -----------------------------------------------------------------------------------------------------

local benches = {}

--- Asks each server in turn, `n` rounds after one to warm up. Gives the seconds by name, in the order of the rounds.
local function rounds(servers, n)
  local seconds, expected = {}, nil
  for _, s in ipairs(servers) do seconds[s.name] = {} end
  for round = 0, n do
    for _, s in ipairs(servers) do
      local answer = s.ask()
      local time, result = answer:match("^(%S+) (.+)$")
      expected = expected or result
      if result ~= expected then
        error(("%s: different counts: %s instead of %s"):format(s.name, result, expected), 0)
      end
      if round > 0 then table.insert(seconds[s.name], tonumber(time)) end
    end
  end
  return seconds
end

function benches.wordcount()
  local file = text_file()
  local servers = {
    server("rille", job("wordcount", file)),
    server("c", command(build .. "/bin/bench_wordcount", file)),
    server("lua", command("lua5.4", source .. "/bench/baseline/wordcount.lua", file)),
  }
  local seconds = rounds(servers, runs(15))
  for i = #servers, 1, -1 do servers[i].close() end -- a later one holds the earlier ones' pipes open

  report("wordcount", "ratio_to_lua", ratios(seconds.lua, seconds.rille), "at least 1.6")
  report("wordcount", "ratio_to_c", ratios(seconds.c, seconds.rille))
  report("wordcount", "rille_s", seconds.rille)
  report("wordcount", "lua_s", seconds.lua)
  report("wordcount", "c_s", seconds.c)
end

-- The seconds, and those of CPU. With a directory the job is durable there; it is removed afterwards.
local function socket_seconds(file, dir)
  local feed = assert(io.popen("exec " .. command(build .. "/bin/rille-feed", "--rate", 0, "--file", file, "--hold",
    "--clients", 1), "r"))
  local port = assert(feed:read("l"), "the feed did not start")
  local seconds, counted, cpu = run_lines(job("socket", port, words(), dir))[1]:match("^(%S+) (%d+) (%S+)$")
  feed:close()
  if dir then os.execute(command("rm", "-rf", dir)) end
  if math.tointeger(counted) ~= words() then error(("socket: counted %s words of %d"):format(counted, words()), 0) end
  return tonumber(seconds), tonumber(cpu)
end

function benches.socket()
  local file = text_file()
  local memory = server("rille", job("wordcount", file))
  local in_memory, through_socket = {}, {}
  memory.ask()
  for i = 1, runs(15) do
    in_memory[i] = tonumber(memory.ask():match("^%S+"))
    through_socket[i] = socket_seconds(file)
  end
  memory.close()
  report("socket", "ratio_to_wordcount", ratios(in_memory, through_socket))
  report("socket", "socket_s", through_socket)
end

function benches.batch()
  local medians = {}
  for i = 1, runs(7) do
    local micros = {}
    for k, line in ipairs(run_lines(job("batch", 200))) do micros[k] = tonumber(line) end
    medians[i] = median(micros)
  end
  report("batch", "empty_us", medians, "at most 200")
end

function benches.start()
  local first, resident = {}, {}
  for i = 1, runs(15) do
    local begun = clock()
    first[i] = (tonumber(run_lines(job("start", "first"))[1]) - begun) * 1000
  end
  for i = 1, runs(5) do resident[i] = tonumber(run_lines(job("start", "idle"))[1]) / 1024 end
  report("start", "first_batch_ms", first, "at most 50")
  report("start", "rss_mb", resident, "at most 16")
end

function benches.rdd()
  local records = options.quick and 500000 or 5000000
  for _, what in ipairs { "sort", "distinct", "join", "group" } do
    local servers = {
      server("rille", job("rdd", what, records)),
      server("lua", command("lua5.4", source .. "/bench/baseline/rdd.lua", what, records)),
    }
    local seconds = rounds(servers, runs(3))
    for i = #servers, 1, -1 do servers[i].close() end
    report("rdd", what .. "_ratio_to_lua", ratios(seconds.lua, seconds.rille))
    report("rdd", what .. "_s", seconds.rille)
    report("rdd", what .. "_lua_s", seconds.lua)
  end
end

local function disk_bytes(dir)
  return tonumber(run_lines("du -s -B1 " .. quote(dir))[1]:match "^%d+")
end

-- mapWithState: what a batch costs that touches few of many keys, and what a key costs in memory.
function benches.state()
  local touched, few, many = 10000, options.quick and 100000 or 1000000, options.quick and 1000000 or 10000000
  local function counts(name, keys)
    local dir = work .. "/of_" .. name
    assert(os.execute(command("mkdir", dir)))
    local s = server(name, ("env TMPDIR=%s %s"):format(quote(dir), job("state", keys, touched)))
    s.dir = dir
    return s
  end
  local servers = { counts("none", 0), counts("few", few), counts("many", many) }
  local seconds = rounds({ servers[2], servers[3] }, runs(15))
  local memory = {}
  for _, s in ipairs(servers) do memory[s.name] = { s.ask("memory"):match "^(%d+) (%d+)$" } end
  local disk = disk_bytes(servers[3].dir)
  for i = #servers, 1, -1 do servers[i].close() end

  report("state", "time_ratio_10m_1m", ratios(seconds.many, seconds.few), "at most 1.5")
  report("state", "batch_1m_s", seconds.few)
  report("state", "batch_10m_s", seconds.many)
  report("state", "anon_bytes_per_key", { (memory.many[1] - memory.none[1]) / many }, "at most 48")
  report("state", "mapped_bytes_per_key", { (memory.many[2] - memory.none[2]) / many })
  report("state", "disk_bytes_per_key", { disk / many })
end

-- A window kept up by what enters and leaves it, against one that is reduced anew.
function benches.window()
  local records, keys = options.quick and 10000 or 50000, options.quick and 1000 or 5000
  local servers = {}
  for i, how in ipairs { "recomputed", "panes", "inverse", "known" } do
    servers[i] = server(how, job("window", how, records, keys))
  end
  local seconds = rounds(servers, runs(15))
  for i = #servers, 1, -1 do servers[i].close() end

  report("window", "incremental_speedup", ratios(seconds.recomputed, seconds.inverse), "at least 10")
  report("window", "known_speedup", ratios(seconds.recomputed, seconds.known))
  report("window", "inverse_to_panes", ratios(seconds.panes, seconds.inverse))
  report("window", "known_to_panes", ratios(seconds.panes, seconds.known))
  for _, how in ipairs { "recomputed", "panes", "inverse", "known" } do report("window", how .. "_s", seconds[how]) end
end

-- The write-ahead log against a loop of writes and fdatasyncs of the sizes that its groups had, on the disk of the
-- build tree: blocks as receivers cut them, and records of the length of a line.
function benches.wal()
  local dir = build .. "/bench-wal"
  local program = server("wal", command(build .. "/bin/bench_wal", dir))
  for _, load in ipairs { { "append", 65536, 64 }, { "lines", 100, 16 } } do
    local name, record, megabytes = load[1], load[2], options.quick and load[3] // 8 or load[3]
    local plain, ours, groups = {}, {}, {}
    for i = 0, runs(15) do
      local seconds, count = program.ask(("log %d %d"):format(record, megabytes << 20)):match "^(%S+) (%d+)$"
      local baseline = tonumber(program.ask "plain")
      if i > 0 then plain[i], ours[i], groups[i] = baseline, tonumber(seconds), megabytes * 1024 / tonumber(count) end
    end
    report("wal", name .. "_ratio", ratios(plain, ours), name == "append" and "at least 0.8" or nil)
    report("wal", name .. "_s", ours)
    report("wal", name .. "_plain_s", plain)
    report("wal", name .. "_group_kb", groups)
  end
  program.close()
  os.execute(command("rm", "-rf", dir))

  local file, off, on, cpu_off, cpu_on = text_file(), {}, {}, {}, {}
  for i = 0, runs(15) do
    off[i], cpu_off[i] = socket_seconds(file)
    on[i], cpu_on[i] = socket_seconds(file, build .. "/bench-durable")
  end
  report("wal", "cpu_on_off", ratios(cpu_off, cpu_on), "at least 0.75")
  report("wal", "throughput_on_off", ratios(off, on))
  report("wal", "socket_cpu_off_s", cpu_off)
  report("wal", "socket_cpu_on_s", cpu_on)
end

local OVERLOAD <const> = { rate = 20000, interval = 0.25 } -- of bench/jobs/overload.lua

--- One run of it, fed three times as much as it can do: its batches.
local function overload(backpressure, batches)
  local rate = OVERLOAD.rate
  local feed = assert(io.popen("exec " .. command(build .. "/bin/rille-feed", "--rate", 3 * rate, "--clients", 1), "r"))
  local port, list = assert(feed:read("l"), "the feed did not start"), {}
  for i, line in ipairs(run_lines(job("overload", port, rate, backpressure, batches))) do
    local records, delay, processing = line:match("^(%d+) (%d+) (%d+)$")
    list[i] = { records = tonumber(records), delay = delay / 1e6 / OVERLOAD.interval, processing = processing / 1e6 }
  end
  feed:close()
  return list
end

--- The batch with which ten begin that all have a delay of less than an interval; nil when none does.
local function settled(batches)
  local since
  for i, batch in ipairs(batches) do
    since = batch.delay < 1 and (since or i) or nil
    if since and i - since == 9 then return since end
  end
end

local function sum(list, field, from)
  local total = 0
  for i = from, #list do total = total + list[i][field] end
  return total
end

--- A column a batch: as high as the value is of `full`, in eighths.
local function plot(label, batches, field, full)
  local bars, columns = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" }, {}
  for i, batch in ipairs(batches) do
    local eighths = batch[field] / full * 8
    columns[i] = eighths < 0.5 and " " or bars[math.min(8, math.floor(eighths + 0.5))]
  end
  print(("  %-28s |%s|"):format(label, table.concat(columns)))
end

-- A job that is sent three times what it can do: how many batches it takes to settle, and how much of what it can do it
-- does from then on. What it can do shows where nothing slows its source.
function benches.backpressure()
  local count, settles, shares, shown = 60, {}, {}, nil
  for i = 1, runs(3) do
    local free, slowed = overload("false", 8), overload("true", count)
    local can = sum(free, "records", 1) / sum(free, "processing", 1)
    local from = settled(slowed) or count
    settles[i] = from
    shares[i] = sum(slowed, "records", from) / ((count - from + 1) * OVERLOAD.interval) / can
    shown = slowed
  end
  report("backpressure", "settled_batches", settles, "at most 30")
  report("backpressure", "throughput_share", shares, "at least 0.9")
  if options.json then return end
  plot("delay, full: 10 intervals", shown, "delay", 10)
  plot("records, full: 3 times", shown, "records", 3 * OVERLOAD.rate * OVERLOAD.interval)
end

-- Out of the page cache with what the directory holds.
local function chill(dir)
  for _, path in ipairs(run_lines("find " .. quote(dir) .. " -type f -size +0")) do
    local chilled = "dd of=%s oflag=nocache conv=notrunc,fdatasync count=0 2>/dev/null </dev/null"
    assert(os.execute(chilled:format(quote(path))))
  end
end

-- A durable job that is started again: from the process's start to the end of its first batch.
function benches.recovery()
  local few, many = 10000, options.quick and 1000000 or 10000000
  local dirs, warm, cold = {}, { few = {}, many = {} }, {}
  local function first(name, keys)
    local begun = clock()
    return (tonumber(run_lines(job("recovery", dirs[name], keys, "first"))[1]) - begun) * 1000
  end
  for name, keys in pairs { few = few, many = many } do
    dirs[name] = ("%s/bench-recovery-%s"):format(build, name)
    os.execute(command("rm", "-rf", dirs[name]))
    run_lines(job("recovery", dirs[name], keys, "load"))
  end
  for i = 0, runs(15) do
    warm.few[i], warm.many[i] = first("few", few), first("many", many)
  end
  for i = 1, runs(5) do
    chill(dirs.many)
    cold[i] = first("many", many)
  end
  report("recovery", "time_ratio_10m_10k", ratios(warm.many, warm.few), "at most 1.3")
  report("recovery", "first_10k_ms", warm.few)
  report("recovery", "first_10m_ms", warm.many)
  report("recovery", "first_10m_cold_ms", cold)
  for _, dir in pairs(dirs) do os.execute(command("rm", "-rf", dir)) end
end

-- What being durable adds to a batch that changes 10,000 keys of many, and how fast changes go into the image.
function benches.checkpoint()
  local keys, dirty, dir = options.quick and 1000000 or 10000000, 10000, build .. "/bench-checkpoint"
  os.execute(command("rm", "-rf", dir))
  local servers = {
    server("memory", ("env TMPDIR=%s %s"):format(quote(work), job("state", keys, dirty))),
    server("durable", job("state", keys, dirty, dir)),
  }
  local seconds, added = rounds(servers, runs(15)), {}
  for i = #servers, 1, -1 do servers[i].close() end
  for i, durable in ipairs(seconds.durable) do
    seconds.durable[i], seconds.memory[i] = durable * 1000, seconds.memory[i] * 1000
    added[i] = seconds.durable[i] - seconds.memory[i]
  end
  os.execute(command("rm", "-rf", dir))
  local program = server("apply", command(build .. "/bin/bench_apply", dir, keys))
  local rate = {}
  for i = 0, runs(5) do rate[i] = tonumber(program.ask(dirty)) end
  program.close()
  os.execute(command("rm", "-rf", dir))
  report("checkpoint", "end_ms", added, "at most 10")
  report("checkpoint", "batch_memory_ms", seconds.memory)
  report("checkpoint", "batch_durable_ms", seconds.durable)
  report("checkpoint", "apply_keys_s", rate)
end

-- A topic through the direct stream in several batches, against a bare consumer in C that reads it in one go; the broker
-- is of this run.
function benches.kafka()
  local records, partitions, topic = options.quick and 200000 or 6000000, 4, "bench"
  local tool = ("env RILLE_KAFKA_DIR=%s %s"):format(quote(build .. "/bench-kafka"), quote(source .. "/tools/kafka"))
  local pipe = assert(io.popen(tool .. " start --port 0", "r"))
  local brokers = pipe:read "l"
  if not (pipe:close() and brokers) then error("kafka: no broker", 0) end
  local program = build .. "/bin/bench_kafka"
  assert(os.execute(command(program, "fill", brokers, topic, partitions, records)), "kafka: the topic was not filled")
  local servers = {
    server("rille", job("kafka", "count", brokers, topic, partitions, records, 10)),
    server("bare", command(program, "read", brokers, topic, partitions, records)),
  }
  local words_server = server("words", job("kafka", "words", brokers, topic, partitions, records, 10))
  local seconds = rounds(servers, runs(9))
  local counted = rounds({ words_server }, runs(3))
  words_server.close()
  for i = #servers, 1, -1 do servers[i].close() end
  os.execute(tool .. " wipe")

  report("kafka", "ratio_to_librdkafka", ratios(seconds.bare, seconds.rille), "at least 0.85")
  report("kafka", "rille_s", seconds.rille)
  report("kafka", "bare_s", seconds.bare)
  report("kafka", "words_s", counted.words)
end

local ORDER <const> = {
  "wordcount", "socket", "batch", "start", "rdd", "state", "window", "wal", "recovery", "checkpoint", "backpressure",
  "kafka",
}

-- the command line ---------------------------------------------------------------------------------------------------

local function usage(message)
  io.stderr:write("bench/run: ", message, "\nusage: bench/run [", table.concat(ORDER, "|"),
    "]... [--json] [--pairs N] [--quick]\n")
  os.exit(2)
end

local function parse()
  local names, i = {}, 4
  while arg[i] do
    local word = arg[i]
    if word == "--json" or word == "--quick" then
      options[word:sub(3)] = true
    elseif word == "--pairs" then
      i = i + 1
      options.pairs = math.tointeger(tonumber(arg[i]))
      if not options.pairs or options.pairs < 1 then usage("--pairs takes a number of pairs") end
    elseif benches[word] then
      names[#names + 1] = word
    else
      usage(("unknown benchmark or option '%s'"):format(word))
    end
    i = i + 1
  end
  return #names > 0 and names or ORDER
end

local names = parse()
heading()
for _, name in ipairs(names) do benches[name]() end
