--- rille.json: JSON texts and Lua values (lua/json.c).
return require "rille.core".json
