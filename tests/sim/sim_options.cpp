#include "tests/sim/sim_options.hpp"

#include <boost/program_options.hpp>
#include <limits>
#include <sstream>

namespace liminal::sim {
namespace {

namespace po = boost::program_options;

// Of a name with one letter each; and every one knows every other.
constexpr std::uint64_t kHostsMax = 20;
constexpr double kMinutesMax = 24 * 60;

po::options_description described(SimOptions& options) {
  po::options_description all;
  all.add_options()("help,h", po::bool_switch(&options.help), "says this")(
      "list", po::bool_switch(&options.list), "names the nemeses and the fault points")(
      "seeds", po::value(&options.seeds)->value_name("N"), "runs so many seeds; 100 otherwise")(
      "first", po::value(&options.first)->value_name("S"), "begins with this seed; 0 otherwise")(
      "seed", po::value<std::uint64_t>()->value_name("S"), "runs this one alone")(
      "minutes", po::value(&options.minutes)->value_name("M"),
      "storms so long in each run, in simulated time; healing comes on top; 0.5 otherwise")(
      "nemesis", po::value(&options.nemeses)->value_name("NAME")->composing(),
      "draws from these faults alone; may be repeated")(
      "nodes", po::value(&options.hosts)->value_name("N"), "hosts, from 2 to 20; 4 otherwise")(
      "trace", po::value(&options.trace_file)->value_name("FILE"),
      "writes all that happens to this file")("json", po::bool_switch(&options.json),
                                              "prints the figures as one JSON object");
  return all;
}

tl::unexpected<Error> bad(std::string text) { return fail(Errc::kUsage, std::move(text)); }

}  // namespace

Storm::Settings SimOptions::storm() const {
  Storm::Settings settings;
  settings.hosts = hosts;
  settings.length =
      std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::ratio<60>>{minutes});
  for (const std::string& name : nemeses)
    settings.nemeses.push_back(Nemesis::kind_named(name)->name);
  return settings;
}

std::string SimOptions::replay(std::uint64_t seed) const {
  std::ostringstream text;
  text.precision(std::numeric_limits<double>::max_digits10);  // so that it reads back the same
  text << "liminal-sim --seed " << seed;
  if (minutes != SimOptions{}.minutes) text << " --minutes " << minutes;
  if (hosts != SimOptions{}.hosts) text << " --nodes " << hosts;
  for (const std::string& name : nemeses) text << " --nemesis " << name;
  return text.str();
}

Result<SimOptions> read_sim_options(int argc, const char* const* argv) {
  SimOptions options;
  try {
    po::variables_map given;
    po::store(
        po::command_line_parser(argc, argv)
            .options(described(options))
            .positional({})
            .style(po::command_line_style::default_style & ~po::command_line_style::allow_guessing)
            .run(),
        given);
    po::notify(given);
    // Boost takes -1 for an unsigned number
    for (int i = 1; i < argc; ++i) {
      const std::string word = argv[i];
      if (word.size() > 1 && word[0] == '-' && word[1] >= '0' && word[1] <= '9') {
        return bad("'" + word + "' is not a number that is meant here");
      }
      if (word.find("=-") != std::string::npos) return bad("'" + word + "' is below zero");
    }
    if (given.contains("seed")) {
      if (given.contains("seeds") || given.contains("first")) {
        return bad("--seed runs one alone: it does not go with --seeds or --first");
      }
      options.first = given["seed"].as<std::uint64_t>();
      options.seeds = 1;
    }
  } catch (const po::error& error) {
    return bad(error.what());
  }
  if (options.seeds == 0) return bad("--seeds must be at least 1");
  if (!(options.minutes > 0.0) || options.minutes > kMinutesMax) {
    return bad("--minutes must be above 0, and at most 1440");
  }
  if (options.hosts < 2 || options.hosts > kHostsMax) return bad("--nodes must be from 2 to 20");
  for (const std::string& name : options.nemeses) {
    if (Nemesis::kind_named(name) == nullptr) {
      return bad("--nemesis: there is no '" + name + "'; --list names them");
    }
  }
  return options;
}

std::string sim_usage() {
  SimOptions options;
  std::ostringstream text;
  text << "usage: liminal-sim [OPTION]...\n"
          "Storms over simulated clusters, by seed. Exit 0: no violation; 1: there are; 2: bad "
          "options.\n\n"
       << described(options);
  return text.str();
}

}  // namespace liminal::sim
