// What a program is told: the first byte chooses its table; the others are words, each ended by a
// zero byte, that are an argument, a variable or a line of the configuration file by their first
// character: '-', 'E', or any other.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "broker/broker_options.hpp"
#include "common/config/config_file.hpp"
#include "node/node_options.hpp"
#include "tests/fuzz/targets/shown_text.hpp"

namespace {

namespace config = liminal::config;
using config::Parsed;
using liminal::test::expect;

struct Told {
  std::vector<std::string> arguments = {};
  std::map<std::string, std::string> variables = {};
  std::string file = {};
};

/// A file in memory, with a name as long as it lives.
class File {
 public:
  explicit File(const std::string& content) : descriptor_(::memfd_create("config", MFD_CLOEXEC)) {
    const ssize_t written = ::write(descriptor_, content.data(), content.size());
    expect(descriptor_ >= 0 && written == static_cast<ssize_t>(content.size()), "a file in memory");
  }
  ~File() { ::close(descriptor_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  [[nodiscard]] std::string name() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

/// One of each kind of value, and what only the commands have.
config::Options any_table() {
  namespace takes = config::expect;
  using config::Option;
  std::vector<Option> options;
  const auto add = [&](const char* name, config::Wrong wrong, bool repeatable = false) {
    options.push_back({.name = name,
                       .placeholder = "VALUE",
                       .repeatable = repeatable,
                       .wrong = std::move(wrong)});
  };
  add("duration", takes::duration());
  add("number", takes::number(-10, 1000));
  add("size", takes::size());
  add("address", takes::host_port());
  add("word", takes::one_of({"one", "two"}));
  add("some-text", takes::text(), true);
  add("anything", nullptr, true);
  add("a", nullptr);
  options.push_back({.name = "flag", .flag = true});
  return {{.program = "liminal any", .positionals_max = 3}, std::move(options)};
}

const config::Options& table_of(unsigned number) {
  static const config::Options kTables[] = {any_table(), liminal::broker::broker_option_table(),
                                            liminal::node_option_table()};
  return kTables[number % std::size(kTables)];
}

/// What begins with "--config" could name any file of this machine.
bool names_a_file(std::string_view word) {
  return word.starts_with("--config") || word.starts_with("ELIMINAL_CONFIG");
}

Told read(std::string_view bytes) {
  Told told;
  while (!bytes.empty()) {
    const std::string word{bytes.substr(0, bytes.find('\0'))};
    bytes.remove_prefix(std::min(word.size() + 1, bytes.size()));
    if (word.empty() || names_a_file(word)) continue;
    if (word.front() == '-') {
      // "- x" is the argument x: not every one begins so
      told.arguments.push_back(word.starts_with("- ") ? word.substr(2) : word);
    } else if (const auto equals = word.find('='); word.front() == 'E' && equals != word.npos) {
      told.variables.emplace(word.substr(1, equals - 1), word.substr(equals + 1));
    } else {
      told.file += word + "\n";
    }
  }
  return told;
}

std::vector<std::pair<std::string, std::string>> values_in(const std::string& file) {
  const auto settings = config::parse_settings(file, "printed");
  expect(settings.has_value(), "what is printed cannot be read");
  std::vector<std::pair<std::string, std::string>> values;
  for (const auto& [key, value, line] : *settings) values.emplace_back(key, value);
  return values;
}

void expect_usable(unsigned table, const Parsed& parsed) {
  if (table % 3 == 1) {
    const auto options = liminal::broker::read_broker_options(parsed);
    if (!options) return liminal::test::expect_one_line(options.error());
    expect(options->cluster.suspect_after < options->cluster.down_after, "judged before suspected");
    expect(options->insecure || liminal::broker::is_loopback(options->listen.front()),
           "open to everybody, unasked");
  } else if (table % 3 == 2) {
    const auto options = liminal::read_node_options(parsed);
    if (!options) return liminal::test::expect_one_line(options.error());
    expect(liminal::valid_name(options->node.name.value()), "a name that is none");
  } else {
    if (parsed.has("duration")) (void)parsed.duration("duration");
    if (parsed.has("number")) expect(parsed.number("number") <= 1000, "a number out of range");
    if (parsed.has("size")) (void)parsed.size("size");
    expect(parsed.positionals().size() <= 3, "more arguments than may be");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  Told told = read({reinterpret_cast<const char*>(data) + 1, size - 1});
  const config::Options& table = table_of(data[0]);
  const auto environment = [&](const std::string& name) -> std::optional<std::string> {
    const auto found = told.variables.find(name);
    return found == told.variables.end() ? std::nullopt : std::optional{found->second};
  };
  const File file{told.file};
  told.arguments.insert(told.arguments.begin(), "--config=" + file.name());
  const auto parsed = table.parse(told.arguments, environment);
  if (!parsed) {
    liminal::test::expect_one_line(parsed.error());
    return 0;
  }
  if (parsed->outcome() != Parsed::Outcome::kRun) {
    expect(!parsed->text().empty(), "nothing to print");
    return 0;
  }
  expect_usable(data[0], *parsed);

  // what is printed is a file that says the same
  told.arguments.insert(told.arguments.begin(), "--print-config");
  const auto printed = table.parse(told.arguments, environment);
  expect(printed && printed->outcome() == Parsed::Outcome::kPrintConfig, "it is not printed");
  const auto values = values_in(printed->text());
  const File again{printed->text()};
  const auto unset = [](const std::string&) { return std::optional<std::string>{}; };
  std::vector<std::string> arguments{"--print-config", "--config=" + again.name()};
  const auto twice = table.parse(arguments, unset);
  expect(twice && values_in(twice->text()) == values, "what was printed is read as something else");
  for (const auto& [key, value] : values) {
    const auto& all = parsed->values(key);
    expect(std::find(all.begin(), all.end(), value) != all.end(), "another value is printed");
  }
  return 0;
}
