os.exit(math.tointeger(arg[1])) -- exits.lua STATUS
