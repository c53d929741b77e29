// Whatever bytes come: an error or a frame of ours, never a crash, never much memory.
#include "tests/support/hostile_bytes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <msgpack.hpp>

#include "common/base/random.hpp"
#include "tests/support/counted_allocations.hpp"
#include "tests/unit/common/wire/harmless.hpp"

namespace liminal::test {
namespace {

Result<std::string> decode(std::string_view bytes, std::size_t decoder) {
  return decoders().at(decoder).reencode(bytes);
}

void expect_refused(std::string_view bytes, Errc code = Errc::kMalformed) {
  for (const Decoder& decoder : decoders()) {
    const auto again = decoder.reencode(bytes);
    ASSERT_FALSE(again) << decoder.name << " took " << hex(bytes.substr(0, 64));
    ASSERT_EQ(again.error().code, code) << decoder.name << ": " << again.error().detail;
  }
}

TEST(HostileBytes, EachFrameIsTakenByItsOwnDecoderOnly) {
  for (const Encoded& frame : encoded_frames()) {
    for (std::size_t i = 0; i < decoders().size(); ++i) {
      const auto again = decode(frame.bytes, i);
      EXPECT_EQ(again.has_value(), i == frame.decoder)
          << frame.name << " by " << decoders()[i].name;
      if (again) {
        EXPECT_EQ(*again, frame.bytes) << frame.name;
      }
    }
  }
}

TEST(HostileBytes, AFrameCutAnywhereIsRefused) {
  for (const Encoded& frame : encoded_frames()) {
    for (std::size_t size = 0; size < frame.bytes.size(); ++size) {
      ASSERT_NO_FATAL_FAILURE(expect_refused(frame.bytes.substr(0, size))) << frame.name;
    }
  }
}

TEST(HostileBytes, AnythingBehindTheEndIsRefused) {
  for (const Encoded& frame : encoded_frames()) {
    for (const char c : {'\x00', '\xc0', '\x90', '\xc1'}) {
      ASSERT_NO_FATAL_FAILURE(expect_refused(frame.bytes + c)) << frame.name;
    }
    ASSERT_NO_FATAL_FAILURE(expect_refused(frame.bytes + frame.bytes)) << frame.name;
  }
}

// What one wrong byte can do: another bit, or the beginning of a value of another type or length.
std::vector<char> replacements(char byte) {
  std::vector<char> all;
  for (int bit = 0; bit < 8; ++bit) all.push_back(static_cast<char>(byte ^ (1 << bit)));
  for (const int first : {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xe0, 0xff}) {
    all.push_back(static_cast<char>(first));
  }
  for (int first = 0xc0; first < 0xe0; ++first) all.push_back(static_cast<char>(first));
  return all;
}

TEST(HostileBytes, AnyByteChangedIsHarmless) {
  std::string previous;
  for (const Encoded& frame : encoded_frames()) {
    if (frame.name == "session, all items") continue;  // each of them comes alone too
    std::string bytes = frame.bytes;
    // what the frame before began with as well was changed there
    const auto different =
        std::mismatch(bytes.begin(), bytes.end(), previous.begin(), previous.end());
    previous = bytes;
    for (auto byte = different.first; byte != bytes.end(); ++byte) {
      const char original = *byte;
      for (const char other : replacements(original)) {
        *byte = other;
        ASSERT_NO_THROW(expect_harmless(bytes, decoders()[frame.decoder]))
            << frame.name << ", byte " << byte - bytes.begin();
      }
      *byte = original;
    }
  }
}

// On failure the seed is printed: make it the only one.
TEST(HostileBytes, RandomChangesOfFramesAreHarmless) {
  const std::vector<std::string>& frames = valid_frames();
  for (std::uint64_t seed = 0; seed < 10'000; ++seed) {
    Random random{seed};
    const std::string bytes = mutated(frames[random.below(frames.size())], frames, random);
    ASSERT_NO_THROW(expect_harmless(bytes)) << "seed " << seed;
  }
}

TEST(HostileBytes, RandomBytesAreHarmless) {
  for (std::uint64_t seed = 0; seed < 10'000; ++seed) {
    Random random{seed};
    ASSERT_NO_THROW(expect_harmless(any_frame(63, random))) << "seed " << seed;
  }
}

TEST(HostileBytes, OfAnotherVersionAreSaidToBe) {
  for (const Encoded& frame : encoded_frames()) {
    std::string bytes = frame.bytes;
    bytes[1] = '\x02';
    EXPECT_EQ(decode(bytes, frame.decoder).error().code, Errc::kUnsupportedVersion) << frame.name;
  }
  // whatever follows, in forms that we do not know
  expect_refused(unhex("93 02 80 ca 00 00 00 00"), Errc::kUnsupportedVersion);
  expect_refused(unhex("91 00"), Errc::kUnsupportedVersion);
  expect_refused(unhex("91 cd 01 01"), Errc::kUnsupportedVersion);
}

TEST(HostileBytes, NumbersInLongerOrSignedFormsAreTheSameNumbers) {
  // leave: [1, 4]
  for (const char* bytes : {"92 01 04", "92 cc 01 cf 00 00 00 00 00 00 00 04",
                            "92 d0 01 d2 00 00 00 04", "dc 00 02 01 04", "dd 00 00 00 02 01 04"}) {
    EXPECT_EQ(decode(unhex(bytes), 0).value(), unhex("92 01 04")) << bytes;
  }
}

TEST(HostileBytes, KindsAreNotCutToTheirLowByte) {
  expect_refused(unhex("92 01 cd 01 04"));
  expect_refused(unhex("92 01 cf 00 00 00 01 00 00 00 04"));
}

TEST(HostileBytes, FormsThatNoFrameUsesAreRefused) {
  for (const char* bytes : {"",
                            "c0",
                            "01",
                            "90",
                            "80",
                            "91 01",
                            "91 c0",
                            "91 ff",
                            "91 a0",
                            "92 01 84",
                            "92 01 80",
                            "92 01 ff",
                            "92 01 ca 00 00 00 00",
                            "92 01 c3",
                            "92 01 d4 01 01",
                            "92 01 c1",
                            "c1",
                            "92 01 06",
                            "92 01 00",
                            "93 01 04 c0"}) {
    ASSERT_NO_FATAL_FAILURE(expect_refused(unhex(bytes))) << bytes;
  }
}

TEST(HostileBytes, LengthsThatLieAllocateNothing) {
  std::vector<std::string> lies{
      unhex("dd ff ff ff ff"),
      unhex("df ff ff ff ff"),
      unhex("dc ff ff"),
      unhex("db ff ff ff ff"),
      unhex("c6 ff ff ff ff"),
      unhex("c9 ff ff ff ff 00"),
      unhex("92 01 dd ff ff ff ff"),
      unhex("94 01 14 01 dd ff ff ff ff"),
      unhex("94 01 14 01 dd 00 00 00 08"),
  };
  lies.push_back(std::string(4000, '\x91'));  // deep
  lies.push_back(unhex("dd 00 00 10 00") + std::string(4096, '\x90'));
  for (const std::string& bytes : lies) {
    allocated_bytes = 0;
    for (std::size_t i = 0; i < decoders().size(); ++i) {
      const bool taken = decode(bytes, i).has_value();
      EXPECT_FALSE(taken);
    }
    EXPECT_LT(allocated_bytes, 16 * 1024 + 256 * bytes.size()) << hex(bytes.substr(0, 16));
  }
}

TEST(HostileBytes, TheLargestFrameOfNothingTakesBoundedMemory) {
  std::string bytes = unhex("94 01 14 01 dd 00 3f 00 00");  // changes: an array of 4 Mi values
  bytes.resize(wire::kPartBytesMax, '\x90');
  allocated_bytes = 0;
  const bool taken = decode(bytes, 0).has_value();
  EXPECT_FALSE(taken);
  EXPECT_LT(allocated_bytes, 4 * wire::kPartBytesMax);
}

TEST(HostileBytes, AFrameIsAtMostAsLongAsAMessagePart) {
  // refused for its length, before anything in it is looked at
  const std::string bytes = "\x92\x02" + std::string(wire::kPartBytesMax - 1, '\0');
  EXPECT_EQ(decode(bytes, 0).error().code, Errc::kMalformed);
  EXPECT_EQ(decode(bytes, 3).error().code, Errc::kMalformed);
  EXPECT_EQ(decode(std::string_view{bytes}.substr(1), 0).error().code, Errc::kMalformed);
  const std::string header = "\x92\x02" + std::string(wire::kHeaderBytesMax - 1, '\0');
  EXPECT_EQ(decode(header, 1).error().code, Errc::kMalformed);
  EXPECT_EQ(decode(header, 2).error().code, Errc::kMalformed);
  EXPECT_EQ(decode(header.substr(0, wire::kHeaderBytesMax), 1).error().code,
            Errc::kUnsupportedVersion);
}

// --- frames that are MessagePack, and of the right form, but break a rule ---

/// Writes what our encoder would not.
class Raw {
 public:
  Raw& array(std::uint32_t size) {
    return packed([&](auto& p) { p.pack_array(size); });
  }
  Raw& uint(std::uint64_t value) {
    return packed([&](auto& p) { p.pack_uint64(value); });
  }
  Raw& boolean(bool value) {
    return packed([&](auto& p) { p.pack(value); });
  }
  Raw& nil() {
    return packed([&](auto& p) { p.pack_nil(); });
  }
  Raw& text(const std::string& text) {
    return packed([&](auto& p) { p.pack(text); });
  }
  Raw& bin(const std::string& bytes) {
    return packed([&](auto& p) {
      p.pack_bin(static_cast<std::uint32_t>(bytes.size()));
      p.pack_bin_body(bytes.data(), static_cast<std::uint32_t>(bytes.size()));
    });
  }
  Raw& raw(const Raw& other) {
    sink_.bytes += other.sink_.bytes;
    return *this;
  }
  [[nodiscard]] std::string bytes() const { return sink_.bytes; }

