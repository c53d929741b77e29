#include "common/wire/reader.hpp"

#include <algorithm>
#include <exception>
#include <msgpack.hpp>

#include "common/base/text.hpp"

namespace liminal::wire {

/// What msgpack::parse() tells of the bytes, kept as a flat list. Stops at the first thing that no
/// frame contains, so that neither depth nor number of values is the sender's to choose.
class ValueCollector : public msgpack::null_visitor {
 public:
  using Type = Reader::Type;

  ValueCollector(std::vector<Reader::Value>& values, std::size_t bytes)
      : values_(values), bytes_(bytes) {}

  [[nodiscard]] const char* why() const { return why_; }
  [[nodiscard]] bool other_version() const { return other_version_; }

  bool visit_nil() { return add({{.number = 0}, 0, Type::kNil}); }
  bool visit_boolean(bool value) { return add({{.number = value}, 0, Type::kBoolean}); }
  bool visit_positive_integer(std::uint64_t value) {
    if (values_.size() == 1 && value != kProtocolVersion) {
      other_version_ = true;
      return stop("another protocol version");
    }
    return add({{.number = value}, 0, Type::kUint});
  }
  // some libraries write small positive numbers in signed formats
  bool visit_negative_integer(std::int64_t value) {
    if (value < 0) return stop("a negative number");
    return visit_positive_integer(static_cast<std::uint64_t>(value));
  }
  bool visit_float32(float) { return stop("a float"); }
  bool visit_float64(double) { return stop("a float"); }
  bool visit_str(const char* data, std::uint32_t size) {
    return add({{.data = data}, size, Type::kText});
  }
  bool visit_bin(const char* data, std::uint32_t size) {
    return add({{.data = data}, size, Type::kBin});
  }
  bool visit_ext(const char*, std::uint32_t) { return stop("an extension"); }
  bool start_array(std::uint32_t size) {
    if (size > bytes_) return stop("an array larger than the frame");
    if (++depth_ > kDepthMax) return stop("nested too deep");
    return add({{.number = 0}, size, Type::kArray});
  }
  bool end_array() {
    --depth_;
    return true;
  }
  bool start_map(std::uint32_t) { return stop("a map"); }

 private:
  bool add(Reader::Value value) {
    if (values_.empty() && value.type != Type::kArray) return stop("not an array");
    if (values_.size() == 1 && value.type != Type::kUint) return stop("no protocol version");
    if (values_.size() == Reader::kValuesMax) return stop("too many values");
    values_.push_back(value);
    return true;
  }
  bool stop(const char* why) {
    why_ = why;
    return false;
  }

  std::vector<Reader::Value>& values_;
  std::size_t bytes_;
  std::size_t depth_ = 0;
  const char* why_ = "not complete MessagePack";
  bool other_version_ = false;
};

Reader::Reader(std::string_view bytes, std::size_t bytes_max, const char* frame) : frame_(frame) {
  if (bytes.size() > bytes_max) {
    reject("frame", "too long");
    return;
  }

  values_.reserve(std::min<std::size_t>(bytes.size() / 4, 256));
  ValueCollector collector{values_, bytes.size()};
  std::size_t end = 0;
  const char* why = nullptr;
  try {
    if (!msgpack::parse(bytes.data(), bytes.size(), end, collector)) {
      why = collector.why();
    } else if (end != bytes.size()) {
      why = "bytes behind the end";
    }
  } catch (const std::exception&) {  // the library's, and out of memory
    why = "not readable";
  }
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
