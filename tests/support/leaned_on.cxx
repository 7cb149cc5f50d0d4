/// The library that the plugin `leans` leans on.
extern "C" __attribute__((visibility("default"))) int leaned_on() { return 1; }
