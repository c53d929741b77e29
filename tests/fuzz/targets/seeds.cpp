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
  const auto write = [&] {
    const std::string bytes = *encode_state(told, kNow);
    writer.write("state", bytes);
    writer.write("shown", std::string(1, '\0') + bytes);
  };
  write();
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
  write();
}

void write_texts(Writer& writer) {
  for (const char* text : {
           "",
           "# a comment\nname = node-a\n\nlabel = zone=\"north\"\r\n service = \"up = \\\"er\\n\" "
           "\n",
           "listen = tcp://127.0.0.1:7411\nlisten = ipc://a.sock\ninsecure = true\n",
       }) {
    writer.write("config_file", text);
  }
  for (const char* text : {
           "250ms",
           "1.5s",
           "2h",
           "16MiB",
           "64KiB",
           "100B",
           "tcp://127.0.0.1:7411",
           "tcp://*:*",
           "tcp://[::1]:0",
           "ipc://a.sock",
           "none",
           "localhost:7412",
           "node-a",
           "zone=north",
           "upper=exec:tr a-z A-Z",
           "upper=pipe:cat",
           "upper=echo",
           "018f0a0000000001",
           "0123456789abcdeffedcba9876543210@node-a/0000000000000018/17",
           "0123456789abcdeffedcba9876543210",
           "two\nlines\t\x1b[2J \xc3\xa9 \xe2\x80\xa8 \\",
       }) {
    for (const char shown : {'\4', '\377'}) writer.write("values", shown + std::string{text});
  }
  const auto words = [&](char table, std::initializer_list<std::string_view> all) {
    std::string bytes(1, table);
    for (const std::string_view word : all) (bytes += word) += '\0';
    writer.write("options", bytes);
  };
  words(0,
        {"--duration=5s", "ELIMINAL_NUMBER=7", "size = 16MiB", "--flag", "- one", "--", "- --two"});
  words(0, {"--anything", "- ", "ELIMINAL_SOME_TEXT=a\nb", "word = two", "address = 127.0.0.1:0"});
  words(0, {"anything = \"a\\n\\\"\\\\\"", "anything =", "--a=--help", "--flag=false"});
  words(1, {"--listen", "- tcp://127.0.0.1:*", "--suspect-after=1s", "down-after = 3s",
            "ELIMINAL_RECOVERY=0s", "--lease-margin=500ms", "beat-interval = 250ms"});
  words(1, {"--listen=tcp://0.0.0.0:7411", "--insecure", "reconnect-grace = 500ms",
            "timeline-max = 0", "nodes-max = 3", "payload-max = 1MiB", "outbox-max = 64MiB"});
  words(2, {"--name=node-a", "--service", "- upper=exec:tr a-z A-Z", "--label=zone=north",
            "compensate = upper=exec:true", "ELIMINAL_BROKER=none", "turn-max = 1s"});
  words(2, {"--name", "- a", "ELIMINAL_SERVICE=a=echo\nb=pipe:cat", "mailbox-max = 1",
            "links-max = 3", "credit-window = 4MiB", "isolation-timeout = 60s", "log-level = off"});
}

void write_all(Writer& writer) {
  static constexpr const char* kTargets[] = {"control", "route", "route", "session_frame"};
  static constexpr const char* kTimelineFrames[] = {
      "records", "cancel answer", "timeline query", "conversations query", "cancel query",
      "loads",   "cancel order",  "timeline reply", "cancel reply",        "conversations reply"};
  for (const Encoded& frame : encoded_frames()) {
    writer.write(kTargets[frame.decoder], frame.bytes);
    if (frame.decoder == 0) writer.write("shown", '\1' + frame.bytes);
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
  write_texts(writer);
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
