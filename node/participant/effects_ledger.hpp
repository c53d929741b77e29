// Where a behaviour notes down what it did to the world, for whoever judges that later.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/base/ids.hpp"
#include "common/base/result.hpp"
#include "node/participant/behaviour.hpp"
#include "node/participant/descriptor.hpp"

namespace liminal {

/// A file that grows by whole lines, whoever appends to it: other objects, other programs.
///
/// Thread-safety: append() from any thread.
/// Errors: kUsage if the file cannot be opened, kInternal if it cannot be written to; both name it.
class EffectsLedger {
 public:
  /// One effect. On a line of the ledger the fields stand in this order, with a tab between two:
  /// ACTION SERVICE NODE MESSAGE ATTEMPT TEXT.
  struct Entry {
    std::string action;  // process, compensate, or whatever its author calls it
    ServiceName service;
    NodeName node;
    MessageId message;  // of the request, to do and to undo it
    std::uint32_t attempt = 1;
    std::string text = {};  // on the line \n, \t, \\ and what is unprintable are escaped

    [[nodiscard]] static Entry done(ServiceName service, NodeName node, const Request& request,
                                    std::string text);
    [[nodiscard]] static Entry undone(ServiceName service, NodeName node,
                                      const Compensation& compensation, std::string text);
  };

  /// Bytes of an effect's text that are kept, its end.
  static constexpr std::size_t kTextBytesMax = 4096;

  /// Makes the file where there is none.
  [[nodiscard]] static Result<EffectsLedger> open(const std::string& path);
  /// The file that LIMINAL_LEDGER names; nullopt if it is not set, or to nothing. Not to be called
  /// while another thread sets variables.
  [[nodiscard]] static Result<std::optional<EffectsLedger>> from_environment();

  /// One write of one line: it is there, whole, when this returns, and survives this process. May
  /// block as files do.
  [[nodiscard]] Result<void> append(const Entry& effect) const;

 private:
  EffectsLedger(std::string path, Descriptor file)
      : path_(std::move(path)), file_(std::move(file)) {}

  std::string path_;
  Descriptor file_;
};

/// As it stands in the ledger, with its newline.
[[nodiscard]] std::string line_of(const EffectsLedger::Entry& effect);

}  // namespace liminal
