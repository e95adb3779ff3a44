--- rille.time: points in time as milliseconds since 1970 (lua/time.c).
return require "rille.core".time
