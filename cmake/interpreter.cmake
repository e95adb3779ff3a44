# The stock Lua of this tree: what bin/busted, and under a sanitizer bin/lua5.4, run. Both come first in PATH under
# `with`.
find_program(LUA_INTERPRETER NAMES lua5.4 lua54)
if(NOT LUA_INTERPRETER)
  message(STATUS "lua5.4 not found: no busted specs, no benchmarks against plain Lua")
  return()
endif()

macro(write_program from to)
  configure_file(${from} ${to} @ONLY FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
endmacro()

# A sanitizer's runtime has to be in the process before the module is, and stock Lua is not built with it.
set(LUA_COMMAND ${LUA_INTERPRETER})
set(runtime "")
set(threads "")
if(CMAKE_C_COMPILER_ID STREQUAL "GNU" AND RILLE_SANITIZE MATCHES "address")
  set(runtime libasan.so)
elseif(CMAKE_C_COMPILER_ID STREQUAL "GNU" AND RILLE_SANITIZE MATCHES "thread")
  set(runtime libtsan.so)
  set(threads ${PROJECT_BINARY_DIR}/lib/librille_c11_threads.so:)
endif()
if(runtime)
  execute_process(COMMAND ${CMAKE_C_COMPILER} -print-file-name=${runtime}
    OUTPUT_VARIABLE SANITIZER_RUNTIME OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  add_library(rille_unpreload MODULE spec/sanitizer/unpreload.c)
  set_target_properties(rille_unpreload PROPERTIES PREFIX "" OUTPUT_NAME unpreload)
  target_compile_definitions(rille_unpreload PRIVATE _GNU_SOURCE)
  set(LUA_COMMAND ${PROJECT_BINARY_DIR}/bin/lua5.4)
  write_program(cmake/lua.in ${LUA_COMMAND})
endif()

# The busted of a distribution runs with whichever Lua is called `lua` there.
write_program(cmake/busted.in ${PROJECT_BINARY_DIR}/bin/busted)
