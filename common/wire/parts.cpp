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

void write(Writer& w, const ExitReason& reason, std::size_t text_bytes_max) {
  w.array(3).enumerator(reason.kind).text_cut(reason.text, text_bytes_max);
  write(w, reason.evidence);
}

ExitReason read_exit_reason(Reader& r) {
  r.array_of(3, "reason");
  return ExitReason{
      .kind = r.enumerator("exit kind", ExitKind::kNoConnection),
      .text = std::string{r.text("reason text")},
      .evidence = read_evidence(r),
  };
}

}  // namespace liminal::wire
