// For codecs (of frames here, of calls in node/conversation): reads MessagePack values of a known
// schema from untrusted bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/ids.hpp"
#include "common/base/result.hpp"
#include "common/base/time.hpp"
#include "common/wire/limits.hpp"

namespace liminal::wire {

/// Splits a frame into its values at construction, then hands them out in order.
///
/// The first thing that is wrong is remembered, and from then on every read yields a value of no
/// meaning; so a decoder reads all fields without looking back and asks once, in finish(). Loops
/// ask ok().
///
/// Ownership: texts and bytes point into the input.
/// Errors: kMalformed, naming the frame, the number of the value in it and the field;
/// kUnsupportedVersion for a well-begun array of another protocol version, whatever follows.
/// Cost: 16 bytes for each value, and at most kValuesMax values; nothing is allocated because a
/// length in the input says so.
class Reader {
 public:
  static constexpr std::size_t kValuesMax = 256 * 1024;

  /// `frame` names it in errors and outlives the reader.
  Reader(std::string_view bytes, std::size_t bytes_max, const char* frame);

  [[nodiscard]] bool ok() const { return error_.empty(); }
  /// The kind of the frame: its second element.
  [[nodiscard]] std::uint64_t kind() const { return kind_; }
  /// Names the frame once its kind is known, and requires `fields` elements after the kind.
  void frame(const char* name, std::size_t fields);
  void reject(const char* field, const char* why);

  std::uint64_t uint(const char* field,
                     std::uint64_t max = std::numeric_limits<std::uint64_t>::max());
  std::uint32_t uint32(const char* field) {
    return static_cast<std::uint32_t>(uint(field, std::numeric_limits<std::uint32_t>::max()));
  }
  bool boolean(const char* field);
  /// Takes a nil if it is next.
  bool nil();
  std::string_view text(const char* field);
  std::string_view bin(const char* field, std::size_t bytes_max);
  Duration duration(const char* field);
  std::string name(const char* field);
  Incarnation incarnation(const char* field);

  /// The number of values in the array that begins here.
  std::size_t array(const char* field, std::size_t size_max = kValuesMax);
  void array_of(std::size_t size, const char* field);

  template <class Enum>
  Enum enumerator(const char* field, Enum last) {
    return static_cast<Enum>(uint(field, static_cast<std::uint64_t>(last)));
  }
  template <class Wide>
  Wide wide(const char* field) {
    const auto [high, low] = wide_halves(field);
    return Wide{high, low};
  }

  /// The value, if everything was well and nothing is left.
  template <class T>
  [[nodiscard]] Result<T> finish(T value) {
    if (ok() && next_ != values_.size()) reject("end", "more values than fields");
    if (!ok()) return fail(code_, std::move(error_));
    return value;
  }

 private:
  friend class ValueCollector;

  enum class Type : std::uint8_t { kNil, kBoolean, kUint, kText, kBin, kArray };
  struct Value {
    union {
      std::uint64_t number;  // kBoolean, kUint
      const char* data;      // kText, kBin
    };
    std::uint32_t size;  // kText, kBin: bytes; kArray: values
    Type type;
  };

  /// The next value, if it has this type; else rejects and returns one of no meaning.
  const Value& take(Type type, const char* field);
  std::pair<std::uint64_t, std::uint64_t> wide_halves(const char* field);

  const char* frame_;
  std::vector<Value> values_;
  std::size_t next_ = 0;
  std::uint64_t kind_ = 0;
  Errc code_ = Errc::kMalformed;
  std::string error_;  // empty: all is well
};

}  // namespace liminal::wire
