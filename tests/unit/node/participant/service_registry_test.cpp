// Services are read as operators write them, made by name, and bounded in number.
#include "node/participant/service_registry.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace liminal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const ServiceName kX{"x"};

signal::SpawnRequest request_for(const std::string& service) {
  return {.from = {NodeName{"a"}, local_incarnation(), Serial{1}},
          .to = {NodeName{"a"}, local_incarnation(), Serial{0}},
          .spawn = SpawnId{1},
          .service = ServiceName{service},
          .conversation = {1, 1}};
}

TEST(ServiceKindTest, EchoExecAndPipeAreKinds) {
  EXPECT_EQ(parse_service_kind(kX, "echo"), (ServiceDefinition{kX, service_kind::Echo{}}));
  EXPECT_EQ(parse_service_kind(kX, "exec:tr a-z A-Z | sed s/=/:/"),
            (ServiceDefinition{kX, service_kind::Exec{"tr a-z A-Z | sed s/=/:/"}}));
  EXPECT_EQ(parse_service_kind(kX, "pipe:exec:cat"),
            (ServiceDefinition{kX, service_kind::Pipe{"exec:cat"}}));
  EXPECT_EQ(parse_service("x=exec:a=b"), (ServiceDefinition{kX, service_kind::Exec{"a=b"}}));
}

TEST(ServiceKindTest, EverythingElseIsRefusedWithWhatWouldBeRight) {
  struct Case {
    std::string text, detail;
  };
  for (const Case& c : std::vector<Case>{
           {"x=foo",
            "service 'x': kind 'foo' does not exist: write echo, exec:COMMAND or pipe:COMMAND"},
           {"x=Pipe:cat",
            "service 'x': kind 'Pipe' does not exist: write echo, exec:COMMAND or pipe:COMMAND"},
           {"x=pipe",
            "service 'x': kind 'pipe' does not exist: write echo, exec:COMMAND or pipe:COMMAND"},
           {"x=pipe: ", "service 'x': pipe without a command: write pipe:COMMAND"},
           {"x=", "service 'x': kind '' does not exist: write echo, exec:COMMAND or pipe:COMMAND"},
           {"x=Echo",
            "service 'x': kind 'Echo' does not exist: write echo, exec:COMMAND or pipe:COMMAND"},
           {"x=echo:",
            "service 'x': kind 'echo' does not exist: write echo, exec:COMMAND or pipe:COMMAND"},
           {"x=exec",
            "service 'x': kind 'exec' does not exist: write echo, exec:COMMAND or pipe:COMMAND"},
           {"x=exec:", "service 'x': exec without a command: write exec:COMMAND"},
           {"x=exec: \t", "service 'x': exec without a command: write exec:COMMAND"},
           {"x", "service 'x': write NAME=KIND, e.g. upper=exec:tr a-z A-Z"},
           {"=echo", "service '': a name is 1 to 63 of letters, digits, '.', '_' and '-'"},
           {"a b=echo", "service 'a b': a name is 1 to 63 of letters, digits, '.', '_' and '-'"}}) {
    const auto parsed = parse_service(c.text);
    ASSERT_FALSE(parsed) << c.text;
    EXPECT_EQ(parsed.error(), (Error{Errc::kUsage, c.detail}));
  }
}

TEST(ServiceRegistryTest, AServiceIsMadeByItsNameAndAnUnknownOneIsNot) {
  ServiceRegistry registry{{.node = NodeName{"y"}}};
  ASSERT_TRUE(registry.add({kX, service_kind::Echo{}}));
  ASSERT_TRUE(registry.add(ServiceName{"b"}, [] { return std::make_unique<EchoBehaviour>(); }));
  EXPECT_THAT(registry.names(), ElementsAre(ServiceName{"b"}, kX));

  EXPECT_TRUE(registry.make(request_for("x")));
  const auto unknown = registry.make(request_for("z"));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error(), (Error{Errc::kNoService, "no service 'z' on node 'y'"}));
}

class Undoes : public ParticipantBehaviour {
 public:
  std::optional<Payload> process(const Request&) override { return std::nullopt; }
  void compensate(const Compensation&) override {}
};
class UndoesAsItsBase final : public Undoes {};

template <class Registry, class Factory>
concept Adds = requires(Registry registry, Factory factory) {
  registry.add(kX, factory);
};

TEST(ServiceRegistryTest, TheTypeOfABehaviourSaysWhetherItCompensates) {
  static_assert(!kCompensates<EchoBehaviour>);
  static_assert(kCompensates<Undoes>);
  static_assert(kCompensates<UndoesAsItsBase>);
  ServiceRegistry registry{{.node = NodeName{"y"}}};
  ASSERT_TRUE(registry.add(ServiceName{"a"}, [] { return std::make_unique<EchoBehaviour>(); }));
  ASSERT_TRUE(registry.add(ServiceName{"b"}, [] { return std::make_unique<UndoesAsItsBase>(); }));
  EXPECT_FALSE(registry.make(request_for("a"))->compensates);
  EXPECT_TRUE(registry.make(request_for("b"))->compensates);
}

