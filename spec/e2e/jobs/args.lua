-- args.lua [ARGS...]: prints arg as stock Lua has it, and what came with it as "...".
local first = 0
while arg[first - 1] do first = first - 1 end
for i = 0, #arg do print(i, arg[i]) end
print("before", first < 0)
print("varargs", ...)
