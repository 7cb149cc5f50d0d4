/// What leaves a library: everything else is hidden.
#pragma once

#define RETORT_API __attribute__((visibility("default")))
