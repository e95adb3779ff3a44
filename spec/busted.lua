-- The busted command line, whatever Lua the installed `busted` would run with.
require "busted.runner" { standalone = false }
