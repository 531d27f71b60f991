"""
Tagged, compact binary data: event2/tag.h.

An item is a number, its tag, and a payload: a number again, text, bytes, a time, or items.  An Encoder writes
them to a Buffer and a Decoder reads them back, in the bytes that libevent's own functions write and read.
"""

from .decoder import Decoder
from .encoder import Encoder

__all__ = ["Decoder", "Encoder"]
