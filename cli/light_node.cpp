#include "cli/light_node.hpp"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "cli/exit_codes.hpp"
#include "common/base/random.hpp"
#include "common/base/text.hpp"

namespace liminal::cli {
namespace {

// How often the joining looks for a signal.
constexpr Duration kLookInterval = std::chrono::milliseconds{50};
// Beyond what any broker's down-after and recovery come to.
constexpr Duration kIsolationTimeout = std::chrono::seconds{120};
constexpr Duration kPlacementHead = std::chrono::milliseconds{100};

sigset_t ending_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGINT);
  ::sigaddset(&set, SIGTERM);
  ::sigaddset(&set, SIGUSR2);  // our own: the watch shall end
  return set;
}

}  // namespace

SignalWatch::SignalWatch() {
  const sigset_t set = ending_signals();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = std::thread{[this] { watch(); }};
}

SignalWatch::~SignalWatch() {
  over_ = true;
  ::pthread_kill(thread_.native_handle(), SIGUSR2);
  thread_.join();
}

void SignalWatch::watch() {
  const sigset_t set = ending_signals();
  for (;;) {
    int number = 0;
    if (::sigwait(&set, &number) != 0) continue;
    if (over_) return;
    if (number == SIGUSR2) continue;
    if (interrupted_.exchange(true)) ::_exit(static_cast<int>(ExitCode::kInterrupted));
    const std::lock_guard lock{mutex_};
    if (what_) what_();
  }
}

void SignalWatch::on_signal(std::function<void()> what) {
  const std::lock_guard lock{mutex_};
  what_ = std::move(what);
  if (interrupted_ && what_) what_();
}

Result<OpenConversation> open_conversation(const SignalWatch& signals,
                                           const ConversationOptions& options,
                                           const std::vector<ServiceName>& services) {
  const std::string name = options.name.empty() ? "cli-" + to_hex(random_seed()) : options.name;
  auto node = Node::create({.name = NodeName{name},
                            .broker = options.broker,
                            .light = true,
                            .isolation_timeout = kIsolationTimeout,
                            .workers = 1,
                            .blocking = 1});
  if (!node) return tl::unexpected<Error>(std::move(node.error()));
  auto joined = (*node)->begin();
  const SystemClock clock;
  const TimePoint give_up_at = clock.now() + options.connect_timeout;
  while (joined) {
    const Duration left = give_up_at - clock.now();
    joined = (*node)->wait_joined(std::min(left, kLookInterval));
    if (joined) break;
    const bool again = joined.error().code == Errc::kNoBroker && left > Duration::zero();
    if (again && !signals.interrupted()) joined = {};
  }
  if (!joined) return tl::unexpected<Error>(std::move(joined.error()));
  ConversationConfig config{options.on_crash, {}};
  for (const ServiceName& service : services) {
    config.participants.push_back(ParticipantConfig::owned(service));
  }
  config.timeout = options.deadline;
  config.compensation_timeout = options.compensation_timeout;
  config.max_attempts = options.max_attempts;
  config.max_reroutes = options.max_reroutes;
  // Before the reply's own time is up, so that it is said what was missing.
  config.policy_timeout = options.timeout - std::min(options.timeout / 10, kPlacementHead);
  auto actor = (*node)->conversations().spawn(std::move(config));
  if (!actor) return tl::unexpected<Error>(std::move(actor.error()));
  return OpenConversation{std::move(*node), actor->handle()};
}

Error end_by_policy(const ConversationOptions& options, ConversationHandle& conversation,
                    Error error, std::string by) {
  conversation.cancel(std::move(by));  // changes nothing if it ends already
  (void)conversation.close(kEndBound);
  Error end = what_it_came_to(conversation.query_state(), std::move(error));
  if (end.code == Errc::kNoService && !options.broker) {
    end.detail += "; with --broker none this command is a node alone, which offers no service";
  }
  return end;
}

Error with_conversation(Error error, const ConversationHandle& conversation) {
  const std::string id = to_string(conversation.id());
  if (error.detail.find(id) == std::string::npos) error.detail += " (conversation " + id + ")";
  return error;
}

}  // namespace liminal::cli
