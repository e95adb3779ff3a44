# rille_flags: how everything of ours is compiled, and where it includes from.
add_library(rille_flags INTERFACE)

target_compile_definitions(rille_flags INTERFACE _GNU_SOURCE)
target_include_directories(rille_flags INTERFACE
  ${PROJECT_SOURCE_DIR}/core ${PROJECT_SOURCE_DIR}/lua ${PROJECT_SOURCE_DIR})
target_compile_options(rille_flags INTERFACE -Wall -Wextra -Wpedantic $<$<BOOL:${RILLE_WERROR}>:-Werror>)

# librille exports the core; calls inside it need not go through its symbol table all the same. (clang's default)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  target_compile_options(rille_flags INTERFACE -fno-semantic-interposition)
endif()

if(RILLE_SANITIZE)
  set(sanitize -fsanitize=${RILLE_SANITIZE} -fno-sanitize-recover=all)
  target_compile_options(rille_flags INTERFACE ${sanitize} -fno-omit-frame-pointer)
  target_link_options(rille_flags INTERFACE ${sanitize})
endif()
if(RILLE_SANITIZE MATCHES "thread")
  # Before the C library in every program (spec/sanitizer/c11_threads.c says why).
  add_library(rille_c11_threads SHARED spec/sanitizer/c11_threads.c)
  target_compile_definitions(rille_c11_threads PRIVATE _GNU_SOURCE)
  target_compile_options(rille_c11_threads PRIVATE ${sanitize} -fno-omit-frame-pointer)
  target_link_options(rille_c11_threads PRIVATE ${sanitize})
  target_link_libraries(rille_flags INTERFACE -Wl,--push-state,--no-as-needed rille_c11_threads -Wl,--pop-state)
endif()
if(RILLE_FUZZ)
  target_compile_options(rille_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

