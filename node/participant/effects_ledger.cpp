#include "node/participant/effects_ledger.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "common/base/text.hpp"

namespace liminal {

namespace {

std::string text_of(int error) { return std::error_code(error, std::generic_category()).message(); }

}  // namespace

EffectsLedger::Entry EffectsLedger::Entry::done(ServiceName service, NodeName node,
                                                const Request& request, std::string text) {
  return {"process",  std::move(service), std::move(node),
          request.id, request.attempt,    std::move(text)};
}

EffectsLedger::Entry EffectsLedger::Entry::undone(ServiceName service, NodeName node,
                                                  const Compensation& compensation,
                                                  std::string text) {
  return {"compensate",         std::move(service), std::move(node), compensation.request.id,
          compensation.attempt, std::move(text)};
}

std::string line_of(const EffectsLedger::Entry& effect) {
  const std::size_t all = EffectsLedger::kTextBytesMax;
  return escaped_tail(effect.action, all) + '\t' + effect.service.value() + '\t' +
         effect.node.value() + '\t' + to_string(effect.message) + '\t' +
         std::to_string(effect.attempt) + '\t' + escaped_tail(effect.text, all) + '\n';
}

Result<EffectsLedger> EffectsLedger::open(const std::string& path) {
  Descriptor file{::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666)};
  if (!file.is_open()) return fail(Errc::kUsage, "the ledger '" + path + "': " + text_of(errno));
  return EffectsLedger{path, std::move(file)};
}

Result<std::optional<EffectsLedger>> EffectsLedger::from_environment() {
  const char* named = std::getenv("LIMINAL_LEDGER");
  if (named == nullptr || *named == '\0') return std::optional<EffectsLedger>{};
  auto opened = open(named);
  if (!opened) return tl::unexpected(std::move(opened.error()));
  return std::optional<EffectsLedger>{*std::move(opened)};
}

Result<void> EffectsLedger::append(const Entry& effect) const {
  const std::string line = line_of(effect);
  const ssize_t written = ::write(file_.get(), line.data(), line.size());
  if (written == static_cast<ssize_t>(line.size())) return {};
  const std::string why =
      written < 0 ? text_of(errno)
                  : std::to_string(written) + " of " + std::to_string(line.size()) + " bytes";
  return fail(Errc::kInternal, "the ledger '" + path_ + "' took no effect: " + why);
}

}  // namespace liminal
