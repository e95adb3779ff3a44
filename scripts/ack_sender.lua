-- Sends lines to a job that reads them with socketTextStream(host, port, { ack = true }), and keeps each line until the
-- job has it on disk: a sender of the acknowledging line protocol (docs/ack-protocol.md).
--
--   lua5.4 scripts/ack_sender.lua [PORT] [--file FILE] [--state STATE] [--host ADDRESS]
--
-- Sends the lines of FILE, or of standard input. Listens on 127.0.0.1:9999 unless told otherwise (PORT 0: any free
-- one), prints the port, and ends when all lines are acknowledged. The newest connection counts.
--
-- Lines are numbered by the job: it says how many it has, and gets those behind. A FILE can be sent again by its
-- numbers, so it must not change but grow. Lines of standard input are kept in memory; with --state in the file STATE
-- too, so that this program can be killed and started again, and goes on where it was. (Not a power cut: plain Lua
-- cannot ask for what it writes to be on disk.) What standard input brings to a new start is new, also where it is a
-- file that was sent before: for that there is --file.
--
-- Needs LuaSocket: apt-get install lua-socket
local found, socket = pcall(require, "socket")

local WINDOW = 10000        -- lines sent and not yet acknowledged; then the input waits
local PIECE = 64 * 1024     -- bytes given to the system at once
local BURST = 1000          -- lines read from a file before the job is looked at again

local function say(...) io.stderr:write("ack_sender: ", string.format(...), "\n") end

local function die(...)
  say(...)
  os.exit(1)
end

local function arguments()
  local options = { host = "127.0.0.1", port = "9999" }
  local i = 1
  while arg[i] do
    local name = arg[i]:match "^%-%-(%l+)$"
    if name == "host" or name == "file" or name == "state" then
      i = i + 1
      options[name] = arg[i] or die("--%s needs a value", name)
    elseif arg[i]:match "^%d+$" then
      if tonumber(arg[i]) > 65535 then die("there is no port %s", arg[i]) end -- LuaSocket would take another
      options.port = arg[i]
      if #options.port > 5 or tonumber(options.port) > 65535 then die("there is no port %s", options.port) end
    else
      die("what is '%s'? The usage is written at the top of this script", arg[i])
    end
    i = i + 1
  end
  return options
end

if not found then die("needs LuaSocket: apt-get install lua-socket") end
local options = arguments()

-- What is kept -------------------------------------------------------------------------------------------------------

local lines = {}            -- by number: those behind `acked`, up to `last`
local acked, last           -- nil: the job has not told yet where to begin
local uid                   -- the stream's name, from its first announcement
local state, state_acked    -- the file, and what it says is acknowledged

-- All lines are in the file before the first of them is sent.
local function write_state()
  if not options.state then return end
  local path = options.state .. ".new"
  local file = assert(io.open(path, "wb"))
  assert(file:write(("RILLE-SENDER 1 %d %s\n"):format(acked, uid)))
  for n = acked + 1, last do assert(file:write(lines[n], "\n")) end
  assert(file:flush())
  assert(os.rename(path, options.state))
  if state then state:close() end
  state, state_acked = file, acked
end

local function read_state()
  if not options.state then return end
  local file = io.open(options.state, "rb")
  if not file then
    local made, why = io.open(options.state .. ".new", "wb")
    if not made then die("cannot write %s", why) end
    made:close()
    return
  end
  acked, uid = (file:read "L" or ""):match "^RILLE%-SENDER 1 (%d+) (.*)\n$"
  if not acked then die("%s is not a state of this program", options.state) end
  acked = math.tointeger(tonumber(acked))
  last = acked
  for line in file:lines "L" do
    if line:sub(-1) ~= "\n" then break end -- killed while it was written, so it was not sent
    last = last + 1
    lines[last] = line:sub(1, -2)
  end
  file:close()
  write_state()
end

local function keep(line)
  last = last + 1
  lines[last] = line
  if state then assert(state:write(line, "\n")) end
end

local function forget(upto)
  for n = acked + 1, upto do lines[n] = nil end
  acked = upto
  if state and acked - state_acked >= WINDOW then write_state() end
end

