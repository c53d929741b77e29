#include "common/config/options.hpp"

#include <algorithm>
#include <boost/program_options.hpp>
#include <cstdlib>
#include <numeric>
#include <sstream>
#include <utility>

#include "common/base/check.hpp"
#include "common/base/text.hpp"
#include "common/config/config_file.hpp"

namespace liminal::config {
namespace {

namespace po = boost::program_options;

constexpr std::size_t kShownBytesMax = 200;
constexpr unsigned kLineLength = 100;

std::string quoted(const std::string& text) {
  return "'" + escaped_tail(text, kShownBytesMax) + "'";
}

std::string variable_of(const std::string& name) {
  std::string out = "LIMINAL_" + name;
  std::transform(out.begin(), out.end(), out.begin(), [](char c) {
    if (c >= 'a' && c <= 'z') return static_cast<char>(c - 'a' + 'A');
    return c == '-' ? '_' : c;
  });
  return out;
}

// "--name PLACEHOLDER", "--name" for a flag
std::string usage_of(const Option& option) {
  return "--" + option.name + (option.flag ? "" : " " + option.placeholder);
}

std::optional<std::string> wrong_flag(const std::string& value) {
  if (value == "true" || value == "false") return std::nullopt;
  return "true or false";
}

// How many letters must change, come or go to make one of the other.
std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

const std::vector<std::string> kBuiltIn{"config", "print-config", "help", "version"};

bool is_built_in(const std::string& name) {
  return std::find(kBuiltIn.begin(), kBuiltIn.end(), name) != kBuiltIn.end();
}

}  // namespace

struct Options::Given {
  std::string value;
  std::string label;   // "--name 'x' on the command line"
  std::string source;  // "the command line"
};

struct Options::CommandLine {
  Source given;
  std::vector<std::string> positionals;
  std::optional<Parsed::Outcome> shortcut;  // --help or --version: nothing else counts
  bool print_config = false;
};

Environment process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return value;
  };
}

const Parsed::Entry& Parsed::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  check(found != entries_.end(), "the option is in the program's table");
  return found->second;
}

bool Parsed::has(const std::string& name) const { return !entry(name).values.empty(); }
bool Parsed::is_set(const std::string& name) const { return entry(name).set; }

const std::string& Parsed::value(const std::string& name) const {
  const Entry& found = entry(name);
  check(found.values.size() == 1, "the option has one value");
  return found.values.front();
}

const std::vector<std::string>& Parsed::values(const std::string& name) const {
  return entry(name).values;
}

bool Parsed::flag(const std::string& name) const { return value(name) == "true"; }

Duration Parsed::duration(const std::string& name) const {
  const auto parsed = parse_duration(value(name));
  check(parsed.has_value(), "the option's values are durations");
  return *parsed;
}

std::int64_t Parsed::number(const std::string& name) const {
  const std::string& text = value(name);
  char* end = nullptr;
  const std::int64_t parsed = std::strtoll(text.c_str(), &end, 10);
  check(!text.empty() && *end == '\0', "the option's values are numbers");
  return parsed;
}

std::uint64_t Parsed::size(const std::string& name) const {
  const auto parsed = parse_size(value(name));
  check(parsed.has_value(), "the option's values are sizes");
  return *parsed;
}

Error Parsed::complaint(const std::string& name, const std::string& what_would_be_right) const {
  const Entry& found = entry(name);
  const std::string label = found.labels.empty() ? "--" + name : found.labels.back();
  return Error{Errc::kUsage, label + ": write " + what_would_be_right};
}

Error Parsed::complaint(const std::string& name, std::size_t index,
                        const std::string& what_would_be_right) const {
  return Error{Errc::kUsage, entry(name).labels.at(index) + ": write " + what_would_be_right};
}

