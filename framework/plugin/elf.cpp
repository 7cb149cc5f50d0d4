#include "plugin/elf.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "retort/error.h"

namespace retort {

namespace {

#if defined(__x86_64__)
constexpr Elf64_Half this_machine = EM_X86_64;
constexpr uint32_t relative = R_X86_64_RELATIVE;
#elif defined(__aarch64__)
constexpr Elf64_Half this_machine = EM_AARCH64;
constexpr uint32_t relative = R_AARCH64_RELATIVE;
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

  struct Symbol {
    std::string name;
    uint64_t address;
  };
  /// The dynamic symbols that are defined in a section.
  std::vector<Symbol> symbols_of(const std::string& section) {
    std::vector<Symbol> out;
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
          out.push_back({text(symbol_names, symbol.st_name), symbol.st_value});
        }
      }
    }
    return out;
  }

  /// What the loader would write at an address, as an address within the file; 0 where it is none of those.
  uint64_t pointer_at(uint64_t address) {
    for (const Elf64_Shdr& table : sections_) {
      if (table.sh_type != SHT_RELA || table.sh_entsize != sizeof(Elf64_Rela)) {
        continue;
      }
      for (const Elf64_Rela& r : array<Elf64_Rela>(table.sh_offset, table.sh_size / sizeof(Elf64_Rela))) {
        if (r.r_offset == address && ELF64_R_TYPE(r.r_info) == relative) {
          return static_cast<uint64_t>(r.r_addend);
        }
      }
    }
    return 0;
  }

  /// The text that ends with a zero at an address; empty where none does.
  std::string text_at(uint64_t address) {
    constexpr uint64_t longest = 1 << 16;
    for (const Elf64_Shdr& s : sections_) {
      if (s.sh_type == SHT_PROGBITS && address >= s.sh_addr && address - s.sh_addr < s.sh_size) {
        const uint64_t from = address - s.sh_addr;
        const std::vector<char> bytes = array<char>(s.sh_offset + from, std::min(longest, s.sh_size - from));
        const auto end = std::find(bytes.begin(), bytes.end(), 0);
        return end == bytes.end() ? "" : std::string(bytes.begin(), end);
      }
    }
    return "";
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

constexpr const char* section_of_names = "retort";

}  // namespace

std::vector<std::string> plugin_symbols(const std::string& path) {
  try {
    std::vector<std::string> out;
    for (const Reader::Symbol& symbol : Reader(path).symbols_of(section_of_names)) {
      out.push_back(symbol.name);
    }
    return out;
  } catch (const RequestError&) {
    throw;
  } catch (const std::exception& e) {
    throw RequestError(path + ": cannot be read as a shared library");
  }
}

std::string plugin_about(const std::string& path) {
  try {
    Reader file(path);
    for (const Reader::Symbol& symbol : file.symbols_of(section_of_names)) {
      if (!symbol.name.starts_with("retort_stamp__")) {
        continue;
      }
      // The symbol is a pointer to the stamp, which holds one to the page.
      const uint64_t stamp = file.pointer_at(symbol.address);
      const uint64_t about = stamp != 0 ? file.pointer_at(stamp + place_of_about) : 0;
      return about != 0 ? file.text_at(about) : "";
    }
  } catch (const std::exception&) {  // what is wrong with a file is told where it is asked for its names
  }
  return "";
}

}  // namespace retort
