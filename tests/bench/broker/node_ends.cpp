#include "node_ends.hpp"

#include <unistd.h>

#include <atomic>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "bare_ends.hpp"
#include "node/node.hpp"
#include "node/node_log.hpp"

namespace liminal::bench {
namespace {

using namespace std::chrono_literals;

constexpr Duration kPatience = 30s;
constexpr Duration kJoinTimeout = 10s;

ServiceName echo() { return ServiceName{"echo"}; }

std::unique_ptr<Node> start_node(const char* name, const std::optional<std::string>& endpoint,
                                 bool offers, unsigned workers) {
  silence_node_log();
  std::vector<ServiceDefinition> services;
  if (offers) services.push_back({echo(), service_kind::Echo{}});
  auto node = Node::create(
      {.name = NodeName{name}, .broker = endpoint, .light = !offers, .workers = workers}, services);
  if (!node) give_up(node.error().detail);
  if (auto started = (*node)->start(kJoinTimeout); !started) give_up(started.error().detail);
  return *std::move(node);
}

/// Whoever offers the service, as a pid that can be asked for an instance.
Pid wait_for_server(const Node& node) {
  for (const auto end = BenchClock::now() + kPatience; BenchClock::now() < end;) {
    for (const Member& member : node.directory().snapshot()->members) {
      if (!member.services.empty()) return {member.name, member.incarnation, Serial{0}};
    }
    std::this_thread::sleep_for(1ms);
  }
  give_up("nobody offers the service");
}

// --- conversations ---

Sample ask_one_by_one(ConversationHandle& handle, const ChildLine& line, const Load& load) {
  const Payload payload{std::string(load.payload_bytes, 'x')};
  Stopwatch watch{load};
  say_begin_after(line, load);
  for (;;) {
    const auto sent = BenchClock::now();
    const auto reply = handle.ask(payload, kPatience);
    if (!reply) give_up(reply.error().detail);
    if (!watch.replied(sent, BenchClock::now())) return watch.sample();
  }
}

/// Keeps requests of one conversation in flight: each reply makes the next request, in the turn
/// that brought it.
class Pump {
 public:
  Pump(ConversationHandle handle, const Load& load, std::atomic<std::uint64_t>& replies)
      : handle_(std::move(handle)),
        payload_(std::string(load.payload_bytes, 'x')),
        replies_(replies) {}

  void start_one() {
    SendOptions options;
    options.deadline = kPatience;
    (void)handle_.start_ask(payload_, std::move(options), [this](const Outcome& outcome) {
      if (!outcome) give_up(outcome.error().detail);
      replies_.fetch_add(1, std::memory_order_relaxed);
      start_one();
    });
  }

 private:
  ConversationHandle handle_;
  Payload payload_;
  std::atomic<std::uint64_t>& replies_;
};

[[noreturn]] void ask_many(std::vector<ConversationHandle> handles, const ChildLine& line,
                           const Load& load) {
  std::atomic<std::uint64_t> replies{0};
  std::deque<Pump> pumps;
  for (ConversationHandle& handle : handles) pumps.emplace_back(std::move(handle), load, replies);
  const Stopwatch watch{load};
  say_begin_after(line, load);
  for (std::size_t i = 0; i < load.in_flight; ++i) pumps[i % pumps.size()].start_one();
  std::this_thread::sleep_until(watch.from());
  const auto from = BenchClock::now();
  const std::uint64_t before = replies.load();
  std::this_thread::sleep_until(watch.until());
  const std::uint64_t counted = replies.load() - before;
  const double seconds = std::chrono::duration<double>(BenchClock::now() - from).count();
  say_sample(line, {.rate = static_cast<double>(counted) / seconds});
  for (;;) ::pause();  // the pumps go on until this process is killed
}

Sample ask_in_conversations(Node& node, const ChildLine& line, const Load& load) {
  (void)wait_for_server(node);
  std::vector<ConversationHandle> handles;
  for (std::size_t i = 0; i < (load.in_flight == 1 ? 1 : load.conversations); ++i) {
    const auto actor =
        node.conversations().spawn({CrashPolicy::kFail, {ParticipantConfig::owned(echo())}});
    if (!actor) give_up(actor.error().detail);
    ConversationHandle handle = actor->handle();
    const auto first = handle.ask(Payload{"first"}, kPatience);  // its participant stands
    if (!first) give_up(first.error().detail);
    handles.push_back(std::move(handle));
  }
  if (load.in_flight > 1) ask_many(std::move(handles), line, load);
  return ask_one_by_one(handles.front(), line, load);
}

// --- bare processes ---

class AskingProcess final : public Process {
 public:
  AskingProcess(Pid server, const ChildLine& line, const Load& load,
                std::function<void(Sample)> done)
      : server_(std::move(server)),
        line_(line),
        load_(load),
        payload_(std::string(load.payload_bytes, 'x')),
        done_(std::move(done)) {}

  void on_start(Context& context) override { (void)context.spawn_service(server_, echo(), {1, 1}); }

  void handle(Context& context, Message message) override {
    if (const auto* spawned = std::get_if<message::Spawned>(&message)) {
      if (!spawned->instance) give_up(spawned->instance.error().detail);
      instance_ = *spawned->instance;
      watch_.emplace(load_);
      say_begin_after(line_, load_);
      for (std::size_t i = 0; i < load_.in_flight; ++i) send_one(context, BenchClock::now());
    } else if (std::holds_alternative<message::Received>(message)) {
      const auto now = BenchClock::now();
      if (!watch_) return;
      if (!watch_->replied(sent_.front(), now)) {
        done_(watch_->sample());
        watch_.reset();
        return;
      }
      sent_.pop_front();
      send_one(context, now);
    }
  }

 private:
  void send_one(Context& context, BenchClock::time_point now) {
    sent_.push_back(now);
    context.send(*instance_, {.kind = EnvelopeKind::kRequest,
                              .id = context.new_message_id(),
                              .conversation = {1, 1},
                              .wants_reply = true,
                              .deadline = context.now() + kPatience,
                              .payload = payload_});
  }

  Pid server_;
  ChildLine line_;
  Load load_;
  Payload payload_;
  std::function<void(Sample)> done_;
  std::optional<Pid> instance_;
  std::optional<Stopwatch> watch_;
  std::deque<BenchClock::time_point> sent_;
};

Sample ask_from_a_process(Node& node, const ChildLine& line, const Load& load) {
  std::promise<Sample> sample;
  node.scheduler().spawn(std::make_unique<AskingProcess>(
      wait_for_server(node), line, load, [&](const Sample& found) { sample.set_value(found); }));
  return sample.get_future().get();
}

}  // namespace

void run_node_server(const ChildLine& line, const std::string& endpoint, const Load& load) {
  const auto node = start_node("server", endpoint, true, load.workers);
  line.say("ready");
  for (;;) ::pause();
}

void run_node_client(const ChildLine& line, Asker asker, const std::optional<std::string>& endpoint,
                     const Load& load) {
  const auto node = start_node("client", endpoint, !endpoint, load.workers);
  say_sample(line, asker == Asker::kConversation ? ask_in_conversations(*node, line, load)
                                                 : ask_from_a_process(*node, line, load));
  for (;;) ::pause();  // its threads are looked at
}

}  // namespace liminal::bench