Options::Options(Usage usage, std::vector<Option> options)
    : usage_(std::move(usage)), options_(std::move(options)) {
  for (Option& option : options_) {
    check(!is_built_in(option.name), "an option has a name of its own");
    if (option.flag) {
      check(!option.repeatable && !option.required, "a flag is given or not");
      option.wrong = wrong_flag;
      if (!option.default_value) option.default_value = "false";
    }
    if (option.default_value && option.wrong) {
      check(!option.wrong(*option.default_value), "the default of an option is right");
    }
  }
  options_.push_back({.name = "config",
                      .placeholder = "FILE",
                      .help = "read options from this file, lines of key = value",
                      .wrong = expect::text()});
  options_.push_back({.name = "print-config",
                      .help = "print the effective options, as a file that --config accepts",
                      .flag = true,
                      .wrong = wrong_flag});
  options_.push_back({.name = "help", .help = "print this", .flag = true, .wrong = wrong_flag});
  options_.push_back(
      {.name = "version", .help = "print the version", .flag = true, .wrong = wrong_flag});
  for (auto it = options_.begin(); it != options_.end(); ++it) {
    check(std::none_of(options_.begin(), it,
                       [&](const Option& other) { return other.name == it->name; }),
          "an option has a name of its own");
  }
}

const Option* Options::find(const std::string& name) const {
  const auto found = std::find_if(options_.begin(), options_.end(),
                                  [&](const Option& option) { return option.name == name; });
  return found == options_.end() ? nullptr : &*found;
}

// Of a name that is not in the table: "did you mean --listen?", or else `otherwise`.
std::string Options::suggestion(const std::string& name, const char* prefix,
                                const std::string& otherwise) const {
  const Option* nearest = nullptr;
  std::size_t nearest_distance = std::max<std::size_t>(1, name.size() / 3) + 1;
  for (const Option& option : options_) {
    if (*prefix == '\0' && is_built_in(option.name)) continue;  // no keys of a file
    const std::size_t d = distance(name.substr(0, 2 * kShownBytesMax), option.name);
    if (d < nearest_distance) {
      nearest = &option;
      nearest_distance = d;
    }
  }
  return nearest == nullptr ? otherwise : "did you mean " + (prefix + nearest->name) + "?";
}

Result<Options::CommandLine> Options::read_command_line(
    const std::vector<std::string>& arguments) const {
  CommandLine out;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word == "--") {
      out.positionals.insert(out.positionals.end(),
                             arguments.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                             arguments.end());
      break;
    }
    if (!word.starts_with("--")) {
      out.positionals.push_back(word);
      continue;
    }

    const auto equals = word.find('=');
    const std::string name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
    const Option* option = find(name);
    if (option == nullptr) {
      return fail(Errc::kUsage, "unknown option " + quoted("--" + name) + " on the command line: " +
                                    suggestion(name, "--", "--help lists the options"));
    }
    std::string value;
    if (equals != std::string::npos) {
      value = word.substr(equals + 1);
    } else if (option->flag) {
      value = "true";
    } else if (i + 1 < arguments.size() && !arguments[i + 1].starts_with("--")) {
      value = arguments[++i];
    } else {
      std::string detail =
          "--" + name + " on the command line lacks its value: write " + usage_of(*option);
      if (i + 1 < arguments.size()) {
        detail += ", or --" + name + "=" + option->placeholder + " if it begins with --";
      }
      return fail(Errc::kUsage, detail);
    }
    if (value == "true" && name == "help") out.shortcut = Parsed::Outcome::kHelp;
    if (value == "true" && name == "version") out.shortcut = Parsed::Outcome::kVersion;
    if (out.shortcut) return out;
    if (value == "true" && name == "print-config") out.print_config = true;
    out.given[name].push_back(Given{
        value, "--" + name + " " + quoted(value) + " on the command line", "the command line"});
  }
  return out;
}

