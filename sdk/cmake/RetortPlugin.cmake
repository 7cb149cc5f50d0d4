# retort_add_plugin(name source.cpp …): builds one plugin, name.so, whose documentation is the source's opening `///` comment.

function(retort_add_plugin name source)
  add_library(${name} MODULE ${source} ${ARGN})
  target_link_libraries(${name} PRIVATE Retort::sdk)
  get_filename_component(output ${source} NAME_WE)
  set_target_properties(${name} PROPERTIES PREFIX "" OUTPUT_NAME ${output} CXX_VISIBILITY_PRESET hidden
                        VISIBILITY_INLINES_HIDDEN ON CXX_STANDARD 20)
  set(about ${CMAKE_CURRENT_BINARY_DIR}/${name}_about.inc)
  get_filename_component(path ${source} ABSOLUTE)
  add_custom_command(OUTPUT ${about}
    COMMAND ${CMAKE_COMMAND} -DSOURCE=${path} -DOUTPUT=${about} -P ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/ExtractAbout.cmake
    DEPENDS ${path} ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/ExtractAbout.cmake VERBATIM)
  target_sources(${name} PRIVATE ${about})
  target_compile_definitions(${name} PRIVATE RETORT_PLUGIN_ABOUT="${name}_about.inc")
  target_include_directories(${name} PRIVATE ${CMAKE_CURRENT_BINARY_DIR})
  set_property(GLOBAL APPEND PROPERTY RETORT_PLUGIN_TARGETS ${name})
endfunction()
