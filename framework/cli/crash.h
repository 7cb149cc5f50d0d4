/// What happens where no exception can help: a failed assertion, a crash or an escaped exception becomes one line that
/// names the plugin whose code ran, and exit code 1. A mapped file that shrinks while it is in use is one that names
/// the file.
#pragma once

namespace retort {

/// To be called once, at the start of the program. Under AddressSanitizer, signals are left to it.
void one_line_for_crashes();

}  // namespace retort
