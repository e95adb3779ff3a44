-- settings.lua: a context made without settings but its name; prints those it got from the command line.
local rille = require "rille"
local sc = rille.Context { appName = "Settings" }
print(tostring(sc), sc:defaultParallelism())
sc:stop()
