# What needs Lua: the objects of lua/, the module rille/core.so and the program rille, with the stdlib inside.

# The module takes the Lua API from whoever loads it, so it is compiled against the headers and not linked.
pkg_check_modules(LUA REQUIRED IMPORTED_TARGET lua5.4)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
add_library(rille_lua_headers INTERFACE)
target_include_directories(rille_lua_headers SYSTEM INTERFACE ${LUA_INCLUDE_DIRS})

file(GLOB_RECURSE stdlib_sources RELATIVE ${PROJECT_SOURCE_DIR}/stdlib CONFIGURE_DEPENDS
  stdlib/rille.lua stdlib/rille/*.lua)
list(SORT stdlib_sources)
list(TRANSFORM stdlib_sources PREPEND ${PROJECT_SOURCE_DIR}/stdlib/ OUTPUT_VARIABLE stdlib_paths)
list(JOIN stdlib_sources "|" stdlib_names)
set(stdlib_embed ${PROJECT_BINARY_DIR}/stdlib_embed.c)
add_custom_command(OUTPUT ${stdlib_embed}
  COMMAND ${CMAKE_COMMAND} -D ROOT=${PROJECT_SOURCE_DIR}/stdlib "-DFILES=${stdlib_names}" -D OUTPUT=${stdlib_embed}
    -P ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
  DEPENDS ${stdlib_paths} ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
  COMMENT "Embedding the Lua library"
  VERBATIM)

file(GLOB lua_sources CONFIGURE_DEPENDS lua/*.c)
list(REMOVE_ITEM lua_sources ${PROJECT_SOURCE_DIR}/lua/main.c)

add_library(rille_lua OBJECT ${lua_sources} ${stdlib_embed})
target_compile_options(rille_lua PRIVATE -fvisibility=hidden)
target_link_libraries(rille_lua PUBLIC rille_flags rille_lua_headers PkgConfig::UV PkgConfig::XXHASH PkgConfig::JANSSON Threads::Threads)

# Threads of the engine run code of the module: it stays mapped until the process ends (nodelete). The map keeps all but
# the entry points inside, those of core included.
set(module_map ${PROJECT_SOURCE_DIR}/cmake/module.map)
add_library(rille_module MODULE $<TARGET_OBJECTS:rille_lua>)
target_link_libraries(rille_module PRIVATE rille_static PkgConfig::JANSSON)
target_link_options(rille_module PRIVATE -Wl,-z,nodelete -Wl,--version-script=${module_map})
set_target_properties(rille_module PROPERTIES
  PREFIX "" OUTPUT_NAME core LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lua/rille LINK_DEPENDS ${module_map})

# liblua is linked as a shared library and exports are on: Lua modules in C that a job loads find the Lua API.
add_executable(rille lua/main.c $<TARGET_OBJECTS:rille_lua>)
target_link_libraries(rille PRIVATE rille_static PkgConfig::LUA PkgConfig::JANSSON)
set_target_properties(rille PROPERTIES ENABLE_EXPORTS ON)
