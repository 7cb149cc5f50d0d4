/// TensorBoard's event files: records with checksums, each a message in protocol buffers' wire format.
///
/// A record is its length [8 bytes], the masked CRC-32C of those, the bytes, and their masked CRC-32C, all little
/// endian (TensorFlow, core/lib/io/record_writer.cc). The numbers of fields are those of
/// tensorflow/core/util/event.proto, framework/summary.proto, and tensorboard/plugins/hparams/plugin_data.proto.
#pragma once

#include <bit>
#include <boost/crc.hpp>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace retort::events {

/// A message under construction.
class Message {
 public:
  Message& number(int field, uint64_t value) {
    tag(field, 0);
    varint(value);
    return *this;
  }
  Message& real(int field, double value) {
    tag(field, 1);
    fixed(std::bit_cast<uint64_t>(value));
    return *this;
  }
  Message& real32(int field, float value) {
    tag(field, 5);
    fixed(std::bit_cast<uint32_t>(value));
    return *this;
  }
  Message& bytes(int field, std::string_view value) {
    tag(field, 2);
    varint(value.size());
    text_ += value;
    return *this;
  }
  Message& message(int field, const Message& value) { return bytes(field, value.text_); }
  Message& reals(int field, const std::vector<double>& values) {
    Message packed;
    for (const double value : values) {
      packed.fixed(std::bit_cast<uint64_t>(value));
    }
    return message(field, packed);
  }
  const std::string& text() const { return text_; }

 private:
  void tag(int field, unsigned type) { varint(static_cast<uint64_t>(field) << 3 | type); }
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) {
      text_ += static_cast<char>(value | 0x80);
    }
    text_ += static_cast<char>(value);
  }
  template <class T>
  void fixed(T value) {
    for (size_t i = 0; i < sizeof(T); ++i) {
      text_ += static_cast<char>(value >> (8 * i));
    }
  }

  std::string text_;
};

inline uint32_t masked_crc(std::string_view bytes) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(bytes.data(), bytes.size());
  const uint32_t sum = crc.checksum();
  return (sum >> 15 | sum << 17) + 0xa282ead8U;
}

template <class T>
std::string little_endian(T value) {
  std::string out;
  for (size_t i = 0; i < sizeof(T); ++i) {
    out += static_cast<char>(value >> (8 * i));
  }
  return out;
}

inline std::string record(const Message& event) {
  const std::string length = little_endian(static_cast<uint64_t>(event.text().size()));
  return length + little_endian(masked_crc(length)) + event.text() + little_endian(masked_crc(event.text()));
}

/// Event{wall_time = 1, step = 2, file_version = 3 | summary = 5}
inline Message event(double wall_time, int64_t step) {
  return Message().real(1, wall_time).number(2, static_cast<uint64_t>(step));
}

/// The step of an event; 0 where it has none, as the first of a file.
inline int64_t step_of(std::string_view event) {
  const auto varint = [&event] {
    uint64_t value = 0;
    for (int shift = 0; !event.empty() && shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(event.front());
      event.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) {
        break;
      }
    }
    return value;
  };
  while (!event.empty()) {
    const uint64_t tag = varint();
    if (tag == (2 << 3 | 0)) {
      return static_cast<int64_t>(varint());
    }
    uint64_t skip = 0;
    switch (tag & 7) {
      case 0:
        varint();
        break;
      case 1:
        skip = 8;
        break;
      case 5:
        skip = 4;
        break;
      default:
        skip = varint();
    }
    event.remove_prefix(std::min<uint64_t>(skip, event.size()));
  }
  return 0;
}

/// Those records of a file that are whole, of steps up to `last`; what a process that was killed left of one is
/// dropped.
inline std::string records_until(std::string_view file, int64_t last) {
  std::string kept;
  while (file.size() >= 16) {
    uint64_t length = 0;
    for (size_t i = 0; i < 8; ++i) {
      length |= static_cast<uint64_t>(static_cast<unsigned char>(file[i])) << (8 * i);
    }
    if (file.substr(8, 4) != little_endian(masked_crc(file.substr(0, 8))) || length > file.size() - 16) {
      break;
    }
    const std::string_view event = file.substr(12, length), whole = file.substr(0, length + 16);
    if (whole.substr(12 + length) != little_endian(masked_crc(event))) {
      break;
    }
    if (step_of(event) <= last) {
      kept += whole;
    }
    file.remove_prefix(whole.size());
  }
  return kept;
}

/// The names of the fields that a summary's values have.
struct Summary {
  /// Value{tag = 1, simple_value = 2}
  static Message scalar(std::string_view tag, double value) {
    return Message().bytes(1, tag).real32(2, static_cast<float>(value));
  }
  /// Value{tag = 1, image = 4 {height = 1, width = 2, colorspace = 3, encoded_image_string = 4}}
  static Message image(std::string_view tag, int64_t height, int64_t width, int64_t channels, std::string_view png) {
    const Message image = Message()
                              .number(1, static_cast<uint64_t>(height))
                              .number(2, static_cast<uint64_t>(width))
                              .number(3, static_cast<uint64_t>(channels))
                              .bytes(4, png);
    return Message().bytes(1, tag).message(4, image);
  }
  /// Value{tag = 1, histo = 5 {min = 1, max = 2, num = 3, sum = 4, sum_squares = 5, bucket_limit = 6, bucket = 7}}
  static Message histogram(std::string_view tag, double min, double max, double count, double sum, double squares,
                           const std::vector<double>& limits, const std::vector<double>& buckets) {
    const Message histogram = Message()
                                  .real(1, min)
                                  .real(2, max)
                                  .real(3, count)
                                  .real(4, sum)
                                  .real(5, squares)
                                  .reals(6, limits)
                                  .reals(7, buckets);
    return Message().bytes(1, tag).message(5, histogram);
  }
  /// Value{tag = 1, metadata = 9 {plugin_data = 1 {plugin_name = 1, content = 2}}, tensor = 8}: content for the page of
  /// hyperparameters, beside a tensor that means nothing: TensorProto{dtype = 1: float, tensor_shape = 2, float_val =
  /// 5}.
  static Message hparams(std::string_view tag, const Message& content) {
    const Message plugin = Message().bytes(1, "hparams").bytes(2, content.text());
    const Message none = Message().number(1, 1).message(2, Message()).bytes(5, std::string_view("\0\0\0\0", 4));
    return Message().bytes(1, tag).message(8, none).message(9, Message().message(1, plugin));
  }
};

}  // namespace retort::events
