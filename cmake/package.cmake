# Debian packages, by `tools/package`: rille (what jobs need) and rille-dev (what C programs need besides).
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME rille)
set(CPACK_PACKAGE_VENDOR "The Rille authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "stream engine programmed in Lua")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)

set(CPACK_COMPONENTS_ALL runtime dev)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "The Rille authors <rille@localhost>")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME rille)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION interpreters)
set(CPACK_COMPONENT_RUNTIME_DESCRIPTION
  "Streaming jobs as Lua scripts, with the DStream operations of Spark Streaming,
on all cores of one machine: the rille program, the Lua 5.4 module \"rille\" and
the shared library librille.")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SUGGESTS "lua5.4, rille-dev")
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)

set(CPACK_DEBIAN_DEV_PACKAGE_NAME rille-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_COMPONENT_DEV_DESCRIPTION
  "What C programs need that embed Rille or extend it: headers, the static
library, a CMake package and a pkg-config file; annotations of the Lua library
for editors, the reference and examples.")
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "rille (= ${PROJECT_VERSION}), libuv1-dev, libxxhash-dev, liblmdb-dev, liblz4-dev, librdkafka-dev")

include(CPack)
