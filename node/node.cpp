#include "node/node.hpp"

#include <algorithm>
#include <thread>

#include "node/node_log.hpp"

namespace liminal {
namespace {

// Above the close_timeout that conversations have by default.
constexpr Duration kCloseBound = std::chrono::seconds{3};
constexpr std::uint64_t kPayloadBytesMaxAlone = 16 * 1024 * 1024;

}  // namespace

Node::Node(Settings settings)
    : settings_(std::move(settings)),
      recorder_(settings_.broker ? TimelineRecorder::kUntold : 0,
                [this] { inbox_.records_wait(); }) {
  std::sort(settings_.labels.begin(), settings_.labels.end());
  Scheduler::Forward forward = [this](Signal signal) { inbox_.push(std::move(signal)); };
  if (!settings_.broker) {
    alone_.emplace(NodeCore::Settings{.name = settings_.name}, Random{random_seed()});
    forward = [this](Signal signal) { answer_alone(std::move(signal)); };
  }
  scheduler_ = std::make_unique<Scheduler>(
      Scheduler::Settings{.node = settings_.name,
                          .seed = random_seed(),
                          .mailbox = settings_.limits.mailbox,
                          .links_max = settings_.limits.links_max,
                          .dead_letters_max = settings_.limits.dead_letters_max},
      std::move(forward));
}

Node::~Node() {
  stop();
  workers_.reset();
  runner_.reset();  // no more completions for the scheduler
}

Result<std::unique_ptr<Node>> Node::create(Settings settings,
                                           const std::vector<ServiceDefinition>& services) {
  for (const auto& [name, value] : {std::pair{"isolation_timeout", settings.isolation_timeout},
                                    std::pair{"turn_max", settings.turn_max}}) {
    if (value >= kShortestTimeout && value <= kLongestTimeout) continue;
    return fail(Errc::kUsage, std::string{name} + " is " + to_string(value) +
                                  ", but must be at least " + to_string(kShortestTimeout) +
                                  " and at most " + to_string(kLongestTimeout));
  }
  std::unique_ptr<Node> node{new Node{std::move(settings)}};
  if (auto added = node->add_services(services); !added) {
    return tl::unexpected<Error>(std::move(added.error()));
  }
  node->supervisor_ = std::make_unique<ConversationSupervisor>(
      *node->scheduler_, node->directory_,
      ConversationSupervisor::Settings{
          .conversations_max = node->settings_.limits.conversations_max,
          .timeline = [&recorder =
                           node->recorder_](TimelineRecord r) { recorder.record(std::move(r)); },
          .participants = node->registry_.get()});
  return node;
}

Result<void> Node::add_services(const std::vector<ServiceDefinition>& services) {
  std::optional<ServiceRegistry::ExecSupport> exec;
  if (std::any_of(services.begin(), services.end(),
                  [](const ServiceDefinition& service) { return has_children(service); })) {
    auto runner = CommandRunner::start({});
    if (!runner) return tl::unexpected<Error>(std::move(runner.error()));
    runner_ = std::move(*runner);
    exec.emplace(
        ServiceRegistry::ExecSupport{*runner_, [this](const Pid& to, LocalMessagePtr message) {
                                       return scheduler_->send_local(to, std::move(message));
                                     }});
  }
  registry_ = std::make_unique<ServiceRegistry>(
      ServiceRegistry::Settings{.node = settings_.name,
                                .participants_max = settings_.limits.participants_max,
                                .timeline = &recorder_},
      exec);
  for (const auto& service : services) {
    if (auto added = registry_->add(service); !added) return added;
  }
  return {};
}

Result<void> Node::offer(ServiceName name, ParticipantMaker maker) {
  return registry_->add(std::move(name), std::move(maker));
}

Result<void> Node::start(Duration join_timeout) {
  if (auto begun = begin(); !begun) return begun;
  return wait_joined(join_timeout);
}

Result<void> Node::wait_joined(Duration timeout) {
  return loop_ ? loop_->wait_joined(timeout) : Result<void>{};
}

Result<void> Node::begin() {
  scheduler_->set_service_factory(
      [registry = registry_.get()](const signal::SpawnRequest& request) {
        return registry->make(request);
      });
  if (settings_.broker) {
    NodeCore::Settings core{.name = settings_.name,
                            .light = settings_.light,
                            .services = registry_->names(),
                            .labels = settings_.labels,
                            .isolation_timeout = settings_.isolation_timeout};
    core.turn_max = settings_.turn_max;
    core.outbox_bytes_max = settings_.limits.outbox_bytes_max;
    core.session.credit_window_bytes = settings_.limits.credit_window_bytes;
    core.session.reassembly_bytes_max = settings_.limits.reassembly_bytes_max;
    const auto load = [this] {
      return NodeLoop::Load{static_cast<std::uint32_t>(registry_->participants()),
                            static_cast<std::uint32_t>(supervisor_->open())};
    };
    const auto joined = [this] {
      registry_->set_payload_bytes_max(directory_.snapshot()->payload_bytes_max);
    };
    const auto lease = [this](TimePoint until) { registry_->set_lease(until); };
    const auto cancel = [this](const ConversationId& conversation, const std::string& by) {
      return supervisor_->cancel(conversation, by);
    };
    const auto retell = [this] { supervisor_->retell(); };
    loop_ = std::make_unique<NodeLoop>(
        NodeLoop::Settings{*settings_.broker, std::move(core), random_seed()}, clock_, *scheduler_,
        directory_, inbox_, recorder_, NodeLoop::Hooks{load, joined, lease, cancel, retell});
  } else {
    run_alone();
  }
  const unsigned processors = std::max(1u, std::thread::hardware_concurrency());
  const unsigned workers = settings_.workers != 0 ? settings_.workers : processors;
  workers_ = std::make_unique<Workers>(
      *scheduler_, clock_,
      Workers::Settings{.workers = workers,
                        .blocking = settings_.blocking,
                        .spares = settings_.spare_workers != 0 ? settings_.spare_workers : workers,
                        .turn_max = settings_.turn_max,
                        .on_long_turn = [turn_max = settings_.turn_max](const LongTurn& turn) {
                          log_long_turn(turn, turn_max);
                        }});
  return loop_ ? loop_->start() : Result<void>{};
}

void Node::run_alone() {
  Directory::Snapshot snapshot;
  snapshot.connected = true;
  snapshot.payload_bytes_max = kPayloadBytesMaxAlone;
  snapshot.members.push_back({settings_.name, local_incarnation(), MemberState::kJoined,
                              settings_.light, registry_->names(), settings_.labels});
  directory_.publish(std::move(snapshot));
}

void Node::answer_alone(Signal signal) {
  NodeCore::Effects effects;
  {
    const std::lock_guard lock{alone_mutex_};
    effects = alone_->on_signal(std::move(signal), clock_.now());
  }
  for (auto& effect : effects) {
    if (auto* deliver = std::get_if<node_effect::Deliver>(&effect)) {
      scheduler_->deliver(std::move(deliver->signal));
    } else if (const auto* dead = std::get_if<node_effect::Undeliverable>(&effect)) {
      dead_letters().add(DeadLetter::of(dead->cause, dead->send.from, dead->send.to,
                                        dead->send.envelope, clock_.now()));
    }
  }
}

Node::Counts Node::counts() const {
  const auto scheduled = scheduler_->counts();
  const auto shared = loop_ ? loop_->shared() : NodeLoop::Shared{0, 0};
  return {registry_->participants(), supervisor_->open(), scheduled.processes,
          scheduled.timers,          shared.sessions,     shared.ties};
}

std::optional<Error> Node::wait_ended(Duration timeout) {
  if (!loop_) {
    std::this_thread::sleep_for(timeout);
    return std::nullopt;
  }
  return loop_->wait_ended(timeout) ? loop_->failure() : std::nullopt;
}

void Node::stop() {
  if (workers_) {
    supervisor_->shutdown();
    (void)supervisor_->wait_until_none(kCloseBound);  // what is left ends with the links
  }
  loop_.reset();
  workers_.reset();
}

}  // namespace liminal
