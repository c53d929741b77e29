#!/usr/bin/env python3
"""A child for a `pipe:` service: answers each message with itself in upper case."""
import struct
import sys

requests, replies = sys.stdin.buffer, sys.stdout.buffer
sys.stdout = sys.stderr  # so that a print() is a line in the log, and not half a reply


def handle(payload: bytes) -> bytes:
    return payload.upper()


while prefix := requests.read(4):  # none: the node closed stdin, and nothing is owed
    (size,) = struct.unpack(">I", prefix)
    reply = handle(requests.read(size))
    replies.write(struct.pack(">I", len(reply)) + reply)
    replies.flush()  # a reply that stays in a buffer is none