TEST(ServiceRegistryTest, WhereTheTypeDoesNotSayItHasToBeSaid) {
  const auto hidden = []() -> std::unique_ptr<ParticipantBehaviour> {
    return std::make_unique<Undoes>();
  };
  static_assert(!Adds<ServiceRegistry, decltype(hidden)>);
  static_assert(!Adds<ServiceRegistry, BehaviourFactory>);
  static_assert(Adds<ServiceRegistry, decltype([] { return std::make_unique<Undoes>(); })>);
  ServiceRegistry registry{{.node = NodeName{"y"}}};
  ASSERT_TRUE(registry.add(ServiceName{"a"}, hidden, Undo::kNone));
  ASSERT_TRUE(registry.add(ServiceName{"b"}, hidden, Undo::kCompensates));
  EXPECT_FALSE(registry.make(request_for("a"))->compensates);
  EXPECT_TRUE(registry.make(request_for("b"))->compensates);
}

TEST(CompensationTest, IsReadAsAServiceIs) {
  EXPECT_EQ(parse_compensation("x=exec:rm a=b"), (CompensationDefinition{kX, "rm a=b"}));
  struct Case {
    std::string text, detail;
  };
  for (const Case& c : std::vector<Case>{
           {"x", "compensation 'x': write NAME=exec:COMMAND, e.g. charge=exec:./refund"},
           {"a b=exec:c",
            "compensation 'a b': a name is 1 to 63 of letters, digits, '.', '_' and '-'"},
           {"x=echo",
            "compensation of service 'x': kind 'echo' undoes nothing: write exec:COMMAND"},
           {"x=pipe:cat",
            "compensation of service 'x': kind 'pipe' undoes nothing: write exec:COMMAND"},
           {"x=exec: \t",
            "compensation of service 'x': exec without a command: write exec:COMMAND"}}) {
    const auto parsed = parse_compensation(c.text);
    ASSERT_FALSE(parsed) << c.text;
    EXPECT_EQ(parsed.error(), (Error{Errc::kUsage, c.detail}));
  }
}

TEST(CompensationTest, NeedsARunnerWhateverTheKind) {
  ServiceRegistry registry{{.node = NodeName{"y"}}};
  const ServiceDefinition echo{kX, service_kind::Echo{}, "true"};
  EXPECT_TRUE(has_children(echo));
  const auto added = registry.add(echo);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code, Errc::kUnsupported);
}

TEST(ServiceRegistryTest, ANameIsTakenOnce) {
  ServiceRegistry registry{{.node = NodeName{"y"}}};
  ASSERT_TRUE(registry.add({kX, service_kind::Echo{}}));
  const auto again = registry.add({kX, service_kind::Echo{}});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error(), (Error{Errc::kUsage, "service 'x' is defined twice"}));
}

TEST(ServiceRegistryTest, ExecAndPipeNeedARunner) {
  ServiceRegistry registry{{.node = NodeName{"y"}}};
  for (const ServiceKind& kind :
       std::vector<ServiceKind>{service_kind::Exec{"true"}, service_kind::Pipe{"cat"}}) {
    EXPECT_TRUE(has_children({kX, kind}));
    const auto added = registry.add({kX, kind});
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().code, Errc::kUnsupported);
  }
  EXPECT_FALSE(has_children({kX, service_kind::Echo{}}));
}

TEST(ServiceRegistryTest, ParticipantsAreBoundedAndTheirEndsMakeRoom) {
  std::unique_ptr<Process> survivor;
  {
    ServiceRegistry registry{{.node = NodeName{"y"}, .participants_max = 2}};
    ASSERT_TRUE(registry.add({kX, service_kind::Echo{}}));
    auto first = std::move(registry.make(request_for("x"))->process);
    auto second = std::move(registry.make(request_for("x"))->process);
    EXPECT_EQ(registry.participants(), 2u);

    const auto third = registry.make(request_for("x"));
    ASSERT_FALSE(third);
    EXPECT_EQ(third.error().code, Errc::kRejected);
    EXPECT_THAT(third.error().detail, HasSubstr("participants-max"));
    EXPECT_EQ(registry.participants(), 2u);

    first.reset();
    EXPECT_EQ(registry.participants(), 1u);
    EXPECT_TRUE(registry.make(request_for("x")));
    survivor = std::move(second);
  }
  survivor.reset();  // after its registry: fine
}

}  // namespace
}  // namespace liminal