 private:
  struct Sink {
    std::string bytes;
    void write(const char* data, std::size_t size) { bytes.append(data, size); }
  };

  template <class F>
  Raw& packed(F&& f) {
    msgpack::packer<Sink> packer{sink_};
    f(packer);
    return *this;
  }

  Sink sink_;
};

Raw join(const std::string& name, std::uint64_t incarnation, const Raw& services,
         const Raw& labels) {
  Raw r;
  r.array(13).uint(1).uint(1).text(name).uint(incarnation).boolean(false).raw(services).raw(labels);
  r.uint(1).uint(1).uint(1).uint(1).array(0).array(0);
  return r;
}

Raw list(std::uint32_t size) {
  Raw r;
  r.array(size);
  for (std::uint32_t i = 0; i < size; ++i) r.text("s" + std::to_string(i));
  return r;
}

bool joins(const Raw& frame) { return decode(frame.bytes(), 0).has_value(); }

TEST(BrokenRules, OfAJoin) {
  const Raw none = list(0);
  EXPECT_TRUE(joins(join("node", 1, none, none)));
  EXPECT_TRUE(joins(join(std::string(63, 'x'), 1, none, none)));
  EXPECT_FALSE(joins(join(std::string(64, 'x'), 1, none, none)));
  EXPECT_FALSE(joins(join("", 1, none, none)));
  EXPECT_FALSE(joins(join("no de", 1, none, none)));
  EXPECT_FALSE(joins(join(std::string{"n\0", 2}, 1, none, none)));
  EXPECT_FALSE(joins(join("node", 0, none, none))) << "the local incarnation";

  EXPECT_TRUE(joins(join("node", 1, list(wire::kServicesMax), none)));
  EXPECT_FALSE(joins(join("node", 1, list(wire::kServicesMax + 1), none)));
  EXPECT_FALSE(joins(join("node", 1, Raw{}.array(2).text("a").text("a"), none))) << "twice";
  EXPECT_FALSE(joins(join("node", 1, Raw{}.array(1).text("a b"), none)));

  const auto labels = [](std::uint32_t size, const std::string& key, const std::string& value) {
    Raw r;
    r.array(size);
    for (std::uint32_t i = 0; i < size; ++i) {
      r.array(2).text(key + std::to_string(i)).text(value);
    }
    return r;
  };
  EXPECT_TRUE(joins(join("node", 1, none, labels(wire::kLabelsMax, "k", ""))));
  EXPECT_FALSE(joins(join("node", 1, none, labels(wire::kLabelsMax + 1, "k", ""))));
  EXPECT_TRUE(joins(join("node", 1, none, labels(1, "k", std::string(wire::kTextBytesMax, 'x')))));
  EXPECT_FALSE(
      joins(join("node", 1, none, labels(1, "k", std::string(wire::kTextBytesMax + 1, 'x')))));
  EXPECT_FALSE(joins(join("node", 1, none, labels(1, "k=", ""))));
  EXPECT_FALSE(joins(join("node", 1, none,
                          Raw{}
                              .array(2)
                              .raw(Raw{}.array(2).text("k").text("1"))
                              .raw(Raw{}.array(2).text("k").text("2")))))
      << "one key twice";
  EXPECT_FALSE(joins(join("node", 1, none, Raw{}.array(1).array(3).text("k").text("").text(""))));

  const auto reports = [&](std::uint32_t peers, std::uint32_t verdicts) {
    control::Join frame{NodeName{"node"}, Incarnation{1}, false, {}, {}};
    std::string bytes = wire::encode(ControlFrame{frame});
    bytes.resize(bytes.size() - 2);  // the two empty arrays
    Raw r;
    r.array(peers);
    for (std::uint32_t i = 0; i < peers; ++i) {
      r.array(4).text("peer").uint(i + 2).boolean(false).uint(1);
    }
    r.array(verdicts);
    for (std::uint32_t i = 0; i < verdicts; ++i) {
      r.array(5).text("peer").uint(i + 2).boolean(false).uint(1).nil();
    }
    return decode(bytes + r.bytes(), 0).has_value();
  };
  EXPECT_TRUE(reports(wire::kPeersMax, wire::kPeersMax));
  EXPECT_FALSE(reports(wire::kPeersMax + 1, 0));
  EXPECT_FALSE(reports(0, wire::kPeersMax + 1));
}

Raw record(std::uint64_t event, const std::string& role, std::uint64_t incarnation) {
  Raw r;
  r.array(10).bin(std::string(16, 'c')).uint(event).uint(0).text(role);
  r.array(3).text("node").uint(incarnation).uint(1).nil().nil().uint(0).nil().text("");
  return r;
}

TEST(BrokenRules, OfRecords) {
  const auto records = [](std::uint32_t size, const Raw& each, std::uint32_t left_out = 0,
                          std::uint64_t first = 1) {
    Raw r;
    r.array(7).uint(1).uint(6).array(size);
    for (std::uint32_t i = 0; i < size; ++i) r.raw(each);
    r.array(left_out);
    for (std::uint32_t i = 0; i < left_out; ++i) {
      r.array(3).bin(std::string(16, 'c')).uint(1).uint(1);
    }
    return r.uint(0).uint(9).uint(first);
  };
  EXPECT_TRUE(joins(records(1, record(20, "upper", 1))));
  EXPECT_FALSE(joins(records(1, record(21, "upper", 1))));
  EXPECT_FALSE(joins(records(1, record(0, "not a name", 1))));
  EXPECT_FALSE(joins(records(1, record(0, "", 1)))) << "no role is nil";
  EXPECT_FALSE(joins(records(1, record(0, "upper", 0)))) << "the local incarnation";
  EXPECT_TRUE(joins(records(wire::kRecordsMax, record(0, "upper", 1), wire::kRecordsMax)));
  EXPECT_FALSE(joins(records(wire::kRecordsMax + 1, record(0, "upper", 1))));
  EXPECT_FALSE(joins(records(0, Raw{}, wire::kRecordsMax + 1)));
  constexpr std::uint64_t kFirstMax = std::uint64_t{0} - 2 - 2 * wire::kRecordsMax;
  EXPECT_FALSE(joins(records(0, Raw{}, 0, 0))) << "numbers count from 1";
  EXPECT_TRUE(joins(records(0, Raw{}, 0, kFirstMax)));
  EXPECT_FALSE(joins(records(0, Raw{}, 0, kFirstMax + 1))) << "and do not begin anew";
}

TEST(BrokenRules, OfSettingsAndEnumerators) {
  const auto welcome = [](std::uint64_t beat_interval) {
    return Raw{}
        .array(8)
        .uint(1)
        .uint(16)
        .uint(1)
        .uint(1)
        .uint(1)
        .array(8)
        .uint(beat_interval)
        .uint(1)
        .uint(1)
        .uint(1)
        .uint(1)
        .uint(1)
        .uint(1)
        .uint(1)
        .array(0)
        .boolean(false);
  };
  EXPECT_TRUE(joins(welcome(INT64_MAX)));
  EXPECT_FALSE(joins(welcome(std::uint64_t{INT64_MAX} + 1))) << "no Duration holds it";

  const auto refused = [](std::uint64_t code) {
    return Raw{}.array(4).uint(1).uint(17).uint(code).text("why");
  };
  EXPECT_TRUE(joins(refused(3)));
  EXPECT_FALSE(joins(refused(4)));
  EXPECT_FALSE(joins(refused(256)));

  const auto loads = [](std::uint32_t size) {
    Raw r;
    r.array(3).uint(1).uint(23).array(size);
    for (std::uint32_t i = 0; i < size; ++i) r.array(2).uint(i + 1).uint(0);
    return r;
  };
  EXPECT_TRUE(joins(loads(wire::kLoadsMax)));
  EXPECT_FALSE(joins(loads(wire::kLoadsMax + 1)));

  const auto outcome = [](std::uint64_t number) {
    return Raw{}.array(4).uint(1).uint(27).bin(std::string(16, 'x')).uint(number);
  };
  EXPECT_TRUE(joins(outcome(4)));
  EXPECT_FALSE(joins(outcome(5)));

  const auto beat = [](std::uint64_t participants) {
    return Raw{}.array(6).uint(1).uint(3).uint(1).uint(1).uint(participants).uint(0);
  };
  EXPECT_TRUE(joins(beat(UINT32_MAX)));
  EXPECT_FALSE(joins(beat(std::uint64_t{UINT32_MAX} + 1)));
}

struct Head {
  std::uint64_t session = 1, next_expected = 1, first_sequence = 1;
  bool ends = true;
  std::uint64_t incarnation = 1;
  std::uint32_t items = 1;
};

Raw session(const Head& head, const Raw& items) {
  Raw r;
  r.array(9).uint(1).uint(34).uint(head.session).uint(head.next_expected).uint(0).boolean(false);
  r.uint(head.first_sequence);
  if (head.ends) {
    r.array(4).text("a").uint(head.incarnation).text("b").uint(2);
  } else {
    r.nil();
  }
  r.array(head.items).raw(items);
  return r;
}

bool is_taken(const Raw& frame) { return decode(frame.bytes(), 3).has_value(); }

Raw link(std::uint64_t from, std::uint64_t to) {
  return Raw{}.array(4).uint(1).uint(from).uint(to).uint(7);
}
Raw grant() { return Raw{}.array(2).uint(10).uint(1); }

TEST(BrokenRules, OfASessionFramesHead) {
  EXPECT_TRUE(is_taken(session({}, link(1, 2))));
  EXPECT_TRUE(is_taken(session({.session = UINT32_MAX}, link(1, 2))));
  EXPECT_FALSE(is_taken(session({.session = std::uint64_t{UINT32_MAX} + 1}, link(1, 2))));
  EXPECT_FALSE(is_taken(session({.next_expected = 0}, link(1, 2))));
  EXPECT_FALSE(is_taken(session({.first_sequence = 0}, link(1, 2))));
  EXPECT_TRUE(is_taken(session({.first_sequence = UINT64_MAX - 1}, link(1, 2))));
  EXPECT_FALSE(is_taken(session({.first_sequence = UINT64_MAX}, link(1, 2)))) << "would wrap";
  EXPECT_FALSE(is_taken(session({.incarnation = 0}, link(1, 2))));
}

TEST(BrokenRules, EndsAreGivenWhereTheyAreNeededOnly) {
  EXPECT_FALSE(is_taken(session({.ends = false}, link(1, 2))));
  EXPECT_FALSE(is_taken(session({.ends = true}, grant())));
  EXPECT_TRUE(is_taken(session({.ends = false}, grant())));
  EXPECT_TRUE(is_taken(session({.ends = false, .items = 0}, Raw{})));
}

TEST(BrokenRules, NumberOfItems) {
  const auto grants = [](std::uint32_t size) {
    Raw r;
    for (std::uint32_t i = 0; i < size; ++i) r.raw(grant());
    return session({.ends = false, .items = size}, r);
  };
  EXPECT_TRUE(is_taken(grants(wire::kFrameItemsMax)));
  EXPECT_FALSE(is_taken(grants(wire::kFrameItemsMax + 1)));
}

TEST(BrokenRules, SerialZeroIsTheNodeItselfAndNoProcess) {
  EXPECT_FALSE(is_taken(session({}, link(0, 2))));
  EXPECT_FALSE(is_taken(session({}, link(1, 0))));

  const auto exit = [](std::uint64_t from, std::uint64_t to) {
    return session({}, Raw{}
                           .array(5)
                           .uint(3)
                           .uint(from)
                           .uint(to)
                           .raw(Raw{}.array(3).uint(5).text("").nil())
                           .nil());
  };
  EXPECT_TRUE(is_taken(exit(0, 2)));
  EXPECT_FALSE(is_taken(exit(1, 0)));

  const auto request = [](std::uint64_t from, std::uint64_t to) {
    return session({}, Raw{}.array(6).uint(7).uint(from).uint(to).uint(1).text("upper").bin(
                           std::string(16, 'c')));
  };
  EXPECT_TRUE(is_taken(request(1, 0)));
  EXPECT_FALSE(is_taken(request(1, 2)));
  EXPECT_FALSE(is_taken(request(0, 0)));

  const auto reply = [](std::uint64_t from, bool link, bool error, bool compensates = false) {
    Raw r;
    r.array(7).uint(8).uint(from).uint(2).uint(1);
    link ? r.uint(1) : r.nil();
    error ? r.raw(Raw{}.array(2).uint(10).text("why")) : r.nil();
    return session({}, r.boolean(compensates));
  };
  EXPECT_TRUE(is_taken(reply(1, true, false, true)));
  EXPECT_FALSE(is_taken(reply(0, false, true, true))) << "nobody there to undo anything";
  EXPECT_TRUE(is_taken(reply(1, true, false)));
  EXPECT_TRUE(is_taken(reply(0, false, true)));
  EXPECT_FALSE(is_taken(reply(0, true, false)));
  EXPECT_FALSE(is_taken(reply(1, false, true)));
  EXPECT_FALSE(is_taken(reply(1, true, true)));
  EXPECT_FALSE(is_taken(reply(0, true, true)));
  EXPECT_FALSE(is_taken(reply(1, false, false)));
  EXPECT_FALSE(is_taken(reply(0, false, false)));
}

Raw send(std::size_t payload, std::uint32_t headers, std::size_t text, std::size_t id = 16,
         std::uint64_t kind = 0, std::uint64_t attempt = 1, std::uint64_t remaining = 0,
         std::optional<std::uint64_t> reply_at = {}) {
  Raw r;
  r.array(15).uint(0).uint(1).uint(2).uint(kind).bin(std::string(id, 'i'));
  r.bin(std::string(16, 'c')).nil().uint(attempt).boolean(false).text(std::string(text, 'x'));
  r.text("").uint(remaining).array(headers);
  for (std::uint32_t i = 0; i < headers; ++i) r.array(2).text("k").text("v");
  reply_at ? r.uint(*reply_at) : r.nil();
  return session({}, r.bin(std::string(payload, 'p')));
}

TEST(BrokenRules, OfAnEnvelope) {
  EXPECT_TRUE(is_taken(send(0, 0, 0)));
  EXPECT_TRUE(is_taken(send(wire::kChunkBytesMax, wire::kEnvelopeHeadersMax, wire::kTextBytesMax)));
  EXPECT_FALSE(is_taken(send(wire::kChunkBytesMax + 1, 0, 0)));
  EXPECT_FALSE(is_taken(send(0, wire::kEnvelopeHeadersMax + 1, 0)));
  EXPECT_FALSE(is_taken(send(0, 0, wire::kTextBytesMax + 1)));
  EXPECT_FALSE(is_taken(send(0, 0, 0, 15)));
  EXPECT_FALSE(is_taken(send(0, 0, 0, 17)));
  EXPECT_TRUE(is_taken(send(0, 0, 0, 16, 7)));
  EXPECT_FALSE(is_taken(send(0, 0, 0, 16, 8)));
  for (const std::uint64_t kind : {6, 7}) {  // a call, an outcome: one header is their own
    EXPECT_TRUE(is_taken(send(0, wire::kEnvelopeHeadersMax + 1, 0, 16, kind)));
    EXPECT_FALSE(is_taken(send(0, wire::kEnvelopeHeadersMax + 2, 0, 16, kind)));
  }
  EXPECT_FALSE(is_taken(send(0, 0, 0, 16, 0, std::uint64_t{UINT32_MAX} + 1)));
  EXPECT_TRUE(is_taken(send(0, 0, 0, 16, 0, 1, INT64_MAX)));
  EXPECT_FALSE(is_taken(send(0, 0, 0, 16, 0, 1, std::uint64_t{INT64_MAX} + 1)));
}

TEST(BrokenRules, OfTheReplyInACompensation) {
  const auto at = [](std::uint64_t kind, std::size_t payload, std::uint64_t reply_at) {
    return is_taken(send(payload, 0, 0, 16, kind, 1, 0, reply_at));
  };
  EXPECT_TRUE(at(4, 5, 0));
  EXPECT_TRUE(at(4, 5, 5));
  EXPECT_FALSE(at(4, 5, 6));
  EXPECT_FALSE(at(4, 5, UINT64_MAX));
  for (const std::uint64_t kind : {0, 1, 2, 3, 5, 6, 7}) EXPECT_FALSE(at(kind, 5, 0)) << kind;
}

TEST(BrokenRules, OfOtherItems) {
  const auto chunk = [](std::size_t size) {
    return session({.ends = false}, Raw{}.array(3).uint(12).uint(1).bin(std::string(size, 'x')));
  };
  EXPECT_TRUE(is_taken(chunk(1)));
  EXPECT_TRUE(is_taken(chunk(wire::kChunkBytesMax)));
  EXPECT_FALSE(is_taken(chunk(0)));
  EXPECT_FALSE(is_taken(chunk(wire::kChunkBytesMax + 1)));
  EXPECT_FALSE(is_taken(session({.ends = false}, Raw{}.array(2).uint(16).uint(1))));
  EXPECT_FALSE(is_taken(session({.ends = false}, Raw{}.array(3).uint(10).uint(1).uint(1))));
  EXPECT_FALSE(is_taken(session({.ends = false}, Raw{}.array(0))));
  EXPECT_FALSE(is_taken(session({.ends = false}, Raw{}.uint(10))));

  const auto down = [](std::uint64_t kind, std::uint64_t source) {
    return session(
        {}, Raw{}.array(5).uint(6).uint(1).uint(2).uint(9).raw(
                Raw{}.array(3).uint(kind).text("").array(4).uint(source).uint(1).uint(1).uint(1)));
  };
  EXPECT_TRUE(is_taken(down(6, 5)));
  EXPECT_FALSE(is_taken(down(7, 5)));
  EXPECT_FALSE(is_taken(down(6, 6)));
}

TEST(BrokenRules, OfRefusalsAndWithdrawals) {
  const auto refusal = [](std::uint64_t from, std::size_t id, std::uint64_t kind,
                          std::size_t text) {
    return session({}, Raw{}
                           .array(6)
                           .uint(13)
                           .uint(from)
                           .uint(2)
                           .bin(std::string(id, 'i'))
                           .uint(kind)
                           .text(std::string(text, 'x')));
  };
  EXPECT_TRUE(is_taken(refusal(1, 16, 0, 0)));
  EXPECT_TRUE(is_taken(refusal(1, 16, 1, wire::kTextBytesMax)));
  EXPECT_FALSE(is_taken(refusal(0, 16, 0, 0)));
  EXPECT_FALSE(is_taken(refusal(1, 15, 0, 0)));
  EXPECT_FALSE(is_taken(refusal(1, 16, 2, 0)));
  EXPECT_FALSE(is_taken(refusal(1, 16, 1, wire::kTextBytesMax + 1)));

  const auto withdraw = [](std::uint64_t to, std::size_t id) {
    return session({}, Raw{}.array(4).uint(14).uint(1).uint(to).bin(std::string(id, 'i')));
  };
  EXPECT_TRUE(is_taken(withdraw(2, 16)));
  EXPECT_TRUE(is_taken(session({}, Raw{}.array(4).uint(14).uint(1).uint(2).nil())));
  EXPECT_FALSE(is_taken(withdraw(0, 16)));
  EXPECT_FALSE(is_taken(withdraw(2, 17)));
}

TEST(BrokenRules, OfCancellings) {
  const auto cancel = [](std::uint64_t from, std::uint64_t to, std::size_t id) {
    return session({}, Raw{}.array(4).uint(15).uint(from).uint(to).bin(std::string(id, 'i')));
  };
  EXPECT_TRUE(is_taken(cancel(1, 2, 16)));
  EXPECT_FALSE(is_taken(cancel(0, 2, 16)));
  EXPECT_FALSE(is_taken(cancel(1, 0, 16)));
  EXPECT_FALSE(is_taken(cancel(1, 2, 15)));
  EXPECT_FALSE(is_taken(session({}, Raw{}.array(4).uint(15).uint(1).uint(2).nil())));
}

TEST(Errors, SayWhichFrameWhereAndWhy) {
  const auto error = decode(join("no de", 1, list(0), list(0)).bytes(), 0).error();
  EXPECT_EQ(error.detail, "join, value 4 (name): not a valid name");
  EXPECT_EQ(decode(std::string(7, '\x91'), 0).error().detail,
            "control frame, value 1 (frame): no protocol version");
  const std::string deep = unhex("92 01 91 91 91 91 91 91 00");
  EXPECT_EQ(decode(deep, 0).error().detail, "control frame, value 7 (frame): nested too deep");
}

}  // namespace
}  // namespace liminal::test
