# The installed tree: bin/, lib/, include/, share/retort/ and, unless told otherwise, libtorch/. It can be moved.
# The build tree has the same shape, so that find_package(Retort) and `retort new` work from it too.
file(STRINGS "${RETORT_TORCH_ROOT}/include/torch/headeronly/version.h" lines REGEX "#define TORCH_VERSION_(MAJOR|MINOR) ")
string(REGEX REPLACE ".*MAJOR ([0-9]+).*MINOR ([0-9]+).*" "\\1.\\2" RETORT_TORCH_VERSION "${lines}")
get_property(RETORT_TORCH_DEFINITIONS TARGET torch PROPERTY INTERFACE_COMPILE_DEFINITIONS)

set(config ${PROJECT_SOURCE_DIR}/sdk/cmake/RetortConfig.cmake.in)
set(RETORT_SDK_INCLUDE ${PROJECT_SOURCE_DIR}/sdk/include)
configure_file(${config} ${PROJECT_BINARY_DIR}/lib/cmake/Retort/RetortConfig.cmake @ONLY)
set(RETORT_SDK_INCLUDE "\${RETORT_PREFIX}/include")
if(RETORT_INSTALL_TORCH)
  set(RETORT_TORCH_ROOT_KEPT "${RETORT_TORCH_ROOT}")
  set(RETORT_TORCH_ROOT "")
endif()
configure_file(${config} ${PROJECT_BINARY_DIR}/install/RetortConfig.cmake @ONLY)
if(RETORT_INSTALL_TORCH)
  set(RETORT_TORCH_ROOT "${RETORT_TORCH_ROOT_KEPT}")
endif()
include(CMakePackageConfigHelpers)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/lib/cmake/Retort/RetortConfigVersion.cmake COMPATIBILITY SameMinorVersion)
foreach(file RetortPlugin.cmake ExtractAbout.cmake)
  configure_file(${PROJECT_SOURCE_DIR}/sdk/cmake/${file} ${PROJECT_BINARY_DIR}/lib/cmake/Retort/${file} COPYONLY)
endforeach()
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/share/retort)
foreach(folder sdk/template configs)
  get_filename_component(name ${folder} NAME)
  file(CREATE_LINK ${PROJECT_SOURCE_DIR}/${folder} ${PROJECT_BINARY_DIR}/share/retort/${name} SYMBOLIC)
endforeach()

install(DIRECTORY ${PROJECT_SOURCE_DIR}/sdk/include/ DESTINATION include)
install(FILES ${PROJECT_BINARY_DIR}/install/RetortConfig.cmake ${PROJECT_BINARY_DIR}/lib/cmake/Retort/RetortConfigVersion.cmake
              ${PROJECT_SOURCE_DIR}/sdk/cmake/RetortPlugin.cmake ${PROJECT_SOURCE_DIR}/sdk/cmake/ExtractAbout.cmake
        DESTINATION lib/cmake/Retort)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/sdk/template ${PROJECT_SOURCE_DIR}/configs DESTINATION share/retort)
install(FILES ${PROJECT_SOURCE_DIR}/sdk/README.md DESTINATION share/doc/retort)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/sdk/reference DESTINATION share/doc/retort)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION share/doc/retort)
if(RETORT_INSTALL_TORCH)
  install(DIRECTORY ${RETORT_TORCH_ROOT}/lib/ DESTINATION libtorch/lib USE_SOURCE_PERMISSIONS
          FILES_MATCHING PATTERN "*.so*" PATTERN "*_test.so" EXCLUDE PATTERN "*_with_compiler.so" EXCLUDE
          PATTERN "libshm" EXCLUDE PATTERN "libshm_windows" EXCLUDE)
  install(DIRECTORY ${RETORT_TORCH_ROOT}/include DESTINATION libtorch)
endif()

set(CPACK_GENERATOR TGZ)
set(CPACK_PACKAGE_FILE_NAME "retort-${PROJECT_VERSION}-${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR}")
set(CPACK_THREADS 0)
set(CPACK_STRIP_FILES OFF)
include(CPack)
