// liminal-bench-hops: what each hop of a message costs the thread that does it, alone.
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "broker/broker_core.hpp"
#include "common/wire/codec.hpp"
#include "node/node_loop.hpp"
#include "node/remote/node_core.hpp"
#include "node/scheduler/scheduler.hpp"

namespace liminal::bench {
namespace {

using namespace std::chrono_literals;

constexpr const char* kUsage = R"(usage: liminal-bench-hops [--repeat N]

What each hop of a message on its way from one node to another costs the thread that does it, in
nanoseconds of its CPU time a message: the least of N repetitions (200), which other load of the
machine disturbs least. Messages come alone, or in batches as they do when many are under way.
)";

constexpr TimePoint kNow{1000s};
constexpr std::size_t kPayloadBytes = 64;

std::int64_t cpu_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

/// Adds up what is between start() and stop().
class Meter {
 public:
  void start() { started_ = cpu_ns(); }
  void stop() { used_ += cpu_ns() - started_; }
  [[nodiscard]] std::int64_t used() const { return used_; }

 private:
  std::int64_t started_ = 0, used_ = 0;
};

[[noreturn]] void give_up(const char* why) {
  std::fprintf(stderr, "error: %s\n", why);
  std::exit(1);
}

NodeName client() { return NodeName{"client"}; }
NodeName server() { return NodeName{"server"}; }
constexpr Epoch kEpoch{77};

Signal request(const Pid& from, const Pid& to, std::uint64_t number) {
  static const Payload payload{std::string(kPayloadBytes, 'x')};
  return signal::Send{from, to,
                      Envelope{.kind = EnvelopeKind::kRequest,
                               .id = {0x1122334455667788, number},
                               .conversation = {0x0102030405060708, 1},
                               .wants_reply = true,
                               .deadline = kNow + 30s,
                               .payload = payload}};
}

/// Two NodeCores that have joined a broker which is played here.
class TwoCores {
 public:
  TwoCores() {
    join(a_, client(), b_, server());
    join(b_, server(), a_, client());
  }

  [[nodiscard]] NodeCore& sender() { return a_; }
  [[nodiscard]] NodeCore& receiver() { return b_; }
  [[nodiscard]] Pid target() const { return {server(), b_.incarnation(), Serial{9}}; }
  [[nodiscard]] std::string header_from_sender() const { return header(client(), a_); }

  /// The frames of one go to the other.
  void carry(NodeCore& from, const NodeName& name, NodeCore& to, TimePoint now) {
    for (const auto& effect : from.flush(now)) {
      if (const auto* sent = std::get_if<node_effect::SendFrame>(&effect)) {
        (void)to.on_frame(header(name, from), sent->frame, now);
      }
    }
  }
  void acknowledge(TimePoint now) { carry(b_, server(), a_, now); }

 private:
  static std::string header(const NodeName& name, const NodeCore& core) {
    return wire::encode(RouteFrom{name, core.incarnation(), kEpoch, MembershipVersion{1}});
  }
  static void join(NodeCore& core, const NodeName&, const NodeCore& other, const NodeName& name) {
    (void)core.start(kNow);
    (void)core.on_control_connected(kNow);
    const ClusterSettings settings{250ms, 1250ms, 3s, 500ms, 16 * 1024 * 1024};
    const Member member{name, other.incarnation(), MemberState::kJoined, false, {}, {}};
    (void)core.on_control(wire::encode(ControlFrame{control::Welcome{
                              kEpoch, MembershipVersion{1}, 4711, settings, {member}}}),
                          kNow);
    (void)core.on_data_connected(kNow);
    (void)core.on_data_control(wire::encode(ControlFrame{control::Attached{}}), kNow);
    if (!core.joined()) give_up("a core has not joined");
  }

