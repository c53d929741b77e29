// Two kinds of id cannot be mixed up, and nobody calculates with one.
#include "common/base/strong_id.hpp"

#include <gtest/gtest.h>

#include <concepts>
#include <string>
#include <type_traits>
#include <unordered_set>

#include "common/base/ids.hpp"

namespace liminal {
namespace {

template <class A, class B>
concept Comparable = requires(const A& a, const B& b) {
  a == b;
};
template <class A, class B>
concept Ordered = requires(const A& a, const B& b) {
  a < b;
};
template <class A, class B>
concept Addable = requires(const A& a, const B& b) {
  a + b;
};
template <class A>
concept Incrementable = requires(A a) {
  ++a;
};

// no conversion in or out, no default
static_assert(!std::is_convertible_v<std::uint64_t, Incarnation>);
static_assert(!std::is_convertible_v<Incarnation, std::uint64_t>);
static_assert(!std::is_constructible_v<std::uint64_t, Incarnation>);
static_assert(!std::is_convertible_v<std::string, NodeName>);
static_assert(!std::is_convertible_v<const char*, NodeName>);
static_assert(!std::is_default_constructible_v<Incarnation>);
static_assert(!std::is_default_constructible_v<NodeName>);
static_assert(std::is_constructible_v<Incarnation, std::uint64_t>);

// kinds stay apart
static_assert(!std::is_constructible_v<Incarnation, Epoch>);
static_assert(!std::is_assignable_v<Incarnation&, Epoch>);
static_assert(!std::is_constructible_v<NodeName, ServiceName>);
static_assert(!std::is_constructible_v<MessageId, ConversationId>);
static_assert(!Comparable<Incarnation, Epoch>);
static_assert(!Ordered<LinkId, MonitorId>);
static_assert(!Comparable<Serial, std::uint64_t>);
static_assert(!Comparable<MessageId, ConversationId>);
static_assert(Comparable<Serial, Serial> && Ordered<Serial, Serial>);

// no arithmetic
static_assert(!Addable<Serial, Serial> && !Addable<Serial, int>);
static_assert(!Incrementable<Serial>);

// as cheap as what they hold
static_assert(sizeof(Serial) == sizeof(std::uint64_t));
static_assert(std::is_trivially_copyable_v<Serial> && std::is_trivially_copyable_v<MessageId>);

TEST(StrongIdTest, HasIdentityAndOrder) {
  EXPECT_EQ(Serial{1}, Serial{1});
  EXPECT_NE(Serial{1}, Serial{2});
  EXPECT_LT(Serial{1}, Serial{2});
  EXPECT_EQ(NodeName{"a"}.value(), "a");
  EXPECT_LT(NodeName{"a"}, NodeName{"b"});
}

TEST(StrongIdTest, CanBeHashed) {
  const std::unordered_set<NodeName> names{NodeName{"a"}, NodeName{"b"}, NodeName{"a"}};
  EXPECT_EQ(names.size(), 2U);
}

TEST(PidTest, ComparesNodeThenIncarnationThenSerial) {
  const Pid pid{NodeName{"b"}, Incarnation{5}, Serial{5}};
  EXPECT_EQ(pid, (Pid{NodeName{"b"}, Incarnation{5}, Serial{5}}));
  EXPECT_LT((Pid{NodeName{"a"}, Incarnation{9}, Serial{9}}), pid);
  EXPECT_LT((Pid{NodeName{"b"}, Incarnation{4}, Serial{9}}), pid);
  EXPECT_LT((Pid{NodeName{"b"}, Incarnation{5}, Serial{4}}), pid);
}

TEST(PidTest, IsLocalWithoutAnIncarnationOnly) {
  EXPECT_TRUE((Pid{NodeName{"a"}, local_incarnation(), Serial{1}}).is_local());
  EXPECT_FALSE((Pid{NodeName{"a"}, Incarnation{1}, Serial{1}}).is_local());
}

}  // namespace
}  // namespace liminal
