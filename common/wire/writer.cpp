#include "common/wire/writer.hpp"

#include <array>
#include <msgpack.hpp>

#include "common/wire/limits.hpp"

namespace liminal::wire {
namespace {

struct Sink {
  std::string& bytes;
  void write(const char* data, std::size_t size) { bytes.append(data, size); }
};

std::uint32_t size32(std::size_t size) {
  check(size <= kPartBytesMax, "a value fits into a message part");
  return static_cast<std::uint32_t>(size);
}

}  // namespace

Writer& Writer::array(std::size_t size) {
  Sink sink{bytes_};
  msgpack::packer<Sink>{sink}.pack_array(size32(size));
  return *this;
}

Writer& Writer::uint(std::uint64_t value) {
  Sink sink{bytes_};
  msgpack::packer<Sink>{sink}.pack_uint64(value);
  return *this;
}

Writer& Writer::boolean(bool value) {
  Sink sink{bytes_};
  msgpack::packer<Sink> packer{sink};
  value ? packer.pack_true() : packer.pack_false();
  return *this;
}

Writer& Writer::nil() {
  Sink sink{bytes_};
  msgpack::packer<Sink>{sink}.pack_nil();
  return *this;
}

Writer& Writer::bin(std::string_view bytes) {
  Sink sink{bytes_};
  msgpack::packer<Sink>{sink}.pack_bin(size32(bytes.size()));
  bytes_.append(bytes);
  return *this;
}

Writer& Writer::text(std::string_view text) {
  check(text.size() <= kTextBytesMax, "a text is at most kTextBytesMax long");
  Sink sink{bytes_};
  msgpack::packer<Sink>{sink}.pack_str(size32(text.size()));
  bytes_.append(text);
  return *this;
}

Writer& Writer::text_cut(std::string_view text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return this->text(text);
  std::size_t size = bytes_max;
  // a UTF-8 character has at most three continuation bytes; more of them are no UTF-8 anyway
  for (int back = 0; back < 3 && size > 0; ++back) {
    if ((static_cast<unsigned char>(text[size]) & 0xC0) != 0x80) break;
    --size;
  }
  return this->text(text.substr(0, size));
}

Writer& Writer::duration(Duration duration) {
  check(duration >= Duration::zero(), "no duration on the wire is negative");
  return uint(static_cast<std::uint64_t>(duration.count()));
}

Writer& Writer::name(std::string_view name) {
  check(valid_name(name), "names on the wire are valid");
  return text(name);
}

Writer& Writer::id(const Incarnation& incarnation) {
  check(incarnation != local_incarnation(), "the local incarnation stays on its node");
  return uint(incarnation.value());
}

Writer& Writer::wide(std::uint64_t high, std::uint64_t low) {
  std::array<char, 16> bytes{};
  for (std::size_t i = 8; i-- > 0; high >>= 8, low >>= 8) {
    bytes[i] = static_cast<char>(high & 0xFF);
    bytes[i + 8] = static_cast<char>(low & 0xFF);
  }
  return bin({bytes.data(), bytes.size()});
}

}  // namespace liminal::wire
