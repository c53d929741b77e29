#include "common/wire/reader.hpp"

#include <algorithm>
#include <array>

#include "common/base/text.hpp"

namespace liminal::wire {

/// Splits MessagePack into a flat list of values. Stops at the first thing that no frame contains,
/// so that neither depth nor number of values is the sender's to choose.
///
/// By hand, since msgpack::parse() allocates a stack of its own for each of many small frames, and
/// took more time than all that is done with the values.
class ValueCollector {
 public:
  using Type = Reader::Type;

  ValueCollector(std::vector<Reader::Value>& values, std::string_view bytes)
      : values_(values), bytes_(bytes) {}

  /// Null if the bytes are one array, to the end; else why not.
  [[nodiscard]] const char* collect() {
    do {
      if (const char* why = take_value()) return why;
      while (depth_ > 0 && missing_[depth_ - 1] == 0) --depth_;
    } while (depth_ > 0);
    return next_ == bytes_.size() ? nullptr : "bytes behind the end";
  }
  [[nodiscard]] bool other_version() const { return other_version_; }

 private:
  static constexpr const char* kIncomplete = "not complete MessagePack";
  static constexpr const char* kExtension = "an extension";

  const char* take_value() {
    if (next_ == bytes_.size()) return kIncomplete;
    if (depth_ > 0) --missing_[depth_ - 1];
    const auto first = static_cast<unsigned char>(bytes_[next_++]);
    if (first <= 0x7F) return integer(first);
    if (first <= 0x8F) return "a map";
    if (first <= 0x9F) return array(first & 0x0FU);
    if (first <= 0xBF) return run(Type::kText, first & 0x1FU);
    if (first >= 0xE0) return "a negative number";
    switch (first) {
      case 0xC0:
        return add({{.number = 0}, 0, Type::kNil});
      case 0xC2:
      case 0xC3:
        return add({{.number = first & 1U}, 0, Type::kBoolean});
      case 0xC4:
      case 0xC5:
      case 0xC6:
        return sized(1U << (first - 0xC4U), [&](auto size) { return run(Type::kBin, size); });
      case 0xC7:
      case 0xC8:
      case 0xC9:  // with a byte for its type
        return sized(1U << (first - 0xC7U), [&](auto size) { return other(size + 1, kExtension); });
      case 0xCA:
      case 0xCB:
        return other(first == 0xCA ? 4 : 8, "a float");
      case 0xCC:
      case 0xCD:
      case 0xCE:
      case 0xCF:
        return sized(1U << (first - 0xCCU), [&](auto value) { return integer(value); });
      case 0xD0:
      case 0xD1:
      case 0xD2:
      case 0xD3:
        return signed_integer(1U << (first - 0xD0U));
      case 0xD4:
      case 0xD5:
      case 0xD6:
      case 0xD7:
      case 0xD8:
        return other((std::size_t{1} << (first - 0xD4U)) + 1, kExtension);
      case 0xD9:
      case 0xDA:
      case 0xDB:
        return sized(1U << (first - 0xD9U), [&](auto size) { return run(Type::kText, size); });
      case 0xDC:
      case 0xDD:
        return sized(first == 0xDC ? 2 : 4, [&](auto size) { return array(size); });
      case 0xDE:
      case 0xDF:
        return other(first == 0xDE ? 2 : 4, "a map");
      default:  // 0xC1, which means nothing
        return kIncomplete;
    }
  }

  [[nodiscard]] bool has(std::uint64_t bytes) const { return bytes <= bytes_.size() - next_; }

  /// Reads the big-endian number that comes next and hands it on.
  template <class Then>
  const char* sized(unsigned bytes, Then then) {
    if (!has(bytes)) return kIncomplete;
    std::uint64_t number = 0;
    for (; bytes > 0; --bytes) number = number << 8 | static_cast<unsigned char>(bytes_[next_++]);
    return then(number);
  }
  // some libraries write small positive numbers in signed formats
  const char* signed_integer(unsigned bytes) {
    return sized(bytes, [&](std::uint64_t value) {
      return (value >> (8 * bytes - 1)) != 0 ? "a negative number" : integer(value);
    });
  }
  const char* integer(std::uint64_t value) {
    if (values_.size() == 1 && value != kProtocolVersion) {
      other_version_ = true;
      return "another protocol version";
    }
    return add({{.number = value}, 0, Type::kUint});
  }
  const char* run(Type type, std::uint64_t size) {
    if (!has(size)) return kIncomplete;
    const char* const data = bytes_.data() + next_;
    next_ += static_cast<std::size_t>(size);
    return add({{.data = data}, static_cast<std::uint32_t>(size), type});
  }
  const char* array(std::uint64_t size) {
    if (size > bytes_.size()) return "an array larger than the frame";
    if (depth_ == kDepthMax) return "nested too deep";
    missing_[depth_++] = static_cast<std::uint32_t>(size);
    return add({{.number = 0}, static_cast<std::uint32_t>(size), Type::kArray});
  }
  /// What no frame contains; but first it is to be whole.
  [[nodiscard]] const char* other(std::uint64_t size, const char* what) const {
    return has(size) ? what : kIncomplete;
  }
  // inlined, or each value would be written in parts and read back whole, which stalls
  [[gnu::always_inline]] const char* add(const Reader::Value& value) {
    const std::size_t before = values_.size();
    if (before < 2 || before == Reader::kValuesMax) [[unlikely]] {
      if (before == Reader::kValuesMax) return "too many values";
      if (before == 0 && value.type != Type::kArray) return "not an array";
      if (before == 1 && value.type != Type::kUint) return "no protocol version";
    }
    values_.push_back(value);
    return nullptr;
  }

