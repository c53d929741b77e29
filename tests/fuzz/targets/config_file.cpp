// Bytes as a configuration file, and as a value that one is to hold.
#include "common/config/config_file.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tests/fuzz/targets/shown_text.hpp"

namespace {

using liminal::config::Setting;
using liminal::test::expect;

/// As a file with a line for each, which says the same.
void expect_written_again(const std::vector<Setting>& settings) {
  std::string text;
  for (const Setting& setting : settings) {
    text += setting.key + " = " + liminal::config::written(setting.value) + "\n";
  }
  const auto again = liminal::config::parse_settings(text, "again");
  expect(again && again->size() == settings.size(), "what was read cannot be written");
  for (std::size_t i = 0; i < settings.size(); ++i) {
    const Setting& one = (*again)[i];
    expect(one.key == settings[i].key && one.value == settings[i].value && one.line == i + 1,
           "what was written is read as something else");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes{reinterpret_cast<const char*>(data), size};
  const auto settings = liminal::config::parse_settings(bytes, "file");
  if (settings) {
    std::size_t line = 0;
    for (const Setting& setting : *settings) {
      expect(setting.line > line, "lines out of order");
      line = setting.line;
    }
    expect_written_again(*settings);
  } else {
    liminal::test::expect_one_line(settings.error());
  }
  expect_written_again({{"key", bytes, 1}});
  return 0;
}
