# The installed tree: bin/, lib/, include/, share/retort/ and, unless told otherwise, libtorch/. It can be moved.
# The build tree has the same shape, so that find_package(Retort) and `retort new` work from it too.

# Headers and LibTorch are elsewhere in the installed tree than in the build tree.
function(retort_write_config output)
  cmake_parse_arguments(PARSE_ARGV 1 RETORT "" "SDK_INCLUDE;INCLUDE;TORCH_HINT" "")
  configure_file(${PROJECT_SOURCE_DIR}/sdk/cmake/RetortConfig.cmake.in ${output} @ONLY)
endfunction()
retort_write_config(${PROJECT_BINARY_DIR}/lib/cmake/Retort/RetortConfig.cmake SDK_INCLUDE ${PROJECT_SOURCE_DIR}/sdk/include
                    INCLUDE ${PROJECT_SOURCE_DIR}/framework/include
                    TORCH_HINT ${RETORT_TORCH_ROOT})
if(RETORT_INSTALL_TORCH)
  set(hint "")  # within the tree
else()
  set(hint ${RETORT_TORCH_ROOT})
endif()
retort_write_config(${PROJECT_BINARY_DIR}/install/RetortConfig.cmake SDK_INCLUDE "\${RETORT_PREFIX}/include" INCLUDE "\${RETORT_PREFIX}/include"
                    TORCH_HINT "${hint}")
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
install(FILES ${PROJECT_SOURCE_DIR}/sdk/README.md ${PROJECT_SOURCE_DIR}/sdk/ABI.md ${PROJECT_SOURCE_DIR}/sdk/names.md
        DESTINATION share/doc/retort)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/sdk/reference DESTINATION share/doc/retort)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION share/doc/retort)
if(RETORT_INSTALL_TORCH)
  install(DIRECTORY ${RETORT_TORCH_ROOT}/lib/ DESTINATION libtorch/lib USE_SOURCE_PERMISSIONS COMPONENT libtorch
          FILES_MATCHING PATTERN "*.so*" PATTERN "*_test.so" EXCLUDE PATTERN "*_with_compiler.so" EXCLUDE
          PATTERN "libshm" EXCLUDE PATTERN "libshm_windows" EXCLUDE)
  install(DIRECTORY ${RETORT_TORCH_ROOT}/include DESTINATION libtorch COMPONENT libtorch)
  # A wheel's LibTorch with CUDA looks for CUDA's libraries beside its own folder.
  if(EXISTS ${RETORT_TORCH_ROOT}/lib/libtorch_cuda.so AND RETORT_TORCH_ROOT MATCHES "-packages/torch$" AND EXISTS ${RETORT_TORCH_ROOT}/../nvidia)
    install(DIRECTORY ${RETORT_TORCH_ROOT}/../nvidia/ DESTINATION nvidia USE_SOURCE_PERMISSIONS COMPONENT libtorch FILES_MATCHING PATTERN "*.so*")
  endif()
endif()

set(CPACK_GENERATOR TGZ)
set(CPACK_PACKAGE_FILE_NAME "retort-${PROJECT_VERSION}-${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR}")
set(CPACK_THREADS 0)
set(CPACK_STRIP_FILES OFF)
include(CPack)