Options::Source Options::read_environment(const Environment& environment) const {
  Source out;
  for (const Option& option : options_) {
    if (is_built_in(option.name) && option.name != "config") continue;
    const std::string variable = variable_of(option.name);
    const std::optional<std::string> text = environment(variable);
    if (!text) continue;
    std::vector<std::string> values{*text};
    if (option.repeatable) {
      values.clear();
      std::istringstream lines{*text};
      for (std::string line; std::getline(lines, line);) values.push_back(line);
      if (values.empty()) values.emplace_back();  // set to nothing
    }
    for (std::string& value : values) {
      const std::string label = variable + " " + quoted(value) + " in the environment";
      out[option.name].push_back(Given{std::move(value), label, "the environment, " + variable});
    }
  }
  return out;
}

Result<Options::Source> Options::read_settings(const Given& config) const {
  const auto text = read_file(config.value);
  if (!text) {
    return fail(Errc::kUsage,
                config.label + ": " + text.error().detail + ": write the name of a readable file");
  }
  const auto settings = parse_settings(*text, config.value);
  if (!settings) return tl::unexpected(settings.error());
  Source out;
  for (const Setting& setting : *settings) {
    const std::string where =
        escaped_tail(config.value, kShownBytesMax) + ":" + std::to_string(setting.line);
    if (find(setting.key) == nullptr || is_built_in(setting.key)) {
      return fail(Errc::kUsage, "unknown key " + quoted(setting.key) + " at " + where + ": " +
                                    suggestion(setting.key, "", "--print-config lists the keys"));
    }
    out[setting.key].push_back(
        Given{setting.value, setting.key + " " + quoted(setting.value) + " at " + where, where});
  }
  return out;
}

// Each value that was given is checked, whether or not another source overrides it.
Result<void> Options::validate(const Source& source) const {
  for (const Option& option : options_) {  // in the table's order: always the same error first
    const auto found = source.find(option.name);
    if (found == source.end()) continue;
    const std::vector<Given>& given = found->second;
    if (!option.repeatable && given.size() > 1) {
      return fail(Errc::kUsage,
                  given[0].label + " and " + given[1].label + ": write " + option.name + " once");
    }
    for (const Given& one : given) {
      if (!option.wrong) continue;
      if (const auto right = option.wrong(one.value)) {
        return fail(Errc::kUsage, one.label + ": write " + *right);
      }
    }
  }
  return {};
}

namespace {

po::options_description describe(const std::vector<Option>& options) {
  po::options_description out{"Options", kLineLength, kLineLength / 2};
  for (const Option& option : options) {
    std::string help = option.help;
    if (option.required) help += " (required)";
    if (option.repeatable) help += " (may be repeated)";
    if (option.flag) {
      out.add_options()(option.name.c_str(), help.c_str());
    } else if (option.repeatable) {
      auto* value = po::value<std::vector<std::string>>()->value_name(option.placeholder);
      if (option.default_value)
        value->default_value({*option.default_value}, *option.default_value);
      out.add_options()(option.name.c_str(), value, help.c_str());
    } else {
      auto* value = po::value<std::string>()->value_name(option.placeholder);
      if (option.default_value) value->default_value(*option.default_value);
      out.add_options()(option.name.c_str(), value, help.c_str());
    }
  }
  return out;
}

}  // namespace

