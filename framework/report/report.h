/// What a person looks at: the table in the terminal, and one HTML page that opens offline.
#pragma once

#include <filesystem>
#include <string>

#include "report/results.h"

namespace retort {

/// Writes report.html from the results, pictures and logs in a run's folder.
void write_report(const std::filesystem::path& folder);

/// The same page, of results as they are now. With a `version` it is one that a server answers, and asks it for newer
/// ones.
std::string report_page(const std::filesystem::path& folder, const Results& results, const std::string& version = "");

/// The results as a table of plain text, the teacher's row on top.
std::string terminal_table(const std::filesystem::path& folder);

}  // namespace retort
