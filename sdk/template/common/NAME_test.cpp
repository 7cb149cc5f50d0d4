// Everything that any @kind@ must satisfy; `ctest` in the build folder runs it. Add what is special to yours.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
#include <retort/doctest.h>

RETORT_CHECK_PLUGIN(@kind@, @name@)
