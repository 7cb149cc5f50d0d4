#include "io/tensor_header.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

namespace retort {

namespace {

constexpr TensorType types[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2},
                                {"I64", 8}, {"I32", 4}, {"U8", 1},  {"BOOL", 1}};

using Header = nlohmann::json;  // finds a name among many thousands at once

std::runtime_error wrong(const std::string& name, const std::string& what) {
  return std::runtime_error("tensor '" + name.substr(0, 80) + "' " + what);
}

// A whole number that is not negative; JSON has others.
uint64_t count_of(const Header& json, const std::string& name, const char* what) {
  if (!json.is_number_unsigned()) {
    throw wrong(name, std::string("has ") + what + " that is no count");
  }
  return json.get<uint64_t>();
}

TensorEntry read_entry(const std::string& name, const Header& json, uint64_t data_size) {
  if (!json.is_object() || json.size() != 3 || !json.contains("dtype") || !json.contains("shape") ||
      !json.contains("data_offsets")) {
    throw wrong(name, "is not described by dtype, shape and data_offsets alone");
  }
  const Header &dtype = json["dtype"], &shape = json["shape"], &offsets = json["data_offsets"];
  if (!dtype.is_string() || !shape.is_array() || !offsets.is_array() || offsets.size() != 2) {
    throw wrong(name, "has a dtype, shape or data_offsets of another type than the format's");
  }
  const auto type_name = dtype.get<std::string>();
  const auto* type =
      std::find_if(std::begin(types), std::end(types), [&](const TensorType& t) { return type_name == t.name; });
  if (type == std::end(types)) {
    throw UnsupportedType("tensor '" + name.substr(0, 80) + "' is of type " + type_name.substr(0, 40) +
                          ", which is not supported");
  }
  TensorEntry entry{name, type, {}, count_of(offsets[0], name, "an offset"), count_of(offsets[1], name, "an offset")};
  uint64_t bytes = type->size;
  uint64_t least = bytes;  // of a tensor of these sizes, those of zero left out: LibTorch multiplies these too
  for (const Header& size : shape) {
    const uint64_t n = count_of(size, name, "a size");
    constexpr uint64_t most = uint64_t{1} << 62;
    if (n > most / least) {
      throw wrong(name, "has a shape that does not fit the file");
    }
    bytes *= n;
    least *= std::max<uint64_t>(n, 1);
    entry.shape.push_back(static_cast<int64_t>(n));
  }
  if (bytes > data_size) {
    throw wrong(name, "has a shape that does not fit the file");
  }
  constexpr size_t most_dimensions = 64;
  if (entry.shape.size() > most_dimensions) {
    throw wrong(name, "has more than 64 dimensions");
  }
  if (entry.begin > entry.end || entry.end > data_size || entry.end - entry.begin != bytes) {
    throw wrong(name, "has offsets that do not fit its shape, or reach beyond the file");
  }
  return entry;
}

// The header as JSON; a name that is there twice is an error, which JSON leaves open.
Header parse_header(const std::string& text) {
  std::vector<std::set<std::string>> open;
  const auto unique = [&open](int depth, Header::parse_event_t event, Header& parsed) {
    constexpr int deepest = 8;
    if (depth > deepest) {
      throw std::runtime_error("its header is nested too deeply");
    }
    if (event == Header::parse_event_t::object_start) {
      open.emplace_back();
    } else if (event == Header::parse_event_t::object_end) {
      open.pop_back();
    } else if (event == Header::parse_event_t::key && !open.back().insert(parsed.get<std::string>()).second) {
      throw std::runtime_error("its header names '" + parsed.get<std::string>().substr(0, 80) + "' twice");
    }
    return true;
  };
  if (text.empty() || text[0] != '{') {
    throw std::runtime_error("its header does not begin with {");
  }
  return Header::parse(text, unique);
}

// Every byte of the data belongs to one tensor.
void check_coverage(std::vector<TensorEntry> entries, uint64_t data_size) {
  std::sort(entries.begin(), entries.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t at = 0;
  for (const TensorEntry& e : entries) {
    if (e.begin != at) {
      throw wrong(e.name, e.begin < at ? "shares bytes with another" : "leaves a gap before it");
    }
    at = e.end;
  }
  if (at != data_size) {
    throw std::runtime_error("it has " + std::to_string(data_size - at) + " bytes that belong to no tensor");
  }
}

}  // namespace

const TensorType* tensor_type(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(types), std::end(types), [&](const TensorType& t) { return name == t.name; });
  return found == std::end(types) ? nullptr : found;
}

TensorHeader read_tensor_header(const std::string& text, uint64_t data_size) {
  TensorHeader out;
  const Header header = parse_header(text);
  for (const auto& [key, json] : header.items()) {
    if (key == "__metadata__") {
      out.metadata = json.get<std::map<std::string, std::string>>();
    } else {
      out.entries.push_back(read_entry(key, json, data_size));
    }
  }
  check_coverage(out.entries, data_size);
  return out;
}

}  // namespace retort
