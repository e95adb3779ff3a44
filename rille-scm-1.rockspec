-- `luarocks make` in a clone builds and installs the module, the library and the program. The engine needs libuv,
-- libxxhash, LMDB, LZ4, librdkafka and jansson (Debian: libuv1-dev, libxxhash-dev, liblmdb-dev, liblz4-dev, librdkafka-dev, libjansson-dev), and the program liblua5.4 (liblua5.4-dev), which pkg-config finds.
rockspec_format = "3.0"
package = "rille"
version = "scm-1"
source = { url = "." }
description = {
  summary = "Stream engine programmed in Lua",
  detailed = [[
    Streaming jobs as Lua scripts, with the DStream operations of Spark Streaming, on all cores of one machine.
  ]],
  license = "MIT",
  labels = { "streaming", "spark", "parallel" },
}
supported_platforms = { "linux" }
dependencies = { "lua >= 5.4, < 5.5" }
external_dependencies = {
  LIBUV = { header = "uv.h" },
  XXHASH = { header = "xxhash.h" },
  LMDB = { header = "lmdb.h" },
  LZ4 = { header = "lz4.h" },
  RDKAFKA = { header = "librdkafka/rdkafka.h" },
  JANSSON = { header = "jansson.h" },
}
build = {
  type = "cmake",
  variables = {
    CMAKE_BUILD_TYPE = "RelWithDebInfo",
    CMAKE_INSTALL_PREFIX = "$(PREFIX)",
    CMAKE_INSTALL_BINDIR = "$(BINDIR)",
    CMAKE_INSTALL_LIBDIR = "engine", -- what is in lib/ of a rock is taken for modules
    RILLE_LUA_DIR = "$(LUADIR)",
    RILLE_LUA_LIBDIR = "$(LIBDIR)",
    RILLE_TESTS = "OFF",
  },
}
