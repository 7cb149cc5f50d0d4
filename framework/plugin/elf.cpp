#include "plugin/elf.h"

#include <elf.h>

#include <boost/dll/library_info.hpp>
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

// boost::dll::library_info trusts the offsets in the file, so every one that it follows is checked here first.
class Checker {
 public:
  explicit Checker(const std::string& path)
      : path_(path), size_(std::filesystem::file_size(path)), file_(path, std::ios::binary) {
    if (!file_) {
      throw fail("cannot be read");
    }
  }

  void check() {
    if (size_ == 0) {
      throw fail("is empty; expected a shared library");
    }
    Elf64_Ehdr header{};
    if (size_ < sizeof header) {
      throw fail("is too short for a shared library");
    }
    read(&header, 0, sizeof header);
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
    if (header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shnum == 0 || header.e_shstrndx >= header.e_shnum ||
        !inside(header.e_shoff, uint64_t{header.e_shnum} * sizeof(Elf64_Shdr))) {
      throw fail("is truncated or damaged (section table)");
    }
    sections_.resize(header.e_shnum);
    read(sections_.data(), header.e_shoff, sections_.size() * sizeof(Elf64_Shdr));
    for (const Elf64_Shdr& s : sections_) {
      check_section(s);
    }
    check_names(sections_[header.e_shstrndx]);
  }

 private:
  RequestError fail(const std::string& what) const { return RequestError(path_ + ": " + what); }
  bool inside(uint64_t offset, uint64_t count) const { return offset <= size_ && count <= size_ - offset; }

  void read(void* to, uint64_t offset, uint64_t count) {
    file_.seekg(static_cast<std::streamoff>(offset));
    file_.read(static_cast<char*>(to), static_cast<std::streamsize>(count));
    if (!file_) {
      throw fail("is truncated or damaged");
    }
  }

  std::vector<char> strings(const Elf64_Shdr& section) {
    std::vector<char> bytes(section.sh_size);
    read(bytes.data(), section.sh_offset, bytes.size());
    if (section.sh_type != SHT_STRTAB || bytes.empty() || bytes.back() != 0) {
      throw fail("is truncated or damaged (string table)");
    }
    return bytes;
  }

  void check_names(const Elf64_Shdr& names) {
    const uint64_t count = strings(names).size();
    for (const Elf64_Shdr& s : sections_) {
      if (s.sh_name >= count) {
        throw fail("is truncated or damaged (section names)");
      }
    }
  }

  void check_section(const Elf64_Shdr& s) {
    if (s.sh_type != SHT_NOBITS && !inside(s.sh_offset, s.sh_size)) {
      throw fail("is truncated or damaged (a section reaches beyond the file)");
    }
    if (s.sh_type != SHT_SYMTAB && s.sh_type != SHT_DYNSYM) {
      return;
    }
    if (s.sh_entsize != sizeof(Elf64_Sym) || s.sh_size % sizeof(Elf64_Sym) != 0 || s.sh_link >= sections_.size()) {
      throw fail("is truncated or damaged (symbol table)");
    }
    const Elf64_Shdr& link = sections_[s.sh_link];
    if (link.sh_type == SHT_NOBITS || !inside(link.sh_offset, link.sh_size)) {
      throw fail("is truncated or damaged (symbol names)");
    }
    const uint64_t count = strings(link).size();
    std::vector<Elf64_Sym> symbols(s.sh_size / sizeof(Elf64_Sym));
    read(symbols.data(), s.sh_offset, s.sh_size);
    for (const Elf64_Sym& symbol : symbols) {
      if (symbol.st_name >= count) {
        throw fail("is truncated or damaged (symbol names)");
      }
    }
  }

  const std::string& path_;
  uint64_t size_;
  std::ifstream file_;
  std::vector<Elf64_Shdr> sections_;
};

}  // namespace

std::vector<std::string> plugin_symbols(const std::string& path) {
  try {
    Checker(path).check();
    return boost::dll::library_info(path).symbols("retort");
  } catch (const RequestError&) {
    throw;
  } catch (const std::exception& e) {
    throw RequestError(path + ": cannot be read as a shared library");
  }
}

}  // namespace retort
