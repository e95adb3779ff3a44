# What `cmake --install` and the packages hold, in two parts:
#   runtime   the program, the Lua module and library, librille, man page, completions, unit of systemd
#   dev       what a C program is built with: headers, static library, CMake package, rille.pc; annotations and docs

# Headers include each other relative to core/: a C program compiles with -I .../include/rille. Public is rille.h with
# all that it includes.
function(rille_public_headers header)
  get_property(known GLOBAL PROPERTY rille_public)
  if(header IN_LIST known)
    return()
  endif()
  set_property(GLOBAL APPEND PROPERTY rille_public ${header})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/core/${header})
  file(STRINGS ${PROJECT_SOURCE_DIR}/core/${header} includes REGEX "^#include \"")
  foreach(include IN LISTS includes)
    string(REGEX REPLACE "^#include \"(.*)\".*" "\\1" include "${include}")
    rille_public_headers(${include})
  endforeach()
endfunction()

rille_public_headers(rille.h)
get_property(public_headers GLOBAL PROPERTY rille_public)
set(include_dir ${CMAKE_INSTALL_INCLUDEDIR}/rille)
foreach(header IN LISTS public_headers)
  cmake_path(GET header PARENT_PATH folder)
  install(FILES core/${header} DESTINATION ${include_dir}/${folder} COMPONENT dev)
endforeach()

# librille -------------------------------------------------------------------------------------------------------------

install(TARGETS rille_shared EXPORT rille
  LIBRARY COMPONENT runtime NAMELINK_COMPONENT dev
  INCLUDES DESTINATION ${include_dir})
install(TARGETS rille_static EXPORT rille
  ARCHIVE COMPONENT dev
  INCLUDES DESTINATION ${include_dir})

# find_package(rille): the targets rille::rille and rille::rille_static.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/rille)
set_target_properties(rille_shared PROPERTIES EXPORT_NAME rille)
install(EXPORT rille DESTINATION ${package_dir} NAMESPACE rille:: FILE rille-targets.cmake COMPONENT dev)
configure_package_config_file(cmake/rille-config.cmake.in ${PROJECT_BINARY_DIR}/rille-config.cmake
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/rille-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/rille-config.cmake ${PROJECT_BINARY_DIR}/rille-config-version.cmake
  DESTINATION ${package_dir} COMPONENT dev)

# pkg-config rille. The prefix is worked out from where the file lies, so that a tree may be moved.
cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_LIBDIR BASE_DIRECTORY ${CMAKE_INSTALL_PREFIX} OUTPUT_VARIABLE libdir)
string(REGEX REPLACE "[^/]+" ".." libdir_up "${libdir}/pkgconfig")
configure_file(cmake/rille.pc.in rille.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/rille.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)

# The Lua side ---------------------------------------------------------------------------------------------------------

# Where Lua looks for modules, unless told otherwise (a rock has places of its own).
set(RILLE_LUA_DIR ${CMAKE_INSTALL_DATADIR}/lua/5.4 CACHE STRING "Where the Lua library is installed")
set(RILLE_LUA_LIBDIR ${CMAKE_INSTALL_LIBDIR}/lua/5.4 CACHE STRING "Where the Lua module in C is installed")
set(RILLE_UNIT_DIR lib/systemd/system CACHE STRING "Where the unit of systemd is installed")
set(RILLE_ZSH_DIR ${CMAKE_INSTALL_DATADIR}/zsh/site-functions CACHE STRING "Where zsh's completion is installed")
if(RILLE_LUA)
  install(TARGETS rille RUNTIME COMPONENT runtime)
  install(TARGETS rille_module LIBRARY DESTINATION ${RILLE_LUA_LIBDIR}/rille COMPONENT runtime)
  install(DIRECTORY stdlib/rille DESTINATION ${RILLE_LUA_DIR} COMPONENT runtime FILES_MATCHING PATTERN "*.lua")
  install(FILES docs/man/rille.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT runtime)
  install(FILES tools/completion/rille.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
    RENAME rille COMPONENT runtime)
  install(FILES tools/completion/_rille DESTINATION ${RILLE_ZSH_DIR} COMPONENT runtime)
  # A unit names the program by its whole path: the prefix is that of the configuration.
  configure_file(cmake/rille@.service.in rille@.service @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/rille@.service DESTINATION ${RILLE_UNIT_DIR} COMPONENT runtime)

  # Annotations for editors: "workspace.library" of LuaLS names this folder.
  install(DIRECTORY stdlib/meta DESTINATION ${CMAKE_INSTALL_DATADIR}/rille COMPONENT dev
    FILES_MATCHING PATTERN "*.lua" PATTERN core.lua EXCLUDE)
endif()

# Documents ------------------------------------------------------------------------------------------------------------

install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright COMPONENT runtime)
file(GLOB pages CONFIGURE_DEPENDS docs/*.md)
install(FILES README.md CHANGELOG.md ${pages} DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT dev)
install(DIRECTORY scripts docs/embedding DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples COMPONENT dev)