Result<Parsed> Options::parse(const std::vector<std::string>& arguments,
                              const Environment& environment) const {
  Parsed out;
  auto command_line = read_command_line(arguments);
  if (!command_line) return tl::unexpected(command_line.error());
  if (command_line->shortcut) {
    out.outcome_ = *command_line->shortcut;
    out.text_ = out.outcome_ == Parsed::Outcome::kHelp
                    ? help()
                    : usage_.program + " " + usage_.version + "\n";
    return out;
  }
  std::vector<Source> sources;  // the highest first
  sources.push_back(std::move(command_line->given));
  sources.push_back(read_environment(environment));
  for (const Source& source : sources) {
    if (auto valid = validate(source); !valid) return tl::unexpected(valid.error());
  }
  for (const Source& source : sources) {
    const auto config = source.find("config");
    if (config == source.end()) continue;
    auto settings = read_settings(config->second.front());
    if (!settings) return tl::unexpected(settings.error());
    if (auto valid = validate(*settings); !valid) return tl::unexpected(valid.error());
    sources.push_back(std::move(*settings));
    break;
  }

  // The library's rule is ours: what is stored first stays, and stays alone.
  const po::options_description description = describe(options_);
  po::variables_map merged;
  for (const Source& source : sources) {
    po::parsed_options parsed{&description};
    for (const auto& [name, given] : source) {
      for (const Given& one : given) parsed.options.emplace_back(name, std::vector{one.value});
    }
    po::store(parsed, merged);
  }
  for (const Option& option : options_) {
    if (is_built_in(option.name)) continue;
    Parsed::Entry& entry = out.entries_[option.name];
    if (merged.count(option.name) > 0) {
      const po::variable_value& value = merged[option.name];
      if (option.repeatable) {
        entry.values = value.as<std::vector<std::string>>();
      } else {
        entry.values = {value.as<std::string>()};
      }
    } else if (option.flag) {
      entry.values = {*option.default_value};
    }
    if (!entry.values.empty()) entry.source = "the default";
    for (const std::string& one : entry.values) {
      entry.labels.push_back("--" + option.name + " " + quoted(one) + " by default");
    }
    for (const Source& source : sources) {
      const auto found = source.find(option.name);
      if (found == source.end()) continue;
      entry.set = true;
      entry.source = found->second.front().source;
      entry.labels.clear();
      for (const Given& one : found->second) entry.labels.push_back(one.label);
      break;
    }
  }
  out.positionals_ = std::move(command_line->positionals);

  if (out.positionals_.size() > usage_.positionals_max) {
    const std::string& word = out.positionals_[usage_.positionals_max];
    const std::string name = word.substr(std::min(word.find_first_not_of('-'), word.size()));
    return fail(Errc::kUsage,
                "unexpected argument " + quoted(word) + " on the command line: " +
                    suggestion(name, "--", "write " + usage_.program + " " + usage_.arguments));
  }
  if (command_line->print_config) {
    out.outcome_ = Parsed::Outcome::kPrintConfig;
    out.text_ = printed(out);
    return out;
  }
  for (const Option& option : options_) {
    if (!option.required || out.has(option.name)) continue;
    return fail(Errc::kUsage, "--" + option.name + " is missing: write " + usage_of(option) +
                                  " on the command line, " + variable_of(option.name) +
                                  " in the environment or " + option.name + " = " +
                                  option.placeholder + " in the --config file");
  }
  if (out.positionals_.size() < usage_.positionals_min) {
    return fail(Errc::kUsage, "an argument is missing on the command line: write " +
                                  usage_.program + " " + usage_.arguments);
  }
  return out;
}

Result<Parsed> Options::parse(int argc, const char* const* argv, int skip) const {
  return parse(std::vector<std::string>(argv + std::min(argc, skip), argv + argc),
               process_environment());
}

std::string Options::help() const {
  std::ostringstream out;
  out << "Usage: " << usage_.program << ' ' << usage_.arguments << "\n\n";
  if (!usage_.summary.empty()) out << usage_.summary << "\n\n";
  out << describe(options_)
      << "\n--a-b is also LIMINAL_A_B in the environment and a-b = value in the --config file.\n"
         "Command line > environment > file > default.\n";
  return out.str();
}

std::string Options::printed(const Parsed& parsed) const {
  std::string out = "# The effective options of " + usage_.program + ".\n";
  for (const Option& option : options_) {
    if (is_built_in(option.name)) continue;
    const Parsed::Entry& entry = parsed.entry(option.name);
    if (!option.help.empty()) out += "\n# " + escaped_tail(option.help, option.help.size());
    out += "\n# ";
    if (entry.values.empty()) {
      out += "not set:\n# " + option.name + " = " + option.placeholder + "\n";
      continue;
    }
    out += "from " + entry.source + "\n";
    for (const std::string& value : entry.values) {
      out += option.name + " = " + written(value) + "\n";
    }
  }
  return out;
}

}  // namespace liminal::config