  std::vector<Reader::Value>& values_;
  std::string_view bytes_;
  std::size_t next_ = 0;
  std::array<std::uint32_t, kDepthMax> missing_{};  // of each array that is open, outermost first
  std::size_t depth_ = 0;
  bool other_version_ = false;
};

Reader::Reader(std::string_view bytes, std::size_t bytes_max, const char* frame) : frame_(frame) {
  if (bytes.size() > bytes_max) {
    reject("frame", "too long");
    return;
  }

  values_.reserve(std::clamp<std::size_t>(bytes.size() / 4, 8, 256));
  ValueCollector collector{values_, bytes};
  const char* const why = collector.collect();
  next_ = values_.size();  // where reject() says that it stopped
  if (collector.other_version()) code_ = Errc::kUnsupportedVersion;
  if (why) {
    reject("frame", why);
    return;
  }

  next_ = 0;
  static_cast<void>(array("frame"));
  static_cast<void>(uint("version"));  // the collector let no other pass
  kind_ = uint("kind", 255);
}

void Reader::frame(const char* name, std::size_t fields) {
  frame_ = name;
  if (ok() && values_.front().size != fields + 2) reject("frame", "wrong number of fields");
}

void Reader::reject(const char* field, const char* why) {
  if (!ok()) return;
  error_ = std::string{frame_} + ", value " + std::to_string(next_) + " (" + field + "): " + why;
}

const Reader::Value& Reader::take(Type type, const char* field) {
  static constexpr Value kNothing{{.number = 0}, 0, Type::kNil};
  if (!ok()) return kNothing;
  if (next_ == values_.size()) {
    reject(field, "missing");
    return kNothing;
  }
  const Value& value = values_[next_];
  if (value.type != type) {
    reject(field, "of another type");
    return kNothing;
  }
  ++next_;
  return value;
}

std::uint64_t Reader::uint(const char* field, std::uint64_t max) {
  const std::uint64_t number = take(Type::kUint, field).number;
  if (number <= max) return number;
  reject(field, "out of range");
  return 0;
}

bool Reader::boolean(const char* field) { return take(Type::kBoolean, field).number != 0; }

bool Reader::nil() {
  if (!ok() || next_ == values_.size() || values_[next_].type != Type::kNil) return false;
  ++next_;
  return true;
}

std::string_view Reader::text(const char* field) {
  const Value& value = take(Type::kText, field);
  if (value.size > kTextBytesMax) reject(field, "too long");
  return ok() ? std::string_view{value.data, value.size} : std::string_view{};
}

std::string_view Reader::bin(const char* field, std::size_t bytes_max) {
  const Value& value = take(Type::kBin, field);
  if (value.size > bytes_max) reject(field, "too long");
  return ok() ? std::string_view{value.data, value.size} : std::string_view{};
}

Duration Reader::duration(const char* field) {
  return Duration{
      static_cast<Duration::rep>(uint(field, std::numeric_limits<Duration::rep>::max()))};
}

std::string Reader::name(const char* field) {
  const std::string_view name = text(field);
  if (ok() && !valid_name(name)) reject(field, "not a valid name");
  return std::string{name};
}

Incarnation Reader::incarnation(const char* field) {
  const Incarnation incarnation{uint(field)};
  if (ok() && incarnation == local_incarnation()) reject(field, "is zero");
  return incarnation;
}

std::size_t Reader::array(const char* field, std::size_t size_max) {
  const std::size_t size = take(Type::kArray, field).size;
  if (size <= size_max) return size;
  reject(field, "too many values");
  return 0;
}

void Reader::array_of(std::size_t size, const char* field) {
  if (array(field) != size) reject(field, "wrong number of values");
}

std::pair<std::uint64_t, std::uint64_t> Reader::wide_halves(const char* field) {
  const std::string_view bytes = bin(field, 16);
  if (bytes.size() != 16) {
    reject(field, "not 16 bytes");
    return {0, 0};
  }
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    high = high << 8 | static_cast<unsigned char>(bytes[i]);
    low = low << 8 | static_cast<unsigned char>(bytes[i + 8]);
  }
  return {high, low};
}

}  // namespace liminal::wire
