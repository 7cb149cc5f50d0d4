# LibTorch, as target retort_torch, and its folder, RETORT_TORCH_ROOT. By hand, as TorchConfig.cmake asks a LibTorch with CUDA,
# which PyPI's is, for CUDA's toolkit: nothing here needs it, and few machines have it.
set(RETORT_TORCH_VERSIONS 2.13 2.14)  # what Retort is built and tested with

find_file(RETORT_TORCH_CONFIG TorchConfig.cmake NO_CACHE PATH_SUFFIXES Torch share/cmake/Torch torch/share/cmake/Torch)
if(NOT RETORT_TORCH_CONFIG)
  message(FATAL_ERROR "LibTorch was not found. Name the folder that holds Torch/TorchConfig.cmake in CMAKE_PREFIX_PATH: "
                      "python3 -c 'import torch; print(torch.utils.cmake_prefix_path)' says where Python's is.")
endif()
get_filename_component(RETORT_TORCH_ROOT "${RETORT_TORCH_CONFIG}/../../../.." ABSOLUTE)
set(RETORT_TORCH_VERSION "of an unknown version")
if(EXISTS ${RETORT_TORCH_ROOT}/include/torch/headeronly/version.h)
  file(STRINGS ${RETORT_TORCH_ROOT}/include/torch/headeronly/version.h lines REGEX "#define TORCH_VERSION_(MAJOR|MINOR) ")
  string(REGEX REPLACE ".*MAJOR ([0-9]+).*MINOR ([0-9]+).*" "\\1.\\2" RETORT_TORCH_VERSION "${lines}")
endif()
if(NOT RETORT_TORCH_VERSION IN_LIST RETORT_TORCH_VERSIONS)
  list(JOIN RETORT_TORCH_VERSIONS " and " known)
  message(FATAL_ERROR "${RETORT_TORCH_ROOT} is LibTorch ${RETORT_TORCH_VERSION}; Retort is built with ${known}.")
endif()

# What the wheels are compiled with, and what their headers look at. As SYSTEM, the headers keep their warnings out of ours.
# Headers of single operators halve the time that a plugin takes to compile.
set(RETORT_TORCH_DEFINITIONS USE_DISTRIBUTED USE_C10D_GLOO USE_RPC USE_TENSORPIPE)
add_library(retort_torch INTERFACE)
target_include_directories(retort_torch SYSTEM INTERFACE ${RETORT_TORCH_ROOT}/include ${RETORT_TORCH_ROOT}/include/torch/csrc/api/include)
target_compile_definitions(retort_torch INTERFACE AT_PER_OPERATOR_HEADERS ${RETORT_TORCH_DEFINITIONS})
target_link_libraries(retort_torch INTERFACE ${RETORT_TORCH_ROOT}/lib/libtorch_cpu.so ${RETORT_TORCH_ROOT}/lib/libc10.so
                      # Of no use by itself, but it brings what there is for CUDA.
                      "-Wl,--push-state,--no-as-needed,${RETORT_TORCH_ROOT}/lib/libtorch.so,--pop-state")