  NodeCore a_{{.name = client()}, Random{1}}, b_{{.name = server()}, Random{2}};
};

/// One repetition with batches of this size; what is left out of the meter is preparation.
using Hop = std::function<void(Meter&, std::size_t batch)>;

void through_inbox(Meter& meter, std::size_t batch) {
  static NodeInbox inbox;
  const Pid pid{client(), Incarnation{1}, Serial{1}};
  std::vector<Signal> signals;
  for (std::size_t i = 0; i < batch; ++i) signals.push_back(request(pid, pid, i));
  (void)inbox.take();
  meter.start();
  for (Signal& signal : signals) inbox.push(std::move(signal));
  const auto taken = inbox.take();
  meter.stop();
}

/// From NodeCore's on_signal() to bytes, and from bytes to signals for the scheduler.
void between_cores(Meter& out, Meter& in, std::size_t batch) {
  static TwoCores cores;
  static TimePoint now = kNow;
  static std::uint64_t number = 0;
  now += 1ms;
  const Pid from{client(), local_incarnation(), Serial{5}};
  std::vector<Signal> signals;
  for (std::size_t i = 0; i < batch; ++i)
    signals.push_back(request(from, cores.target(), ++number));

  out.start();
  for (Signal& signal : signals) (void)cores.sender().on_signal(std::move(signal), now);
  const auto effects = cores.sender().flush(now);
  out.stop();

  const std::string header = cores.header_from_sender();
  std::size_t delivered = 0;
  for (const auto& effect : effects) {
    const auto* sent = std::get_if<node_effect::SendFrame>(&effect);
    if (sent == nullptr) continue;
    in.start();
    delivered += cores.receiver().on_frame(header, sent->frame, now).size();
    in.stop();
  }
  if (delivered != batch) give_up("not all came through");
  now += 20ms;
  (void)cores.receiver().advance(now);
  cores.acknowledge(now);
}
void core_out(Meter& meter, std::size_t batch) {
  Meter other;
  between_cores(meter, other, batch);
}
void core_in(Meter& meter, std::size_t batch) {
  Meter other;
  between_cores(other, meter, batch);
}

SessionFrame frame_of(std::size_t batch) {
  SessionFrame frame{SessionNumber{1}, 100'000, 40'000'000, false, 100'000, {}};
  const Pid from{client(), Incarnation{1}, Serial{5}}, to{server(), Incarnation{2}, Serial{9}};
  for (std::size_t i = 0; i < batch; ++i) frame.items.emplace_back(request(from, to, i));
  return frame;
}
void encoding(Meter& meter, std::size_t batch) {
  const SessionFrame frame = frame_of(batch);
  meter.start();
  const std::string bytes = wire::encode(frame, kNow);
  meter.stop();
}
void decoding(Meter& meter, std::size_t batch) {
  const std::string bytes = wire::encode(frame_of(batch), kNow);
  meter.start();
  const auto frame = wire::decode_session_frame(bytes, kNow);
  meter.stop();
  if (!frame) give_up("a frame does not decode");
}

/// The broker's decision about one message, whatever it carries.
void broker_core(Meter& meter, std::size_t batch) {
  using broker::BrokerCore;
  static BrokerCore core = [] {
    BrokerCore::Settings settings;
    settings.cluster = {250ms, 1250ms, 3s, 500ms, 16 * 1024 * 1024};
    BrokerCore fresh{settings, Random{1}, kNow};
    for (const std::uint64_t node : {1, 2}) {
      control::Join join{node == 1 ? client() : server(), Incarnation{node}, false, {}, {}};
      const auto effects =
          fresh.on_control(ConnectionId{10 * node}, "peer", wire::encode(ControlFrame{join}), kNow);
      for (const auto& effect : effects) {
        const auto* sent = std::get_if<broker::effect::Send>(&effect);
        if (sent == nullptr) continue;
        const auto frame = wire::decode_control(sent->bytes);
        const auto* welcome = frame ? std::get_if<control::Welcome>(&*frame) : nullptr;
        if (welcome == nullptr) continue;
        (void)fresh.on_control(ConnectionId{10 * node + 1}, "peer",
                               wire::encode(ControlFrame{control::Attach{welcome->token}}), kNow);
      }
    }
    if (fresh.members().size() != 2) give_up("the nodes have not joined the broker's core");
    return fresh;
  }();
  const std::string header = wire::encode(RouteTo{server(), Incarnation{2}});
  meter.start();
  std::size_t forwarded = 0;
  for (std::size_t i = 0; i < batch; ++i) {
    forwarded += core.on_data(ConnectionId{11}, header, 200, kNow).size();
  }
  meter.stop();
  if (forwarded != batch) give_up("the broker's core did not forward");
}

class Sink final : public Process {
 public:
  void handle(Context&, Message) override {}
};

/// From deliver() through a mailbox to the process's handler.
void through_mailbox(Meter& meter, std::size_t batch) {
  static Scheduler scheduler{{.node = server(), .seed = 1}, [](Signal) {}};
  static const Pid sink = scheduler.spawn(std::make_unique<Sink>());
  std::vector<Signal> signals;
  const Pid from{client(), Incarnation{1}, Serial{5}};
  for (std::size_t i = 0; i < batch; ++i) signals.push_back(request(from, sink, i));
  meter.start();
  for (Signal& signal : signals) scheduler.deliver(std::move(signal));
  scheduler.run_until_idle(kNow);
  meter.stop();
}

struct NamedHop {
  const char* name;
  Hop hop;
};

double nanoseconds_a_message(const NamedHop& hop, std::size_t batch, int repeat) {
  std::int64_t least = -1;
  Meter empty;  // what reading the clock costs by itself
  for (int i = 0; i < 1000; ++i) {
    empty.start();
    empty.stop();
  }
  const double clock_ns = static_cast<double>(empty.used()) / 1000;
  // Small batches several times, so that the clock's resolution matters less.
  const std::size_t times = std::max<std::size_t>(1, 200 / batch);
  for (int i = 0; i < repeat; ++i) {
    Meter meter;
    for (std::size_t t = 0; t < times; ++t) hop.hop(meter, batch);
    if (least < 0 || meter.used() < least) least = meter.used();
  }
  const double each = static_cast<double>(least) / static_cast<double>(times) - clock_ns;
  return std::max(0.0, each) / static_cast<double>(batch);
}

int run(int repeat) {
  const std::vector<NamedHop> hops{
      {"worker to loop: NodeInbox", through_inbox},
      {"loop: NodeCore to bytes", core_out},
      {"  of which encoding", encoding},
      {"broker: BrokerCore", broker_core},
      {"loop: bytes to NodeCore", core_in},
      {"  of which decoding", decoding},
      {"loop to process: mailbox, turn", through_mailbox},
  };
  constexpr std::size_t kBatches[] = {1, 16, 128, 512};
  std::printf("build type %s, payload %zu bytes, ns of CPU a message, least of %d\n\n%-34s",
              LIMINAL_BUILD_TYPE, kPayloadBytes, repeat, "batch");
  for (const std::size_t batch : kBatches) std::printf("%8zu", batch);
  std::printf("\n");
  for (const NamedHop& hop : hops) {
    std::printf("%-34s", hop.name);
    for (const std::size_t batch : kBatches) {
      std::printf("%8.0f", nanoseconds_a_message(hop, batch, repeat));
    }
    std::printf("\n");
  }
  return 0;
}

}  // namespace
}  // namespace liminal::bench

int main(int argc, char** argv) {
  int repeat = 200;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--help") {
      std::fputs(liminal::bench::kUsage, stdout);
      return 0;
    }
    if (option == "--repeat" && i + 1 < argc) {
      repeat = std::atoi(argv[++i]);
      if (repeat > 0) continue;
    }
    std::fprintf(stderr, "error: Usage: '%s'\n%s", argv[i], liminal::bench::kUsage);
    return 2;
  }
  return liminal::bench::run(repeat);
}
