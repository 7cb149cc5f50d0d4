#include "archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <retort/error.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>

namespace retort {

namespace {

// What one file of an archive may take, as packed bytes can unpack to very many.
constexpr uint64_t most_bytes = uint64_t{1} << 30;

bool ends_with(const std::string& name, const char* ending) {
  const size_t length = std::strlen(ending);
  return name.size() > length && std::equal(name.end() - static_cast<int64_t>(length), name.end(), ending,
                                            [](unsigned char a, char b) { return std::tolower(a) == b; });
}

// libarchive does not compare the checksum of gzip, so a .tar.gz goes through zlib, which passes plain bytes on too.
class Unzipped {
 public:
  explicit Unzipped(const std::string& path) : file_(gzopen(path.c_str(), "rb")), buffer_(size_t{1} << 17) {
    if (file_ != nullptr) {
      gzbuffer(file_, 1U << 17);
    }
  }
  ~Unzipped() { gzclose(file_); }
  Unzipped(const Unzipped&) = delete;
  Unzipped& operator=(const Unzipped&) = delete;

  static la_ssize_t read(archive* reader, void* self, const void** data) {
    auto& from = *static_cast<Unzipped*>(self);
    const int got = gzread(from.file_, from.buffer_.data(), static_cast<unsigned>(from.buffer_.size()));
    if (got < 0) {
      archive_set_error(reader, EIO, "its compressed data are damaged or cut off");
      return ARCHIVE_FATAL;
    }
    *data = from.buffer_.data();
    return got;
  }

  // Whether all that follows is sound, the checksum at the very end included.
  bool sound_to_the_end() {
    int got = 1;
    while (got > 0) {
      got = gzread(file_, buffer_.data(), static_cast<unsigned>(buffer_.size()));
    }
    int code = Z_OK;
    gzerror(file_, &code);
    return got == 0 && (code == Z_OK || code == Z_STREAM_END);
  }

 private:
  gzFile file_;
  std::vector<uint8_t> buffer_;
};

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path), archive_(archive_read_new()) {
    int result = ARCHIVE_OK;
    if (ends_with(path, ".zip")) {
      // By the directory at the end, which a file that is cut off lacks.
      archive_read_support_format_zip_seekable(archive_);
      result = archive_read_open_filename(archive_, path.c_str(), size_t{1} << 17);
    } else {
      unzipped_.emplace(path);
      archive_read_support_format_tar(archive_);
      archive_read_support_format_gnutar(archive_);
      result = archive_read_open(archive_, &*unzipped_, nullptr, Unzipped::read, nullptr);
    }
    if (result != ARCHIVE_OK) {
      const RequestError error = fail();
      archive_read_free(archive_);
      throw error;
    }
  }
  ~Reader() { archive_read_free(archive_); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  // Null at the end.
  archive_entry* next() {
    archive_entry* entry = nullptr;
    const int result = archive_read_next_header(archive_, &entry);
    if (result == ARCHIVE_EOF) {
      return nullptr;
    }
    if (result != ARCHIVE_OK && result != ARCHIVE_WARN) {  // it warns of names that this locale cannot spell
      throw fail();
    }
    return entry;
  }

  // False where the file is damaged, or its checksum is wrong; `fatal` where the reader cannot go on.
  bool read(std::vector<uint8_t>& to, bool& fatal) {
    to.clear();
    for (;;) {
      const size_t old = to.size();
      to.resize(old + (size_t{1} << 16));
      const la_ssize_t got = archive_read_data(archive_, to.data() + old, to.size() - old);
      to.resize(old + static_cast<size_t>(std::max<la_ssize_t>(got, 0)));
      if (got == 0) {
        return true;
      }
      if (got < 0 || to.size() > most_bytes) {
        fatal = got == ARCHIVE_FATAL;
        return false;
      }
    }
  }

  std::string message() const {
    const char* text = archive_error_string(archive_);
    return text != nullptr ? text : "it cannot be read";
  }
  RequestError fail() const { return RequestError(path_ + ": is a damaged archive: " + message()); }
  bool sound_to_the_end() { return !unzipped_ || unzipped_->sound_to_the_end(); }
  bool is_zip() const { return !unzipped_; }

 private:
  std::string path_;
  std::optional<Unzipped> unzipped_;
  archive* archive_;
};

std::string path_of(archive_entry* entry) {
  const char* name = archive_entry_pathname_utf8(entry);
  name = name != nullptr ? name : archive_entry_pathname(entry);
  std::string out = name != nullptr ? name : "";
  while (out.starts_with("./")) {
    out.erase(0, 2);
  }
  while (out.ends_with('/')) {
    out.pop_back();
  }
  return out;
}

}  // namespace

