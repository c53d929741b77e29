// Internal to common/wire: the frames about conversations.
#pragma once

#include <string>

#include "common/wire/reader.hpp"
#include "common/wire/timeline_frames.hpp"

namespace liminal::wire {

[[nodiscard]] std::string encode_frame(const control::Records& records);
[[nodiscard]] std::string encode_frame(const control::CancelAnswer& answer);
[[nodiscard]] std::string encode_frame(const control::TimelineQuery& query);
[[nodiscard]] std::string encode_frame(const control::ConversationsQuery& query);
[[nodiscard]] std::string encode_frame(const control::CancelQuery& query);
[[nodiscard]] std::string encode_frame(const control::Loads& loads);
[[nodiscard]] std::string encode_frame(const control::CancelOrder& order);
[[nodiscard]] std::string encode_frame(const control::TimelineReply& reply);
[[nodiscard]] std::string encode_frame(const control::ConversationsReply& reply);
[[nodiscard]] std::string encode_frame(const control::CancelReply& reply);

[[nodiscard]] control::Records read_records(Reader& r);
[[nodiscard]] control::CancelAnswer read_cancel_answer(Reader& r);
[[nodiscard]] control::TimelineQuery read_timeline_query(Reader& r);
[[nodiscard]] control::ConversationsQuery read_conversations_query(Reader& r);
[[nodiscard]] control::CancelQuery read_cancel_query(Reader& r);
[[nodiscard]] control::Loads read_loads(Reader& r);
[[nodiscard]] control::CancelOrder read_cancel_order(Reader& r);
[[nodiscard]] control::TimelineReply read_timeline_reply(Reader& r);
[[nodiscard]] control::ConversationsReply read_conversations_reply(Reader& r);
[[nodiscard]] control::CancelReply read_cancel_reply(Reader& r);

}  // namespace liminal::wire
