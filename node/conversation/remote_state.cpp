#include "node/conversation/remote_state.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "common/wire/parts.hpp"
#include "common/wire/reader.hpp"
#include "common/wire/writer.hpp"

namespace liminal {
namespace {

using wire::Reader;
using wire::Writer;

static_assert(kStateBytesMax <= wire::kChunkBytesMax, "a state travels whole");

constexpr std::uint64_t kStateKind = 1;
constexpr std::size_t kStateFields = 12;

// All of the counters, in the order in which they travel: new ones go to the end.
constexpr std::uint64_t ConversationCounters::*kCounters[] = {
    &ConversationCounters::sent,
    &ConversationCounters::refused,
    &ConversationCounters::completed,
    &ConversationCounters::received,
    &ConversationCounters::answers_dropped,
    &ConversationCounters::exits_ignored,
    &ConversationCounters::actor_restarts,
    &ConversationCounters::undecided,
    &ConversationCounters::notifiers_thrown,
    &ConversationCounters::deferred,
    &ConversationCounters::rejected,
    &ConversationCounters::held_up,
    &ConversationCounters::expired,
    &ConversationCounters::resent,
    &ConversationCounters::not_noted,
    &ConversationCounters::calls_ignored,
};
static_assert(sizeof(ConversationCounters) ==
                  sizeof(kCounters) / sizeof(kCounters[0]) * sizeof(std::uint64_t),
              "every counter travels");

// How much of a state is told; the first that fits is taken.
struct Cut {
  std::size_t text_bytes;
  std::size_t records;  // of each list
};
constexpr Cut kCuts[] = {{1024, 1024}, {128, 256}, {32, 64}, {0, 0}};

std::uint64_t count_of(TimePoint at) {
  return static_cast<std::uint64_t>(at.time_since_epoch().count());
}

Duration age(TimePoint at, TimePoint now) { return std::max(now - at, Duration::zero()); }

TimePoint instant(Duration age, TimePoint now) {
  const Duration since = now.time_since_epoch();  // not before the beginning of time
  if (since < Duration::zero() && age > since - Duration::min()) return TimePoint::min();
  return now - age;
}

// --- writing ---

class StateWriter {
 public:
  StateWriter(Cut cut, TimePoint now) : cut_(cut), now_(now), w_(1024) {}

  std::string write(const RemoteState& told) {
    const ConversationState& state = told.state;
    w_.array(kStateFields + 2).uint(wire::kProtocolVersion).uint(kStateKind);
    w_.id(state.id)
        .uint(count_of(now_))
        .enumerator(state.phase)
        .enumerator(told.on_crash)
        .boolean(state.ended);
    if (state.failure) {
      w_.array(2).enumerator(state.failure->code);
      text(state.failure->detail);
    } else {
      w_.nil();
    }
    optional_pid(told.actor);
    list(state.participants, state.participants.size());
    list(state.crashes, cut_.records);
    list(state.reroutes, cut_.records);
    list(state.compensations, cut_.records);
    w_.array(std::size(kCounters));
    for (const auto counter : kCounters) w_.uint(state.counters.*counter);
    return w_.take();
  }

 private:
  template <class Record>
  void list(const std::vector<Record>& records, std::size_t newest) {
    const std::size_t count = std::min(records.size(), newest);
    w_.array(count);
    for (std::size_t i = records.size() - count; i < records.size(); ++i) record(records[i]);
  }

  void record(const ParticipantStatus& status) {
    w_.array(11).text(status.role).text(status.name).boolean(status.owned);
    w_.enumerator(status.health);
    optional_pid(status.pid);
    text(status.placement);
    w_.uint(status.incumbent);
    optional_pid(status.exited);
    optional_instant(status.exited_at);
    status.reason ? reason(*status.reason) : static_cast<void>(w_.nil());
    w_.boolean(status.crashed);
  }

  void record(const CrashRecord& crash) {
    w_.array(7).text(crash.role).text(crash.name);
    pid(crash.pid);
    reason(crash.reason);
    w_.uint(crash.unanswered).enumerator(crash.policy).duration(age(crash.at, now_));
  }

  void record(const RerouteRecord& reroute) {
    w_.array(5).text(reroute.role);
    pid(reroute.from);
    optional_pid(reroute.to);
    w_.uint(reroute.resent).duration(age(reroute.at, now_));
  }

  void record(const CompensationRecord& compensation) {
    w_.array(9).text(compensation.role).text(compensation.name).id(compensation.request);
    w_.boolean(compensation.in_doubt).enumerator(compensation.outcome).uint(compensation.attempts);
    optional_pid(compensation.by);
    text(compensation.text);
    optional_instant(compensation.at);
  }

  void text(const std::string& text) { w_.text_cut(text, cut_.text_bytes); }

  // Those of the writing node are told without it: the reader knows who speaks.
  void pid(const Pid& pid) {
    if (pid.is_local()) {
      w_.array(1).id(pid.serial);
    } else {
      w_.array(3).id(pid.serial).id(pid.node).id(pid.incarnation);
    }
  }
  void optional_pid(const std::optional<Pid>& optional) {
    optional ? pid(*optional) : static_cast<void>(w_.nil());
  }
  void optional_instant(const std::optional<TimePoint>& at) {
    at ? w_.duration(age(*at, now_)) : w_.nil();
  }
  void reason(const ExitReason& reason) {
    w_.array(3).enumerator(reason.kind);
    text(reason.text);
    wire::write(w_, reason.evidence);
  }

  const Cut cut_;
  const TimePoint now_;
  Writer w_;
};

// --- reading ---

class StateReader {
 public:
  StateReader(std::string_view bytes, const Viewpoint& seen_from, TimePoint now,
              ClockDifference& clocks)
      : r_(bytes, kStateBytesMax, "state"), seen_from_(seen_from), now_(now), clocks_(clocks) {}

