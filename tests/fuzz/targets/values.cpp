// The first byte is a number, the others a value: of an option, of an id, of a service, of
// something to be shown.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "broker/broker_options.hpp"
#include "common/config/expect.hpp"
#include "node/conversation/conversation_ref.hpp"
#include "node/participant/effects_ledger.hpp"
#include "node/participant/service_registry.hpp"
#include "tests/fuzz/targets/shown_text.hpp"

namespace {

namespace config = liminal::config;
using liminal::test::expect;
using liminal::test::expect_one_line;
using liminal::test::is_one_line;

void read_numbers(const std::string& text) {
  if (const auto duration = liminal::parse_duration(text)) {
    expect(*duration >= liminal::Duration::zero(), "a duration below zero");
    expect(liminal::parse_duration(liminal::to_string(*duration)) == duration,
           "a duration is written as another");
  } else {
    expect_one_line(duration.error());
  }
  const auto size = config::parse_size(text);
  if (!size) expect_one_line(size.error());
  if (size) expect(config::parse_size(std::to_string(*size)) == size, "a size means two");
  if (const auto value = liminal::from_hex(text)) {
    std::string lower = text;
    for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c);
    expect(liminal::to_hex(*value) == lower, "hex is read as another number");
  }
}

/// Of each kind whether it takes the text: in this order.
enum Kind : std::size_t {
  kDuration,
  kNumber,
  kSize,
  kListen,
  kConnect,
  kOrNone,
  kHostPort,
  kKinds
};

void read_as_options(const std::string& text) {
  namespace takes = config::expect;
  static const std::vector<config::Wrong> kWrong = {takes::duration(),
                                                    takes::number(),
                                                    takes::size(),
                                                    takes::listen_endpoint(),
                                                    takes::connect_endpoint(),
                                                    takes::connect_endpoint_or_none(),
                                                    takes::host_port(),
                                                    takes::name(),
                                                    takes::label(),
                                                    takes::one_of({"debug", "info"}),
                                                    takes::text()};
  std::vector<bool> taken;
  for (const auto& wrong : kWrong) {
    const auto right = wrong(text);
    expect(!right || (!right->empty() && is_one_line(*right)), "does not say what would be right");
    taken.push_back(!right);
  }
  expect(!taken[kDuration] || liminal::parse_duration(text), "a duration that cannot be read");
  expect(!taken[kSize] || config::parse_size(text), "a size that cannot be read");
  expect(!taken[kConnect] || (taken[kListen] && taken[kOrNone]), "endpoints contradict each other");
  expect(!taken[kHostPort] || !takes::listen_endpoint()("tcp://" + text),
         "a host and a port that are no endpoint");
  const bool loopback = liminal::broker::is_loopback(text);
  expect(!loopback || text.starts_with("tcp://") || text.starts_with("ipc://"),
         "loopback without a transport");
}

void read_names(const std::string& text) {
  if (const auto ref = liminal::ConversationRef::parse(text)) {
    const auto again = liminal::ConversationRef::parse(ref->to_string());
    expect(again && *again == *ref, "a reference is written as another");
    expect(ref->to_string().size() == text.size(), "a reference is read from other text");
  } else {
    expect_one_line(ref.error());
  }
  if (const auto id = liminal::parse_conversation_id(text)) {
    expect(liminal::parse_conversation_id(to_string(*id)) == id, "an id is written as another");
  }
  if (const auto service = liminal::parse_service(text)) {
    const std::string& name = service->name.value();
    expect(liminal::valid_name(name) && text.starts_with(name + "="), "a service by another name");
  } else {
    expect_one_line(service.error());
  }
  if (const auto compensation = liminal::parse_compensation(text)) {
    expect(compensation->service.value() + "=exec:" + compensation->command == text,
           "another command undoes");
  } else {
    expect_one_line(compensation.error());
  }
}

/// Undoes the escapes; nothing that is printed unescaped has a backslash.
std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out += text[i];
      continue;
    }
    switch (text[++i]) {
      case 'n':
        out += '\n';
        break;
      case 't':
        out += '\t';
        break;
      case 'r':
        out += '\r';
        break;
      case '\\':
        out += '\\';
        break;
      default:
        expect(text[i] == 'x' && i + 2 < text.size(), "an escape that nobody knows");
        out += static_cast<char>(
            *liminal::from_hex(std::string(14, '0') + std::string{text.substr(i + 1, 2)}));
        i += 2;
    }
  }
  return out;
}

void show(const std::string& text, std::size_t bytes_max) {
  const std::string shown = liminal::escaped_tail(text, bytes_max);
  expect(is_one_line(shown), "what is escaped is more than one line");
  std::string_view rest = shown;
  if (text.size() > bytes_max) {
    expect(rest.starts_with("..."), "a cut that is not shown");
    rest.remove_prefix(3);
  }
  const std::string meant = unescaped(rest);
  expect(text.ends_with(meant), "what is shown is not its end");
  expect(meant.size() <= bytes_max && meant.size() + 3 >= std::min(bytes_max, text.size()),
         "more or less is shown than was asked for");

  const liminal::EffectsLedger::Entry effect{
      text, liminal::ServiceName{"s"}, liminal::NodeName{"n"}, liminal::MessageId{1, 2}, 3, text};
  const std::string line = line_of(effect);
  expect(std::count(line.begin(), line.end(), '\t') == 5 && line.find('\n') + 1 == line.size(),
         "an effect is not one line of six fields");
  expect(text.ends_with(unescaped(std::string_view{line}.substr(
             line.rfind('\t') + 1, line.size() - line.rfind('\t') - 2))) ||
             text.size() > liminal::EffectsLedger::kTextBytesMax,
         "an effect's text is another");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string text{reinterpret_cast<const char*>(data) + 1, size - 1};
  read_numbers(text);
  read_as_options(text);
  read_names(text);
  show(text, data[0]);
  return 0;
}
