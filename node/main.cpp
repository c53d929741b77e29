// liminal-node: reads its options, joins, serves until it is told to end.
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "common/base/standard_streams.hpp"
#include "node/dead_letter_log.hpp"
#include "node/node_log.hpp"
#include "node/node_options.hpp"

namespace {

using namespace std::chrono_literals;
using liminal::Errc;

constexpr int kCannotStart = 1;
constexpr int kUsageError = 2;
// How often the wait for a signal looks whether the broker refused the node for good.
constexpr timespec kLook{0, 100'000'000};

int complain(const liminal::Error& error) {
  std::fprintf(stderr, "error: %s: %s\n", std::string{liminal::name_of(error.code)}.c_str(),
               error.detail.c_str());
  return error.code == Errc::kUsage ? kUsageError : kCannotStart;
}

// Blocked in every thread; main() waits for them.
sigset_t block_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  return set;
}

bool came(const sigset_t& set, const timespec& within) {
  return ::sigtimedwait(&set, nullptr, &within) > 0;
}

int serve(liminal::NodeOptions options, const sigset_t& signals) {
  auto created = liminal::Node::create(options.node, options.services);
  if (!created) return complain(created.error());
  liminal::Node& node = **created;
  if (auto begun = node.begin(); !begun) return complain(begun.error());

  // A signal ends the waiting as well.
  const liminal::SystemClock clock;
  const auto give_up_at = clock.now() + options.join_timeout;
  for (;;) {
    if (came(signals, {0, 0})) return EXIT_SUCCESS;
    const auto left = give_up_at - clock.now();
    const auto joined = node.wait_joined(std::min<liminal::Duration>(left, 100ms));
    if (joined) break;
    const bool final = joined.error().code != Errc::kNoBroker;
    if (final || left <= liminal::Duration::zero()) {
      auto error = joined.error();
      if (!final)
        error.detail += " (--join-timeout " + liminal::to_string(options.join_timeout) + ")";
      return complain(error);
    }
  }
  std::printf("ready node %s\n", options.node.name.value().c_str());
  std::fflush(stdout);

  liminal::DeadLetterLog undelivered;
  while (!came(signals, kLook)) {
    undelivered.look(node.dead_letters(), clock.now());
    if (const auto refused = node.wait_ended(0ms)) return complain(*refused);
  }
  node.stop();
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  liminal::open_standard_streams();
  const sigset_t signals = block_signals();
  const auto parsed = liminal::node_option_table().parse(argc, argv);
  if (!parsed) return complain(parsed.error());
  if (parsed->outcome() != liminal::config::Parsed::Outcome::kRun) {
    std::fputs(parsed->text().c_str(), stdout);
    return EXIT_SUCCESS;
  }
  auto options = liminal::read_node_options(*parsed);
  if (!options) return complain(options.error());
  // What is this node's own must not become its children's: a command in a service may be a node.
  for (const char* own :
       {"LIMINAL_NAME", "LIMINAL_SERVICE", "LIMINAL_COMPENSATE", "LIMINAL_LABEL", "LIMINAL_CONFIG",
        "LIMINAL_JOIN_TIMEOUT", "LIMINAL_ISOLATION_TIMEOUT", "LIMINAL_LOG_LEVEL",
        "LIMINAL_MAILBOX_MAX", "LIMINAL_MAILBOX_BYTES_MAX", "LIMINAL_OUTBOX_MAX",
        "LIMINAL_PARTICIPANTS_MAX", "LIMINAL_CONVERSATIONS_MAX", "LIMINAL_LINKS_MAX",
        "LIMINAL_CREDIT_WINDOW", "LIMINAL_REASSEMBLY_MAX", "LIMINAL_DEAD_LETTERS_MAX"}) {
    ::unsetenv(own);
  }
  liminal::set_up_node_log(options->node.name, options->log_level);
  return serve(std::move(*options), signals);
}
