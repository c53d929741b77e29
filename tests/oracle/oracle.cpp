// Runs scripts of signals on Erlang/OTP and on our scheduler, and says where they differ.
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/oracle/generator.hpp"
#include "tests/oracle/judge.hpp"

namespace liminal::oracle {
namespace {

constexpr const char* kUsage =
    "usage: liminal-oracle --beams FOLDER [--seeds N] [--seed N] [--script FILE] [--all FOLDER]\n";

constexpr int kShortenedMax = 3;  // scripts: one reason usually has many

struct Options {
  std::string beams;
  std::uint64_t seeds = 0;
  std::optional<std::uint64_t> seed;
  std::vector<std::string> scripts;
  std::string all;
};

std::optional<std::uint64_t> number_in(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

Result<Options> options_of(const std::vector<std::string>& arguments) {
  Options options;
  for (std::size_t at = 0; at < arguments.size(); at += 2) {
    const std::string& name = arguments[at];
    if (at + 1 == arguments.size()) return fail(Errc::kUsage, name + " needs a value");
    const std::string& value = arguments[at + 1];
    if (name == "--beams") {
      options.beams = value;
    } else if (name == "--script") {
      options.scripts.push_back(value);
    } else if (name == "--all") {
      options.all = value;
    } else if (name == "--seeds" || name == "--seed") {
      const auto number = number_in(value);
      if (!number) return fail(Errc::kUsage, name + ": '" + value + "' is no number");
      if (name == "--seeds") options.seeds = *number;
      if (name == "--seed") options.seed = *number;
    } else {
      return fail(Errc::kUsage, "there is no option '" + name + "'");
    }
  }
  if (options.beams.empty()) return fail(Errc::kUsage, "--beams is missing");
  if (options.scripts.empty() && options.all.empty() && options.seeds == 0 && !options.seed) {
    return fail(Errc::kUsage, "nothing to do: --seeds, --seed, --script or --all");
  }
  return options;
}

Result<Script> read_script(const std::string& path) {
  std::ifstream file{path};
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) return fail(Errc::kUsage, path + ": cannot be read");
  auto script = parse(text.str());
  if (!script) return fail(Errc::kUsage, path + ": " + script.error().detail);
  return script;
}

void print_traces(const Verdict& verdict) {
  std::cout << "Erlang:\n" << to_text(verdict.erlang);
  std::map<Trace, int> distinct;
  for (const Trace& ours : verdict.ours) ++distinct[ours];
  for (const auto& [trace, times] : distinct) {
    std::cout << "ours, " << times << " of " << verdict.ours.size() << " runs:\n" << to_text(trace);
  }
}

class Session {
 public:
  explicit Session(ErlangSide& erlang) : judge_(erlang) {}

  void run(const std::string& name, const Script& script, std::uint64_t seed,
           const std::string& again, bool prints) {
    const Verdict verdict = judge_.judge(script, seed);
    ++judged_;
    open_ += leaves_order_open(script) ? 1 : 0;
    unjudged_ += verdict.agree && leaves_order_open(script) && !verdict.allowed ? 1 : 0;
    if (verdict.agree) {
      if (!prints) return;
      std::cout << name << ": the same";
      if (verdict.allowed) std::cout << ", among the outcomes allowed: " << *verdict.allowed;
      std::cout << "\n";
      print_traces(verdict);
      return;
    }
    ++differ_;
    std::cout << "\n" << name << ": " << verdict.why << "\n" << to_text(script);
    print_traces(verdict);
    if (verdict.erlang.broken.empty() && differ_ <= kShortenedMax) {
      const Script less = judge_.shortened(script, seed);
      std::cout << "shortened:\n" << to_text(less);
      print_traces(judge_.judge(less, seed));
    }
    std::cout << "again: tests/oracle/run " << again << std::endl;
  }

  /// The exit code.
  int conclude() const {
    std::cout << judged_ << " scripts, " << open_ << " of them with an order left open";
    if (unjudged_ > 0) std::cout << " (" << unjudged_ << " with too many outcomes to judge)";
    std::cout << ", " << differ_ << " differ" << std::endl;
    return differ_ == 0 ? 0 : 1;
  }

 private:
  Judge judge_;
  int judged_ = 0, open_ = 0, unjudged_ = 0, differ_ = 0;
};

Result<int> run(const Options& options) {
  std::vector<std::pair<std::string, Script>> scripts;
  const auto take = [&](const std::string& path) -> Result<void> {
    auto script = read_script(path);
    if (!script) return tl::unexpected(std::move(script.error()));
    scripts.emplace_back(path, std::move(*script));
    return {};
  };
  for (const std::string& path : options.scripts) {
    if (auto taken = take(path); !taken) return tl::unexpected(std::move(taken.error()));
  }
  const std::size_t by_hand = scripts.size();
  if (!options.all.empty()) {
    std::vector<std::string> paths;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator{options.all, error}) {
      if (entry.path().extension() == ".script") paths.push_back(entry.path().string());
    }
    if (error || paths.empty()) return fail(Errc::kUsage, options.all + ": no scripts there");
    std::sort(paths.begin(), paths.end());
    for (const std::string& path : paths) {
      if (auto taken = take(path); !taken) return tl::unexpected(std::move(taken.error()));
    }
  }

  auto erlang = ErlangSide::start(options.beams);
  if (!erlang) return tl::unexpected(std::move(erlang.error()));
  Session session{*erlang};
  for (std::size_t at = 0; at < scripts.size(); ++at) {
    const auto& [path, script] = scripts[at];
    session.run(path, script, at, "--script " + path, at < by_hand);
  }
  const auto seeded = [&](std::uint64_t seed, bool prints) {
    const Script script = generate(seed);
    const std::string name = "seed " + std::to_string(seed);
    if (prints) std::cout << to_text(script);
    session.run(name, script, seed, "--seed " + std::to_string(seed), prints);
  };
  if (options.seed) seeded(*options.seed, true);
  for (std::uint64_t seed = 1; seed <= options.seeds; ++seed) seeded(seed, false);
  return session.conclude();
}

}  // namespace
}  // namespace liminal::oracle

int main(int argc, char** argv) {
  using namespace liminal;
  const auto options = oracle::options_of({argv + 1, argv + argc});
  if (!options) {
    std::cerr << "liminal-oracle: " << options.error().detail << "\n" << oracle::kUsage;
    return 2;
  }
  const auto ended = oracle::run(*options);
  if (!ended) {
    std::cerr << "liminal-oracle: " << ended.error().detail << "\n";
    return 2;
  }
  return *ended;
}
