// Bytes as what a broker or a node answers to the commands, and what those print of it: the first
// byte chooses a conversation's state or an answer of the broker.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <variant>

#include "cli/exit_codes.hpp"
#include "cli/json.hpp"
#include "cli/timeline_view.hpp"
#include "common/wire/codec.hpp"
#include "node/conversation/remote_state.hpp"
#include "tests/fuzz/targets/shown_text.hpp"
#include "tests/unit/common/wire/frames.hpp"

namespace {

namespace cli = liminal::cli;
namespace control = liminal::control;
using liminal::test::expect;
using liminal::test::is_one_line;

void expect_json(const std::string& text) {
  expect(text.find('\n') == text.npos, "JSON of more than one line");
  expect(nlohmann::json::accept(text), "JSON that is none");
}

void expect_lines(std::string_view text) {
  expect(text.ends_with('\n'), "a last line without its end");
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    expect(is_one_line(line), "a line of what a peer chose");
    text.remove_prefix(line.size() + 1);
  }
}

void show_state(std::string_view bytes) {
  const liminal::Viewpoint seen_from{liminal::test::pid_a(17), liminal::NodeName{"node-b"},
                                     liminal::test::pid_b(1).incarnation};
  liminal::ClockDifference clocks;
  const auto told = liminal::decode_state(bytes, seen_from, liminal::test::kNow, clocks);
  if (!told) return;
  expect_json(cli::outcome_json(told->state, liminal::Payload{std::string{bytes}}));
  if (!told->state.failure) return;
  expect_json(cli::outcome_json(told->state, tl::unexpected(*told->state.failure)));
}

void show_answer(std::string_view bytes) {
  const auto frame = liminal::wire::decode_control(bytes);
  if (!frame) return;
  if (const auto* status = std::get_if<control::StatusReply>(&*frame)) {
    expect_json(cli::status_json("tcp://127.0.0.1:1", *status));
  } else if (const auto* told = std::get_if<control::TimelineReply>(&*frame)) {
    const cli::Timeline timeline = cli::arrange(*told);
    expect(timeline.told.size() == told->told.size() && timeline.at.size() == told->told.size(),
           "something was lost");
    expect_json(cli::timeline_json(timeline));
    expect_lines(cli::timeline_text(timeline));
  } else if (const auto* list = std::get_if<control::ConversationsReply>(&*frame)) {
    expect_json(cli::conversations_json(list->summaries, list->forgotten));
    expect_lines(cli::conversations_text(list->summaries, list->forgotten));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes{reinterpret_cast<const char*>(data) + 1, size - 1};
  data[0] % 4 == 0 ? show_state(bytes) : show_answer(bytes);
  // whoever refused something: an error's words may be another's
  expect_lines(cli::error_line({liminal::Errc::kRefused, std::string{bytes}}));
  return 0;
}
