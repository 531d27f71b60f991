"""
Names to addresses and back, and a DNS server: event2/dns.h.

A Resolver asks name servers without blocking; what it is asked comes back as a Query, an operation that
finishes once.  A Server answers.
"""

from .answers import Answer, error_text
from .connect import connect
from .options import ResolverOptions
from .queries import Query
from .requests import Question, Request
from .resolver import Resolver
from .server import Server

__all__ = [
    "Answer",
    "Query",
    "Question",
    "Request",
    "Resolver",
    "ResolverOptions",
    "Server",
    "connect",
    "error_text",
]
