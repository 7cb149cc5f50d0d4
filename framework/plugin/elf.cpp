#include "plugin/elf.h"

#include <elf.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "retort/error.h"

namespace retort {

namespace {

#if defined(__x86_64__)
constexpr Elf64_Half this_machine = EM_X86_64;
#elif defined(__aarch64__)
constexpr Elf64_Half this_machine = EM_AARCH64;
#endif

// boost::dll::library_info (1.74) would do, but it reads names from the last string table of the file, whichever that
// is, knows no stripped libraries, and trusts every offset. Here each is checked before it is followed.
class Reader {
 public:
  explicit Reader(const std::string& path)
      : path_(path), size_(std::filesystem::file_size(path)), file_(path, std::ios::binary) {
    if (!file_) {
      throw fail("cannot be read");
    }
    read_sections();
  }

  /// The names of the dynamic symbols that are defined in a section.
  std::vector<std::string> symbols_of(const std::string& section) {
    std::vector<std::string> out;
    const std::vector<char> names = strings(sections_[names_index_]);
    size_t wanted = sections_.size();
    for (size_t i = 0; i < sections_.size(); ++i) {
      if (text(names, sections_[i].sh_name) == section) {
        wanted = i;
      }
    }
    for (const Elf64_Shdr& table : sections_) {
      if (table.sh_type != SHT_DYNSYM) {
        continue;
      }
      if (table.sh_entsize != sizeof(Elf64_Sym) || table.sh_size % sizeof(Elf64_Sym) != 0 ||
          table.sh_link >= sections_.size()) {
        throw fail("is truncated or damaged (symbol table)");
      }
      const std::vector<char> symbol_names = strings(sections_[table.sh_link]);
      for (const Elf64_Sym& symbol : array<Elf64_Sym>(table.sh_offset, table.sh_size / sizeof(Elf64_Sym))) {
        const bool visible =
            ELF64_ST_VISIBILITY(symbol.st_other) == STV_DEFAULT && ELF64_ST_BIND(symbol.st_info) != STB_LOCAL;
        if (symbol.st_shndx == wanted && visible) {
          out.push_back(text(symbol_names, symbol.st_name));
        }
      }
    }
    return out;
  }

 private:
  RequestError fail(const std::string& what) const { return RequestError(path_ + ": " + what); }
  bool inside(uint64_t offset, uint64_t count) const { return offset <= size_ && count <= size_ - offset; }

  template <class T>
  std::vector<T> array(uint64_t offset, uint64_t count) {
    if (count > size_ / sizeof(T) || !inside(offset, count * sizeof(T))) {
      throw fail("is truncated or damaged");
    }
    std::vector<T> out(count);
    file_.seekg(static_cast<std::streamoff>(offset));
    file_.read(reinterpret_cast<char*>(out.data()), static_cast<std::streamsize>(count * sizeof(T)));
    if (!file_) {
      throw fail("is truncated or damaged");
    }
    return out;
  }

  void read_sections() {
    if (size_ == 0) {
      throw fail("is empty; expected a shared library");
    }
    if (size_ < sizeof(Elf64_Ehdr)) {
      throw fail("is too short for a shared library");
    }
    const Elf64_Ehdr header = array<Elf64_Ehdr>(0, 1)[0];
    if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
      throw fail("is no shared library (no ELF header)");
    }
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
        header.e_machine != this_machine) {
      throw fail("is a library for another processor");
    }
    if (header.e_type != ET_DYN) {
      throw fail("is no shared library (ELF, but of another type)");
    }
    if (header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shstrndx >= header.e_shnum ||
        !inside(header.e_shoff, uint64_t{header.e_shnum} * sizeof(Elf64_Shdr))) {
      throw fail("is truncated or damaged (section table)");
    }
    sections_ = array<Elf64_Shdr>(header.e_shoff, header.e_shnum);
    names_index_ = header.e_shstrndx;
    for (const Elf64_Shdr& s : sections_) {
      if (s.sh_type != SHT_NOBITS && s.sh_type != SHT_NULL && !inside(s.sh_offset, s.sh_size)) {
        throw fail("is truncated or damaged (a section reaches beyond the file)");
      }
    }
  }

  std::vector<char> strings(const Elf64_Shdr& section) {
    std::vector<char> bytes = array<char>(section.sh_offset, section.sh_size);
    if (section.sh_type != SHT_STRTAB || bytes.empty() || bytes.back() != 0) {
      throw fail("is truncated or damaged (string table)");
    }
    return bytes;
  }

  std::string text(const std::vector<char>& table, uint64_t offset) const {
    if (offset >= table.size()) {
      throw fail("is truncated or damaged (names)");
    }
    return &table[offset];
  }

  const std::string& path_;
  uint64_t size_;
  std::ifstream file_;
  std::vector<Elf64_Shdr> sections_;
  size_t names_index_ = 0;
};

}  // namespace

std::vector<std::string> plugin_symbols(const std::string& path) {
  try {
    return Reader(path).symbols_of("retort");
  } catch (const RequestError&) {
    throw;
  } catch (const std::exception& e) {
    throw RequestError(path + ": cannot be read as a shared library");
  }
}

}  // namespace retort