-- Where lines come from ----------------------------------------------------------------------------------------------

local input, ended = io.stdin, false
if options.file then input = io.open(options.file, "rb") or die("cannot read %s", options.file) end
local live = not options.file and not input:seek() -- a line may have to be waited for
if live then input:setvbuf "no" end -- so that nothing is hidden from `select` in a buffer
local ready = { getfd = function() return 0 end } -- standard input, for `select`

local function read_line()
  local line = input:read "l"
  ended = line == nil
  return line
end

-- The first n lines of a file are those that the job, or our state, has already.
local function skip(n)
  if not options.file then return end
  for i = 1, n do
    if not read_line() then die("the job has %d lines, and %s only %d", n, options.file, i - 1) end
  end
end

local function may_read() return acked and not ended and last - acked < WINDOW end

-- The connection -----------------------------------------------------------------------------------------------------

local client                -- nil: none
local announced             -- did it say where to begin?
local begun                 -- of a line that it says
local sent                  -- the last line that is on its way
local out, out_at           -- bytes on their way, and how many of them are gone

local function hang_up(...)
  if select("#", ...) > 0 then say(...) end
  client:close()
  client = nil
end

local function welcome(connection)
  if client then hang_up "another connection comes in place of this one" end
  client, announced, begun, out, out_at = connection, false, "", "", 0
  client:settimeout(0)
  client:setoption("keepalive", true)
end

-- A job that is not where we are would lose lines or count them twice; that is for a person to look at.
local function on_announcement(line)
  local position, name = line:match "^RILLE%-ACK 1 (%d+) (.*)$"
  position = math.tointeger(tonumber(position))
  if not position then return hang_up("this is no job that acknowledges lines: %s", line) end
  if uid and name ~= uid then return hang_up("the stream %s asks for the lines of %s", name, uid) end
  if not acked then
    acked, last, uid = position, position, name
    skip(position)
    write_state()
  end
  if position < acked then die("the job has %d lines only; those up to %d are not kept any more", position, acked) end
  if position > last then die("the job has %d lines; only %d were ever sent", position, last) end
  forget(position)
  announced, sent = true, position
end

local function on_line(line)
  if not announced then return on_announcement(line) end
  local position = math.tointeger(tonumber(line:match "^ACK (%d+)$"))
  if not position or position < acked or position > sent then return hang_up("what is this: %s", line) end
  forget(position)
end

local function listen_to_job()
  while client do
    local line, why, rest = client:receive("*l", begun)
    begun = rest or ""
    if line then
      on_line(line)
    else
      if why ~= "timeout" then hang_up("the connection has ended (%s)", why) end
      return
    end
  end
end

local function has_more() return announced and (out_at < #out or sent < last) end

local function talk_to_job()
  if out_at == #out then
    if state then assert(state:flush()) end
    local piece, size = {}, 0
    while sent < last and size < PIECE do
      sent = sent + 1
      piece[#piece + 1] = lines[sent]
      size = size + #lines[sent] + 1
    end
    out, out_at = table.concat(piece, "\n") .. "\n", 0
  end
  local upto, why, part = client:send(out, out_at + 1)
  out_at = upto or part
  if why and why ~= "timeout" then hang_up("the connection has ended (%s)", why) end
end

-- All together -------------------------------------------------------------------------------------------------------

local server = socket.bind(options.host, options.port)
if not server then die("cannot listen on %s:%s", options.host, options.port) end
print((select(2, server:getsockname())))
io.stdout:flush()

read_state()
if acked then skip(last) end
while not (ended and acked == last) do
  local from_file = not live and may_read()
  local reading = { server, client }
  if live and may_read() then reading[#reading + 1] = ready end
  local readable, writable = socket.select(reading, { client and has_more() and client or nil }, from_file and 0 or nil)
  if readable[server] then welcome(server:accept()) end
  if client and readable[client] then listen_to_job() end
  if client and writable[client] and has_more() then talk_to_job() end
  if from_file or readable[ready] then
    for _ = 1, from_file and BURST or 1 do
      local line = may_read() and read_line()
      if line then keep(line) end
    end
  end
end
if state then write_state() end
say("all %d lines are acknowledged", acked)
