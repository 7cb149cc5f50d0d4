# Headers that are read once for many files. GCC takes a precompiled header only where options and the macros that it uses are
# the same, so there is one for plugins, one for what also needs modules and JSON, and the tests have their own.

# retort_precompile(NAME LINK target… HEADERS header…): a set of headers that other targets take by retort_use(TARGET NAME).
function(retort_precompile name)
  cmake_parse_arguments(PARSE_ARGV 1 set "" "" "LINK;HEADERS")
  set(source ${PROJECT_BINARY_DIR}/precompiled/${name}.cpp)
  file(CONFIGURE OUTPUT ${source} CONTENT "// Something to compile beside the headers.\n")
  add_library(${name} OBJECT ${source})
  target_link_libraries(${name} PRIVATE ${set_LINK})
  target_precompile_headers(${name} PRIVATE ${set_HEADERS})
endfunction()

function(retort_use target name)
  target_precompile_headers(${target} REUSE_FROM ${name})
endfunction()

# For a file whose options differ: it reads its headers itself.
function(retort_openmp_sources target)
  target_link_libraries(${target} PRIVATE $<LINK_ONLY:OpenMP::OpenMP_CXX>)
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS "${OpenMP_CXX_FLAGS}" SKIP_PRECOMPILE_HEADERS ON)
endfunction()
