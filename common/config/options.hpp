// The options of a program: a table of them, and their values from flag, environment, file,
// default.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.hpp"
#include "common/base/time.hpp"
#include "common/config/expect.hpp"
#include "common/config/version.hpp"

namespace liminal::config {

/// One line of a program's table. `a-b` is --a-b on the command line, LIMINAL_A_B in the
/// environment and `a-b = value` in the file.
struct Option {
  std::string name;
  std::string placeholder = {};  // stands for the value in the help, e.g. "DURATION"
  std::string help = {};
  std::optional<std::string> default_value = std::nullopt;
  bool repeatable = false;  // one value a line, in the environment too
  bool flag = false;        // --name alone means true; elsewhere true or false is written
  bool required = false;
  Wrong wrong = nullptr;  // for each value; nullptr: any will do
};

struct Usage {
  std::string program;                    // "liminal-broker", "liminal ask"
  std::string arguments = "[OPTION]...";  // what follows it in the usage line
  std::string summary = {};               // what it does
  std::size_t positionals_min = 0;
  std::size_t positionals_max = 0;
  std::string version = std::string{kProgramVersion};
};

/// Looks up a variable; nullopt if it is not set. One that is set to nothing is set.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
/// That of this process. Not to be used while another thread sets variables.
[[nodiscard]] Environment process_environment();

/// The effective values. Each name must be in the program's table: anything else is a bug of ours.
class Parsed {
 public:
  enum class Outcome : std::uint8_t {
    kRun,
    kHelp,         // print text() to stdout and exit 0; there are no values
    kVersion,      // likewise
    kPrintConfig,  // likewise, with the values in text()
  };
  [[nodiscard]] Outcome outcome() const { return outcome_; }
  [[nodiscard]] const std::string& text() const { return text_; }

  /// Whether it has a value, be it by default.
  [[nodiscard]] bool has(const std::string& name) const;
  /// Whether the user gave it, on the command line, in the environment or in the file.
  [[nodiscard]] bool is_set(const std::string& name) const;
  /// REQUIRES: has(name), and it is not repeatable.
  [[nodiscard]] const std::string& value(const std::string& name) const;
  /// Empty if there is none.
  [[nodiscard]] const std::vector<std::string>& values(const std::string& name) const;
  /// REQUIRES: it is a flag.
  [[nodiscard]] bool flag(const std::string& name) const;
  /// REQUIRES: has(name), and its `wrong` is of this kind.
  [[nodiscard]] Duration duration(const std::string& name) const;
  [[nodiscard]] std::int64_t number(const std::string& name) const;
  [[nodiscard]] std::uint64_t size(const std::string& name) const;

  [[nodiscard]] const std::vector<std::string>& positionals() const { return positionals_; }

  /// For a value that is wrong only beside others: kUsage, naming the key, the value and its place,
  /// followed by ": write " and `what_would_be_right`.
  [[nodiscard]] Error complaint(const std::string& name,
                                const std::string& what_would_be_right) const;
  /// Of one that may be repeated: about values(name)[index].
  [[nodiscard]] Error complaint(const std::string& name, std::size_t index,
                                const std::string& what_would_be_right) const;

 private:
  friend class Options;

  struct Entry {
    std::vector<std::string> values;
    std::vector<std::string> labels;  // "--name 'x' on the command line" for each value
    std::string source;               // "default", "command line", ...; empty: it has no value
    bool set = false;
  };

  [[nodiscard]] const Entry& entry(const std::string& name) const;

  Outcome outcome_ = Outcome::kRun;
  std::string text_;
  std::map<std::string, Entry> entries_;
  std::vector<std::string> positionals_;
};

/// Reads a program's options.
///
/// Flag > environment > file > default; for an option that may be repeated the higher source
/// replaces the lower one's values and never appends. --help, --version, --print-config and
/// --config FILE (also LIMINAL_CONFIG) are built in.
///
/// On the command line: --name value, --name=value, or --name for a flag (--name=false too). A word
/// after "--", and every word that does not begin with "--", is positional. Names are never
/// abbreviated. A value that begins with "--" is written --name=--value.
///
/// The file's format is config_file.hpp's. What --print-config prints is such a file.
///
/// Errors: kUsage, on one line, naming the key, the value, the place and what would be right.
/// Unknown variables LIMINAL_... are ignored: others may have theirs.
class Options {
 public:
  /// REQUIRES: names differ from each other and from the built-in ones, and defaults are right.
  Options(Usage usage, std::vector<Option> options);

  /// `arguments` begins after the program's name and that of its sub-command.
  [[nodiscard]] Result<Parsed> parse(const std::vector<std::string>& arguments,
                                     const Environment& environment) const;
  /// Of main(), with the process's environment; `skip` words come before the options.
  [[nodiscard]] Result<Parsed> parse(int argc, const char* const* argv, int skip = 1) const;

  /// What --help prints.
  [[nodiscard]] std::string help() const;

 private:
  struct Given;
  struct CommandLine;
  using Source = std::map<std::string, std::vector<Given>>;

  [[nodiscard]] const Option* find(const std::string& name) const;
  [[nodiscard]] std::string suggestion(const std::string& name, const char* prefix,
                                       const std::string& otherwise) const;
  [[nodiscard]] Result<CommandLine> read_command_line(
      const std::vector<std::string>& arguments) const;
  [[nodiscard]] Source read_environment(const Environment& environment) const;
  [[nodiscard]] Result<Source> read_settings(const Given& config) const;
  [[nodiscard]] Result<void> validate(const Source& source) const;
  [[nodiscard]] std::string printed(const Parsed& parsed) const;

  Usage usage_;
  std::vector<Option> options_;  // with the built-in ones at the end
};

}  // namespace liminal::config
