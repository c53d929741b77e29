// An order in three steps, each on a node of its own. What was done is undone when one fails.
// usage: order_saga serve STEP BROKER     a node that offers reserve, charge or ship
//        order_saga order BROKER          one order; exit code 7: it failed, and was undone; 8: not
//                                         all of it; 6: it failed, and there was nothing to undo
// Where effects are noted down: in the file that LIMINAL_LEDGER names.
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <utility>

#include "node/node.hpp"
#include "node/node_log.hpp"
#include "node/participant/effects_ledger.hpp"
#include "or_throw.hpp"

using namespace liminal;
using namespace std::chrono_literals;

/// Where effects are noted down, in the order in which they took place: LIMINAL_LEDGER's file.
class Book {
 public:
  explicit Book(std::string step)
      : service_(std::move(step)), node_("node-" + service_.value()), ledger_(open_ledger()) {}

  [[nodiscard]] const ServiceName& service() const { return service_; }
  [[nodiscard]] const NodeName& node() const { return node_; }
  void done(const Request& request) const {
    const std::string order{request.payload.view()};
    or_throw(ledger_.append(EffectsLedger::Entry::done(service_, node_, request, order)));
  }
  void undone(const Compensation& undo) const {
    const std::string order{undo.request.payload.view()};
    or_throw(ledger_.append(EffectsLedger::Entry::undone(service_, node_, undo, order)));
  }

 private:
  static EffectsLedger open_ledger() {
    auto ledger = or_throw(EffectsLedger::from_environment());
    if (!ledger) throw std::runtime_error("LIMINAL_LEDGER must name the file to note effects in");
    return *std::move(ledger);
  }

  ServiceName service_;
  NodeName node_;
  EffectsLedger ledger_;
};

/// Reserving and charging: done at once, and can be undone.
class BookedStep final : public ParticipantBehaviour {
 public:
  explicit BookedStep(const Book& book) : book_(book) {}
  std::optional<Payload> process(const Request& request) override {
    book_.done(request);
    return Payload{book_.service().value() + " done"};
  }
  void compensate(const Compensation& undo) override { book_.undone(undo); }

 private:
  const Book& book_;
};

/// Shipping takes long, and what has left the house does not come back.
class Ship final : public AsyncBehaviour {
 public:
  explicit Ship(const Book& book) : book_(book) {}
  Task<std::optional<Payload>> process(Request request, ParticipantContext&) override {
    book_.done(request);
    co_await sleep_for(1h);
    co_return Payload{"ship done"};
  }

 private:
  const Book& book_;
};

constexpr const char* kSteps[] = {"reserve", "charge", "ship"};

bool is_step(const std::string& word) {
  return std::find(std::begin(kSteps), std::end(kSteps), word) != std::end(kSteps);
}

int serve(const std::string& step, const std::string& broker) {
  const Book book{step};
  set_up_node_log(book.node(), "warning");
  const auto node = or_throw(Node::create({.name = book.node(), .broker = broker}));
  const auto offered =
      step == "ship"
          ? node->offer(book.service(), [&] { return std::make_unique<Ship>(book); })
          : node->offer(book.service(), [&] { return std::make_unique<BookedStep>(book); });
  or_throw(offered);
  or_throw(node->start(10s));
  std::cout << "ready " << step << std::endl;
  for (;;) ::pause();  // until it is killed
}

int order(const std::string& broker) {
  const NodeName shop{"shop"};
  set_up_node_log(shop, "warning");
  const auto node = or_throw(Node::create({.name = shop, .broker = broker, .light = true}));
  or_throw(node->start(10s));

  ConversationConfig config{CrashPolicy::kCompensate};
  for (const char* step : kSteps) {
    config.participants.push_back(ParticipantConfig::owned(ServiceName{step}));
  }
  const auto actor = or_throw(node->conversations().spawn(config));
  ConversationHandle saga = actor.handle();
  bool done = true;
  for (const ParticipantConfig& step : config.participants) {
    const auto reply = saga.ask(Payload{"order 17"}, 60s, {.role = step.role});
    if (!reply) {
      std::cout << step.role << ": " << name_of(reply.error().code) << std::endl;
      saga.cancel(step.role + " failed");  // a crash has ended it already, other errors have not
      done = false;
      break;
    }
    std::cout << reply->view() << std::endl;
  }
  or_throw(saga.close(60s));

  const ConversationState end = actor.state();
  for (const CompensationRecord& undo : end.compensations) {
    std::cout << undo.role << (undo.in_doubt ? " (in doubt)" : "") << ": " << name_of(undo.outcome)
              << '\n';
  }
  std::cout << (done ? "shipped" : end.failure ? name_of(end.failure->code) : "failed") << '\n';
  if (done) return 0;
  if (!end.failure) return 6;
  return end.failure->code == Errc::kCompensated          ? 7
         : end.failure->code == Errc::kCompensationFailed ? 8
                                                          : 6;
}

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  try {
    if (what == "serve" && argc == 4 && is_step(argv[2])) return serve(argv[2], argv[3]);
    if (what == "order" && argc == 3) return order(argv[2]);
  } catch (const std::exception& failed) {
    std::cerr << "order_saga: " << failed.what() << '\n';
    return 1;
  }
  std::cerr << "usage: order_saga serve reserve|charge|ship BROKER | order_saga order BROKER\n";
  return 2;
}
