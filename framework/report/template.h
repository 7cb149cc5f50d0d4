/// The page's template and what it takes so that nothing of a user's text is ever markup, template or script.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace retort {

/// Puts what `value` gives for each {{name}} of the template in its place. What was put in is not looked at again.
std::string fill(std::string_view page, const std::function<std::string(std::string_view name)>& value);

std::string escape_html(const std::string& text);

/// JSON for a <script type="application/json">, which nothing in it can end. Bytes that are no UTF-8 are replaced.
std::string embeddable(const Json& json);

std::string base64(std::string_view bytes);

/// A Content-Security-Policy under which these inline scripts and styles work, and nothing else.
std::string policy(const std::vector<std::string_view>& scripts, std::string_view style);

}  // namespace retort
