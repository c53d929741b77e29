// Writes valid input for the targets that read bytes, a folder for each, so that a hunt begins
// where the fields are: fuzz_seeds DIRECTORY. Those that read choices begin with nothing.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "common/wire/limits.hpp"
#include "node/conversation/remote_calls.hpp"
#include "node/conversation/remote_state.hpp"
#include "node/participant/pipe_message.hpp"
#include "tests/unit/common/wire/frames.hpp"

namespace liminal::test {
namespace {

class Writer {
 public:
  explicit Writer(std::filesystem::path root) : root_(std::move(root)) {}

  void write(const char* target, const std::string& bytes) {
    const std::filesystem::path folder = root_ / target;
    std::filesystem::create_directories(folder);
    std::ofstream file{folder / ("seed-" + std::to_string(++written_)), std::ios::binary};
    file << bytes;
    if (!file.flush()) {
      std::fprintf(stderr, "fuzz_seeds: cannot write to %s\n", folder.c_str());
      std::exit(1);
    }
  }

 private:
  std::filesystem::path root_;
  int written_ = 0;
};

template <class Said>
std::string header_of(const Said& said) {
  Envelope envelope = bare_envelope();
  put(envelope, said);
  return envelope.headers.front().second;
}

void write_calls(Writer& writer) {
  const MessageId id{1, 2};
  for (const RemoteCall& call : {
           RemoteCall{remote_call::Watch{}},
           RemoteCall{remote_call::Send{"role", ReplyMode::kInbox, WhenDeferred::kTell, false}},
           RemoteCall{remote_call::Send{"", std::nullopt, WhenDeferred::kRepeat, true}},
           RemoteCall{remote_call::Receive{id}},
           RemoteCall{remote_call::Receive{}},
           RemoteCall{remote_call::Abandon{id, true}},
           RemoteCall{remote_call::Close{}},
           RemoteCall{remote_call::Cancel{"somebody"}},
           RemoteCall{remote_call::Received{{id, id}}},
           RemoteCall{remote_call::Detach{}},
       }) {
    writer.write("calls", header_of(call));
  }
  for (const RemoteOutcome& outcome : {
           RemoteOutcome{remote_outcome::Taken{true}},
           RemoteOutcome{remote_outcome::Reply{}},
           RemoteOutcome{remote_outcome::Failed{{Errc::kNoService, "why"}, false, true}},
           RemoteOutcome{remote_outcome::State{}},
       }) {
    writer.write("calls", header_of(outcome));
  }
}

void write_states(Writer& writer) {
  RemoteState told{{.id = conversation()}, CrashPolicy::kFail, std::nullopt};
  writer.write("state", *encode_state(told, kNow));
  const Pid there = pid_b(1), at_home{pid_a(17).node, local_incarnation(), Serial{2}};
  told.on_crash = CrashPolicy::kCompensate;
  told.actor = at_home;
  told.state.phase = ConversationPhase::kFailed;
  told.state.failure = Error{Errc::kCompensated, "undone"};
  told.state.participants = {{.role = "a",
                              .name = "upper",
                              .owned = true,
                              .pid = there,
                              .placement = "any",
                              .exited = at_home,
                              .exited_at = kNow - 1s,
                              .reason = ExitReason::noconnection(evidence()),
                              .crashed = true},
                             {.role = "b", .name = "b", .owned = false}};
  told.state.crashes = {{"a", "upper", at_home, ExitReason::error("exit status 3"), 2,
                         CrashPolicy::kCompensate, kNow - 2s}};
  told.state.reroutes = {{"a", at_home, there, 3, kNow - 3s}, {"a", there, std::nullopt, 0, kNow}};
  told.state.compensations = {{"a", "upper", MessageId{1, 2}, true, CompensationOutcome::kFailed, 3,
                               there, "no", kNow - 4s},
                              {"b", "b", MessageId{3, 4}, false}};
  writer.write("state", *encode_state(told, kNow));
}

void write_all(Writer& writer) {
  static constexpr const char* kTargets[] = {"control", "route", "route", "session_frame"};
  static constexpr const char* kTimelineFrames[] = {
      "records", "cancel answer", "timeline query", "conversations query", "cancel query",
      "loads",   "cancel order",  "timeline reply", "cancel reply",        "conversations reply"};
  for (const Encoded& frame : encoded_frames()) {
    writer.write(kTargets[frame.decoder], frame.bytes);
    for (std::size_t i = 0; i < std::size(kTimelineFrames); ++i) {
      const std::string name = kTimelineFrames[i];
      if (frame.name != name && frame.name != name + ", bare") continue;
      // array, version and kind take a byte each: behind them the target goes on
      writer.write("timeline", std::string(1, static_cast<char>(i)) + frame.bytes.substr(3));
    }
  }
  for (const char piece : {'\0', '\2'}) {
    std::string stream(1, piece);
    for (const char* message : {"", "a", "two of them"}) {
      stream += length_prefix(std::string_view{message}.size()) + message;
    }
    writer.write("pipe", stream);
    writer.write("pipe", stream + length_prefix(1001) + "x");
    writer.write("pipe", stream + length_prefix(5) + "x");
  }
  write_calls(writer);
  write_states(writer);
}

}  // namespace
}  // namespace liminal::test

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: fuzz_seeds DIRECTORY\n", stderr);
    return 2;
  }
  liminal::test::Writer writer{argv[1]};
  liminal::test::write_all(writer);
  return 0;
}
