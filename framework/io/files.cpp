#include "io/files.h"

#include <openssl/evp.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <vector>

#include "retort/error.h"

namespace retort {

namespace fs = std::filesystem;

namespace {
constexpr const char* half = ".part";  // and the process's number
}

void remove_half_written(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> left;
  for (fs::directory_iterator i(folder, error), end; !error && i != end; i.increment(error)) {
    const std::string ending = i->path().extension().string();
    if (ending.starts_with(half) && ending.find_first_not_of("0123456789", std::strlen(half)) == std::string::npos) {
      left.push_back(i->path());
    }
  }
  for (const fs::path& path : left) {
    fs::remove(path, error);
  }
}

void write_atomically(const fs::path& path, const std::function<void(std::ostream&)>& write) {
  const fs::path beside = path.string() + half + std::to_string(getpid());
  errno = 0;
  std::ofstream file(beside, std::ios::binary | std::ios::trunc);
  const auto fail = [&] {
    const std::string reason = errno != 0 ? std::strerror(errno) : "writing failed";
    file.close();
    std::error_code ignored;
    fs::remove(beside, ignored);
    return Error(path.string() + ": cannot be written: " + reason);
  };
  if (!file) {
    throw fail();
  }
  write(file);
  file.close();
  if (!file) {
    throw fail();
  }
  std::error_code error;
  fs::rename(beside, path, error);
  if (error) {
    errno = error.value();
    throw fail();
  }
}

void write_text(const fs::path& path, const std::string& text) {
  write_atomically(path, [&](std::ostream& out) { out << text; });
}

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) {
    throw Error(path.string() + ": cannot be made: " + error.message());
  }
}

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  if (file && file.peek() != std::ifstream::traits_type::eof()) {  // copying nothing would count as a failure
    text << file.rdbuf();
  }
  if (!file.is_open() || file.bad() || text.fail() || !fs::is_regular_file(path)) {
    throw RequestError(path.string() + ": cannot be read");
  }
  return text.str();
}

namespace {

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) { EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr); }
  void add(const char* data, size_t size) { EVP_DigestUpdate(context_.get(), data, size); }
  std::string hexadecimal() {
    unsigned char digest[EVP_MAX_MD_SIZE] = {};
    unsigned int size = 0;
    EVP_DigestFinal_ex(context_.get(), digest, &size);
    constexpr char hex[] = "0123456789abcdef";
    std::string out;
    for (unsigned int i = 0; i < size; ++i) {
      out += hex[digest[i] >> 4];
      out += hex[digest[i] & 15];
    }
    return out;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

}  // namespace

std::string sha256_of_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  Sha256 sum;
  char buffer[1 << 16];
  while (file.read(buffer, sizeof buffer), file.gcount() > 0) {
    sum.add(buffer, static_cast<size_t>(file.gcount()));
  }
  return sum.hexadecimal();
}

const std::string& sha256_of_library(const fs::path& path) {
  static std::mutex mutex;
  static std::map<std::string, std::string> known;
  const std::lock_guard lock(mutex);
  const auto found = known.find(path.string());
  return found != known.end() ? found->second : known[path.string()] = sha256_of_file(path);
}

std::string sha256_of_text(const std::string& text) {
  Sha256 sum;
  sum.add(text.data(), text.size());
  return sum.hexadecimal();
}

}  // namespace retort
