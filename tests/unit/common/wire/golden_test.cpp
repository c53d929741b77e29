// The bytes of the protocol, as docs/protocol.md shows them to whoever writes a node of their own.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <string>

#include "tests/support/source_dir.hpp"
#include "tests/unit/common/wire/frames.hpp"

namespace liminal::test {
namespace {

// docs/protocol.md shows each frame in a block that begins with "```golden NAME", as hex.
std::map<std::string, std::string> golden_blocks() {
  const std::string path = source_path("docs/protocol.md");
  std::ifstream file{path};
  EXPECT_TRUE(file) << "cannot read " << path;

  static const std::string kFence = "```golden ";
  std::map<std::string, std::string> blocks;
  std::string* block = nullptr;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(kFence)) {
      block = &blocks[line.substr(kFence.size())];
      EXPECT_TRUE(block->empty()) << "shown twice: " << line;
    } else if (line.starts_with("```")) {
      block = nullptr;
    } else if (block) {
      *block += (block->empty() ? "" : " ") + line;
    }
  }
  return blocks;
}

std::string golden(const std::string& name) {
  static const auto blocks = golden_blocks();
  const auto block = blocks.find(name);
  return block == blocks.end() ? "" : block->second;
}

TEST(GoldenBytes, OfEveryFrameStandInTheDocument) {
  for (const Encoded& frame : encoded_frames()) {
    if (frame.name == "session, all items") continue;
    EXPECT_EQ(golden(frame.name), hex(frame.bytes)) << frame.name;
  }
}

TEST(GoldenBytes, TheDocumentShowsNothingElse) {
  const auto frames = encoded_frames();
  for (const auto& [name, bytes] : golden_blocks()) {
    EXPECT_TRUE(std::any_of(frames.begin(), frames.end(), [&](const Encoded& frame) {
      return frame.name == name;
    })) << name;
  }
}

}  // namespace
}  // namespace liminal::test
