"""
Messages that marshal themselves: event2/rpc.h, and what libevent's event_rpcgen.py makes for it.

A message is a class, written by hand or read from a .rpc file, and its bytes are those of the C that
event_rpcgen.py makes.  ``python -m libevent_cffi rpcgen FILE`` writes the classes of a file as a module.
"""

from .call import Call
from .clientcall import ClientCall
from .fields import array, data, int32, int64, string, struct
from .hooks import HookContext, HookHandle
from .message import Message
from .pool import Pool
from .schema import Schema, load, loads
from .server import Server

__all__ = [
    "Call",
    "ClientCall",
    "HookContext",
    "HookHandle",
    "Message",
    "Pool",
    "Schema",
    "Server",
    "array",
    "data",
    "int32",
    "int64",
    "load",
    "loads",
    "string",
    "struct",
]
