// liminal-broker: reads its options, binds its door, serves until it is told to end.
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "broker/broker_log.hpp"
#include "broker/broker_loop.hpp"
#include "broker/broker_options.hpp"
#include "common/base/random.hpp"
#include "common/base/standard_streams.hpp"

namespace {

using liminal::broker::BrokerLoop;

constexpr int kCannotStart = 1;
constexpr int kUsageError = 2;

// What a signal handler can reach. A signal before there is a loop is remembered.
std::atomic<bool> end_requested{false};
std::atomic<BrokerLoop*> serving{nullptr};
static_assert(std::atomic<BrokerLoop*>::is_always_lock_free);

extern "C" void on_end_signal(int /*signal*/) {
  end_requested.store(true);
  if (BrokerLoop* loop = serving.load()) loop->stop();
}

void handle_signals() {
  struct sigaction action {};
  action.sa_handler = on_end_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

int complain(const liminal::Error& error) {
  std::fprintf(stderr, "error: %s: %s\n", std::string{liminal::name_of(error.code)}.c_str(),
               error.detail.c_str());
  return error.code == liminal::Errc::kUsage ? kUsageError : kCannotStart;
}

int serve(const liminal::broker::BrokerOptions& options) {
  const liminal::SystemClock clock;
  liminal::net::NetContext context;
  liminal::net::Waker waker;
  liminal::net::SocketLimits limits;
  limits.zmtp_heartbeat_timeout =
      liminal::broker::zmtp_heartbeat_timeout(options.cluster.down_after);
  auto door = liminal::net::RouterSocket::bind(context, options.listen, limits);
  if (!door) {
    (void)complain(door.error());
    return kCannotStart;
  }
  const std::vector<std::string> endpoints = door->endpoints();

  liminal::broker::BrokerLog log;
  if (options.insecure) log.insecure(endpoints);
  liminal::broker::BrokerCore::Settings settings;
  settings.cluster = options.cluster;
  settings.nodes_max = options.nodes_max;
  settings.timelines_max = options.timelines_max;
  settings.timeline_bytes_max = options.timeline_bytes_max;
  BrokerLoop loop{*std::move(door),
                  {settings, liminal::Random{liminal::random_seed()}, clock.now()},
                  clock,
                  waker,
                  {.beat_interval = options.cluster.beat_interval,
                   .outbox_bytes_max = options.outbox_bytes_max}};
  serving.store(&loop);

  std::string ready = "ready broker";
  for (const std::string& endpoint : endpoints) ready += " " + endpoint;
  std::printf("%s\n", ready.c_str());
  std::fflush(stdout);
  if (end_requested.load()) loop.stop();
  loop.run();
  serving.store(nullptr);
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  liminal::open_standard_streams();
  handle_signals();
  const auto parsed = liminal::broker::broker_option_table().parse(argc, argv);
  if (!parsed) return complain(parsed.error());
  if (parsed->outcome() != liminal::config::Parsed::Outcome::kRun) {
    std::fputs(parsed->text().c_str(), stdout);
    return EXIT_SUCCESS;
  }
  const auto options = liminal::broker::read_broker_options(*parsed);
  if (!options) return complain(options.error());
  if (const auto log = liminal::broker::set_up_log(options->log_level); !log) {
    return complain(log.error());
  }
  return serve(*options);
}