  Result<RemoteState> read() {
    r_.frame("state", kStateFields);
    if (r_.kind() != kStateKind) r_.reject("kind", "no state");
    RemoteState told{{.id = r_.wide<ConversationId>("id")}, CrashPolicy::kFail, std::nullopt};
    ConversationState& state = told.state;
    set_writers_now(r_.uint("now"));
    state.phase = r_.enumerator("phase", ConversationPhase::kFailed);
    told.on_crash = r_.enumerator("policy", CrashPolicy::kCompensate);
    state.ended = r_.boolean("ended");
    state.failure = failure();
    told.actor = optional_pid("actor");
    list(state.participants, &StateReader::participant);
    list(state.crashes, &StateReader::crash);
    list(state.reroutes, &StateReader::reroute);
    list(state.compensations, &StateReader::compensation);
    r_.array_of(std::size(kCounters), "counters");
    for (const auto counter : kCounters) state.counters.*counter = r_.uint("counter");
    return r_.finish(std::move(told));
  }

 private:
  // The instant of writing, by the clock of this node.
  void set_writers_now(std::uint64_t written) {
    if (!r_.ok()) return;
    if (!clocks_) clocks_ = count_of(now_) - written;
    now_ = TimePoint{Duration{static_cast<Duration::rep>(written + *clocks_)}};
  }

  template <class Record>
  void list(std::vector<Record>& records, Record (StateReader::*read_one)()) {
    const std::size_t size = r_.array("records");
    for (std::size_t i = 0; i < size && r_.ok(); ++i) records.push_back((this->*read_one)());
  }

  ParticipantStatus participant() {
    r_.array_of(11, "participant");
    return {.role = text("role"),
            .name = text("name"),
            .owned = r_.boolean("owned"),
            .health = r_.enumerator("health", ParticipantHealth::kUnavailable),
            .pid = optional_pid("pid"),
            .placement = text("placement"),
            .incumbent = r_.uint32("incumbent"),
            .exited = optional_pid("exited"),
            .exited_at = optional_instant("exited at"),
            .reason = optional_reason(),
            .crashed = r_.boolean("crashed")};
  }

  CrashRecord crash() {
    r_.array_of(7, "crash");
    return {.role = text("role"),
            .name = text("name"),
            .pid = pid("pid"),
            .reason = reason(),
            .unanswered = r_.uint("unanswered"),
            .policy = r_.enumerator("policy", CrashPolicy::kCompensate),
            .at = instant(r_.duration("at"), now_)};
  }

  RerouteRecord reroute() {
    r_.array_of(5, "reroute");
    return {.role = text("role"),
            .from = pid("from"),
            .to = optional_pid("to"),
            .resent = r_.uint("resent"),
            .at = instant(r_.duration("at"), now_)};
  }

  CompensationRecord compensation() {
    r_.array_of(9, "compensation");
    return {.role = text("role"),
            .name = text("name"),
            .request = r_.wide<MessageId>("request"),
            .in_doubt = r_.boolean("in doubt"),
            .outcome = r_.enumerator("outcome", CompensationOutcome::kFailed),
            .attempts = r_.uint32("attempts"),
            .by = optional_pid("by"),
            .text = text("text"),
            .at = optional_instant("at")};
  }

  std::optional<Error> failure() {
    if (r_.nil()) return std::nullopt;
    r_.array_of(2, "failure");
    const Errc code = r_.enumerator("error code", Errc::kCompensationFailed);
    return Error{code, text("error detail")};
  }

  std::string text(const char* field) { return std::string{r_.text(field)}; }

  Pid pid(const char* field) {
    const std::size_t size = r_.array(field, 3);
    const Serial serial{r_.uint(field)};
    if (size == 1) return seen(Pid{seen_from_.home.node, seen_from_.home.incarnation, serial});
    if (size != 3) r_.reject(field, "wrong number of values");
    NodeName node{r_.name(field)};
    return seen(Pid{std::move(node), r_.incarnation(field), serial});
  }
  std::optional<Pid> optional_pid(const char* field) {
    if (r_.nil()) return std::nullopt;
    return pid(field);
  }
  Pid seen(Pid pid) const {
    if (pid.node == seen_from_.node && pid.incarnation == seen_from_.incarnation) {
      pid.incarnation = local_incarnation();
    }
    return pid;
  }

  std::optional<TimePoint> optional_instant(const char* field) {
    if (r_.nil()) return std::nullopt;
    return instant(r_.duration(field), now_);
  }
  ExitReason reason() {
    r_.array_of(3, "reason");
    return {.kind = r_.enumerator("exit kind", ExitKind::kNoConnection),
            .text = text("reason text"),
            .evidence = wire::read_evidence(r_)};
  }
  std::optional<ExitReason> optional_reason() {
    if (r_.nil()) return std::nullopt;
    return reason();
  }

  Reader r_;
  const Viewpoint& seen_from_;
  TimePoint now_;
  ClockDifference& clocks_;
};

}  // namespace

std::optional<std::string> encode_state(const RemoteState& told, TimePoint now) {
  for (const Cut cut : kCuts) {
    std::string bytes = StateWriter{cut, now}.write(told);
    if (bytes.size() <= kStateBytesMax) return bytes;
  }
  return std::nullopt;
}

Result<RemoteState> decode_state(std::string_view bytes, const Viewpoint& seen_from, TimePoint now,
                                 ClockDifference& clocks) {
  return StateReader{bytes, seen_from, now, clocks}.read();
}

}  // namespace liminal
