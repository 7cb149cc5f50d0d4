/// Which pictures there are in folders and archives, and which class each has.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "archive.h"

namespace retort {

/// A picture that is not read yet.
struct PictureEntry {
  std::string name;   // as errors spell it: a path, or ARCHIVE: PATH
  std::string file;   // its path, or empty: it lies in the spool
  int64_t label = 0;  // the number of its class; 0 where there are none
  std::shared_ptr<const Spool> spool = nullptr;
  uint64_t offset = 0, size = 0;
  std::string damage = {};   // what the archive says is wrong with it
  std::string within = {};   // its path within the folder or archive, with '/'
  std::string caption = {};  // where captions are read
};

struct Listing {
  std::vector<PictureEntry> entries;  // in order of class, source and name, compared byte by byte
  std::vector<std::string> classes;
  std::string left_out;  // "3 files that are no pictures, …", or empty
};

/// What was found in one folder or archive. Paths are relative, with '/'.
struct PictureTree {
  struct File {
    std::string path;
    PictureEntry entry;
  };
  std::string name;
  std::vector<File> pictures;
  std::vector<File> texts;           // what may hold captions; counted among the others too
  std::vector<std::string> folders;  // directly within it
  int64_t others = 0, hidden_files = 0, hidden_folders = 0, without_caption = 0;
  std::string identity;       // changes with its pictures' names, sizes and times
  std::string text_identity;  // the same of the texts
};

/// The names that are taken for pictures, in any letter case: png jpg jpeg jpe webp tif tiff bmp dib gif.
bool is_picture_name(const std::string& path);
/// The names of what may hold captions: .txt and .json in any letter case, and metadata.jsonl.
bool is_text_name(const std::string& path);
/// Reads the names in a folder, those below it included, and follows symbolic links.
PictureTree scan_folder(const std::string& folder);
/// Reads an archive, its texts only if they are wanted. One folder around everything in it is passed over.
PictureTree scan_archive(const std::string& path, bool texts);
/// The identity of an archive without reading it.
std::string archive_identity(const std::string& path);

/// Throws RequestError for a class without pictures, and for a folder without classes beside others with them.
Listing list_pictures(std::vector<PictureTree> trees, bool classes);

/// The bytes of the file, or its first `most`. Throws RequestError.
std::vector<uint8_t> read_entry(const PictureEntry& entry, uint64_t most = UINT64_MAX);

}  // namespace retort
