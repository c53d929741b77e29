// Bytes as what a long-lived child writes: the first says in pieces of what size they come.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "node/participant/pipe_message.hpp"
#include "tests/support/expect.hpp"

namespace {

constexpr std::size_t kPayloadBytesMax = 1000;

struct Stream {
  std::vector<std::string> messages = {};
  bool is_too_long = false;
  bool is_whole = true;
};

Stream read(std::string_view bytes, std::size_t piece_bytes) {
  using liminal::PipeMessageReader;
  liminal::PipeMessageReader reader;
  Stream stream;
  while (!bytes.empty() && !stream.is_too_long) {
    std::string_view piece = bytes.substr(0, piece_bytes);
    bytes.remove_prefix(piece.size());
    bool reading = true;
    while (reading) {
      const std::size_t before = piece.size();
      switch (reader.read(piece, kPayloadBytesMax)) {
        case PipeMessageReader::Status::kNeedsMore:
          liminal::test::expect(piece.empty(), "bytes were left although more are needed");
          reading = false;
          break;
        case PipeMessageReader::Status::kMessage:
          stream.messages.push_back(reader.take_message());
          liminal::test::expect(stream.messages.back().size() <= kPayloadBytesMax,
                                "a message over the limit");
          liminal::test::expect(piece.size() < before, "a message out of nothing");
          reading = !piece.empty();
          break;
        case PipeMessageReader::Status::kTooLong:
          liminal::test::expect(reader.promised_bytes() > kPayloadBytesMax, "refused what fits");
          stream.is_too_long = true;
          reading = false;
          break;
      }
    }
  }
  stream.is_whole = reader.is_between_messages();
  if (!stream.is_whole) {
    liminal::test::expect(!reader.progress().empty(), "an open message without progress");
  }
  return stream;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes{reinterpret_cast<const char*>(data) + 1, size - 1};
  const Stream at_once = read(bytes, bytes.size()), in_pieces = read(bytes, 1u + data[0]);
  liminal::test::expect(at_once.messages == in_pieces.messages &&
                            at_once.is_too_long == in_pieces.is_too_long &&
                            at_once.is_whole == in_pieces.is_whole,
                        "how the bytes were cut changed what was read");
  return 0;
}
