--- How the results of tests are told: to people, as TAP, and as a JUnit file.
local report = {}

---@class rille.Result
---@field file string
---@field name string
---@field seconds number
---@field outcome "passed"|"failed"|"error"
---@field message string?  what is different, or what went wrong

local function indented(text, by) return by .. text:gsub("\n", "\n" .. by) end

-- people --------------------------------------------------------------------------------------------------------------

local WORDS = { passed = "ok   ", failed = "FAIL ", error = "ERROR" }

---@param out file*
function report.human(out)
  local self, file = {}, nil
  function self.add(result)
    if result.file ~= file then
      file = result.file
      out:write(file, "\n")
    end
    out:write(("  %s %s (%.0f ms)\n"):format(WORDS[result.outcome], result.name, result.seconds * 1000))
    if result.message then out:write(indented(result.message, "        "), "\n") end
    out:flush()
  end
  function self.finish(results, seconds)
    local counts = { passed = 0, failed = 0, error = 0 }
    for _, result in ipairs(results) do counts[result.outcome] = counts[result.outcome] + 1 end
    out:write(("%d passed, %d failed, %d %s (%.2f s)\n"):format(counts.passed, counts.failed, counts.error,
      counts.error == 1 and "error" or "errors", seconds))
    out:flush()
  end
  return self
end

-- TAP -----------------------------------------------------------------------------------------------------------------

---@param out file*
function report.tap(out)
  local self, n = {}, 0
  out:write "TAP version 13\n"
  function self.add(result)
    n = n + 1
    local title = (result.file .. ": " .. result.name):gsub("[#\\]", "\\%0"):gsub("%c", " ")
    out:write(("%s %d - %s\n"):format(result.outcome == "passed" and "ok" or "not ok", n, title))
    if result.message then out:write(indented(result.message, "# "), "\n") end
    out:flush()
  end
  function self.finish()
    out:write(("1..%d\n"):format(n))
    out:flush()
  end
  return self
end

-- JUnit ---------------------------------------------------------------------------------------------------------------

local ENTITIES = {
  ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["\n"] = "&#10;", ["\t"] = "&#9;",
}

-- XML has no other control characters, and bytes that are no UTF-8 would make the file unreadable.
local function xml(text)
  if not utf8.len(text) then text = text:gsub("[\x80-\xff]", "?") end
  return (text:gsub("[%z\1-\8\11-\31]", "?"):gsub('[&<>"\n\t]', ENTITIES))
end

local function by_file(results)
  local suites = {}
  for _, result in ipairs(results) do
    local suite = suites[#suites]
    if not suite or suite.file ~= result.file then
      suite = { file = result.file, seconds = 0, failed = 0, error = 0, passed = 0 }
      suites[#suites + 1] = suite
    end
    suite[#suite + 1] = result
    suite.seconds = suite.seconds + result.seconds
    suite[result.outcome] = suite[result.outcome] + 1
  end
  return suites
end

local function add_case(lines, result)
  local head = ('    <testcase classname="%s" name="%s" time="%.6f"'):format(xml(result.file), xml(result.name),
    result.seconds)
  if result.outcome == "passed" then
    lines[#lines + 1] = head .. "/>"
    return
  end
  local element = result.outcome == "failed" and "failure" or "error"
  local first = result.message:match "^[^\n]*"
  lines[#lines + 1] = head .. ">"
  lines[#lines + 1] = ('      <%s message="%s">%s</%s>'):format(element, xml(first), xml(result.message), element)
  lines[#lines + 1] = "    </testcase>"
end

--- The results as a JUnit document.
---@param results rille.Result[]
---@return string
function report.junit(results)
  local lines = { '<?xml version="1.0" encoding="UTF-8"?>', '<testsuites name="rille test">' }
  for _, suite in ipairs(by_file(results)) do
    lines[#lines + 1] = ('  <testsuite name="%s" tests="%d" failures="%d" errors="%d" time="%.6f">'):format(
      xml(suite.file), #suite, suite.failed, suite.error, suite.seconds)
    for _, result in ipairs(suite) do add_case(lines, result) end
    lines[#lines + 1] = "  </testsuite>"
  end
  lines[#lines + 1] = "</testsuites>\n"
  return table.concat(lines, "\n")
end

return report
