# retort_add_plugin(NAME SOURCE …): builds one plugin. The library is named after the first source, NAME.so, and
# documented by that source's opening `///` comment. It finds libraries of its own beside itself.
function(retort_add_plugin name source)
  add_library(${name} MODULE ${source} ${ARGN})
  target_link_libraries(${name} PRIVATE Retort::sdk)
  get_filename_component(output ${source} NAME_WE)
  set_target_properties(${name} PROPERTIES PREFIX "" OUTPUT_NAME ${output} CXX_VISIBILITY_PRESET hidden
                        VISIBILITY_INLINES_HIDDEN ON CXX_STANDARD 20 BUILD_RPATH "$ORIGIN" INSTALL_RPATH "$ORIGIN")
  set(about ${CMAKE_CURRENT_BINARY_DIR}/${name}_about.inc)
  get_filename_component(path ${source} ABSOLUTE)
  set(extract ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/ExtractAbout.cmake)
  add_custom_command(OUTPUT ${about} COMMAND ${CMAKE_COMMAND} -DSOURCE=${path} -DOUTPUT=${about} -P ${extract}
                     DEPENDS ${path} ${extract} VERBATIM)
  target_sources(${name} PRIVATE ${about})
  target_compile_definitions(${name} PRIVATE RETORT_PLUGIN_ABOUT="${name}_about.inc")
  target_include_directories(${name} PRIVATE ${CMAKE_CURRENT_BINARY_DIR})
  set_property(GLOBAL APPEND PROPERTY RETORT_PLUGIN_TARGETS ${name})
endfunction()

# retort_add_plugin_test(NAME SOURCE …): a test of plugin NAME by doctest, which links the plugin's own objects.
function(retort_add_plugin_test name)
  find_path(RETORT_DOCTEST_INCLUDE_DIR doctest/doctest.h)
  if(NOT RETORT_DOCTEST_INCLUDE_DIR)
    message(STATUS "Retort: no test of ${name}, as doctest was not found (Debian: doctest-dev)")
    return()
  endif()
  add_executable(${name}_test ${ARGN} $<TARGET_OBJECTS:${name}>)
  target_link_libraries(${name}_test PRIVATE Retort::conformance Retort::sdk $<TARGET_PROPERTY:${name},LINK_LIBRARIES>)
  target_include_directories(${name}_test SYSTEM PRIVATE ${RETORT_DOCTEST_INCLUDE_DIR})
  add_test(NAME ${name} COMMAND ${name}_test)
endfunction()
