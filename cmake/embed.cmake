# Writes OUTPUT, a C file that holds the Lua sources FILES (paths below ROOT, separated by "|") as rl_embedded_stdlib.
# See lua/embed.h. Run with cmake -P.
string(REPLACE "|" ";" files "${FILES}")

set(arrays "")
set(entries "")
set(index 0)
foreach(file IN LISTS files)
  string(REGEX REPLACE "(/init)?\\.lua$" "" module "${file}")
  string(REPLACE "/" "." module "${module}")

  file(SIZE ${ROOT}/${file} size)
  file(READ ${ROOT}/${file} bytes HEX)
  string(REGEX REPLACE "(................................)" "\\1\n  " bytes "${bytes}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")

  string(APPEND arrays "/* ${file} */\nstatic const unsigned char source_${index}[] = {\n  ${bytes}0x00};\n\n")
  string(APPEND entries "  {\"${module}\", (const char *)source_${index}, ${size}},\n")
  math(EXPR index "${index} + 1")
endforeach()

file(WRITE ${OUTPUT} "/* The Lua library's sources; written by cmake/embed.cmake. */
#include \"embed.h\"

${arrays}const rl_embedded rl_embedded_stdlib[] = {
${entries}  {NULL, NULL, 0},
};
")
