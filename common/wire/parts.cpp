#include "common/wire/parts.hpp"

namespace liminal::wire {

void write(Writer& w, const Evidence& evidence) {
  w.array(4)
      .enumerator(evidence.source)
      .duration(evidence.last_heard)
      .duration(evidence.detection)
      .duration(evidence.observer_lag);
}

void write(Writer& w, const std::optional<Evidence>& evidence) {
  if (evidence) {
    write(w, *evidence);
  } else {
    w.nil();
  }
}

std::optional<Evidence> read_evidence(Reader& r) {
  if (r.nil()) return std::nullopt;
  r.array_of(4, "evidence");
  return Evidence{
      .source = r.enumerator("evidence source", EvidenceSource::kReset),
      .last_heard = r.duration("last heard"),
      .detection = r.duration("detection"),
      .observer_lag = r.duration("observer lag"),
  };
}

}  // namespace liminal::wire
