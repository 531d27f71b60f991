"""
Tagged, compact binary data: event2/tag.h.

An item is a number, its tag, and a payload: a number again, text, bytes, a time, or items.
"""