Spool::Spool() {
  std::string path = std::filesystem::temp_directory_path() / "retort-XXXXXX";
  file_ = mkostemp(path.data(), O_CLOEXEC);
  if (file_ < 0) {
    throw Error(path + ": no temporary file can be made: " + std::strerror(errno));
  }
  unlink(path.c_str());
}

Spool::~Spool() { close(file_); }

uint64_t Spool::append(const std::vector<uint8_t>& bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t put = pwrite(file_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(end_ + done));
    if (put < 0 && errno != EINTR) {
      throw Error(std::string("the pictures of an archive do not fit into the folder of temporary files: ") +
                  std::strerror(errno));
    }
    done += static_cast<size_t>(std::max<ssize_t>(put, 0));
  }
  end_ += bytes.size();
  return end_ - bytes.size();
}

std::vector<uint8_t> Spool::read(uint64_t offset, uint64_t size) const {
  std::vector<uint8_t> out(size);
  for (size_t done = 0; done < size;) {
    const ssize_t got = pread(file_, out.data() + done, size - done, static_cast<off_t>(offset + done));
    if (got == 0 || (got < 0 && errno != EINTR)) {
      throw Error("the temporary file with the pictures of an archive cannot be read");
    }
    done += static_cast<size_t>(std::max<ssize_t>(got, 0));
  }
  return out;
}

bool is_archive_name(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  return ends_with(name, ".zip") || ends_with(name, ".tar") || ends_with(name, ".tar.gz") || ends_with(name, ".tgz");
}

ArchiveContents read_archive(const std::string& path, bool (*wanted)(const std::string&)) {
  ArchiveContents out;
  out.spool = std::make_shared<Spool>();
  std::map<std::string, size_t> known;  // for hard links
  std::vector<uint8_t> bytes;
  auto reader = std::make_unique<Reader>(path);
  size_t passed = 0;
  while (archive_entry* entry = reader->next()) {
    ++passed;
    const std::string name = path_of(entry);
    const auto type = archive_entry_filetype(entry);
    if (name.empty() || name == ".") {
      continue;
    }
    ArchivedFile file;
    file.path = name;
    file.is_folder = type == AE_IFDIR;
    const char* link = archive_entry_hardlink(entry);
    if (link != nullptr) {
      std::string target = link;
      target = target.starts_with("./") ? target.substr(2) : target;
      const auto it = known.find(target);
      if (it != known.end()) {
        file = out.files[it->second];
        file.path = name;
      }
    } else if (type == AE_IFREG && wanted(name)) {
      bool fatal = false;
      if (reader->read(bytes, fatal)) {
        file.offset = out.spool->append(bytes);
        file.size = bytes.size();
      } else if (fatal && !reader->is_zip()) {
        throw reader->fail();
      } else {
        file.damage = reader->message();
        if (fatal) {  // the files behind it can still be had, from the directory of the zip
          reader = std::make_unique<Reader>(path);
          for (size_t i = 0; i < passed; ++i) {
            reader->next();
          }
        }
      }
    }
    known[name] = out.files.size();
    out.files.push_back(std::move(file));
  }
  if (!reader->sound_to_the_end()) {
    throw RequestError(path + ": is a damaged archive: its checksum is wrong, or it is cut off");
  }
  return out;
}

}  // namespace retort
