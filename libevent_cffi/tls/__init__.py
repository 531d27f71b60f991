"""
TLS on the system's OpenSSL: event2/bufferevent_ssl.h.

Importing this module loads libssl; nothing else does.  Where the package was built without TLS it can be
imported all the same, and using it raises FeatureUnavailableError.
"""

from __future__ import annotations

from .context import TLSContext
from .layer import TLSLayer

__all__ = ["TLSContext", "TLSLayer"]

for _class in (TLSContext, TLSLayer):
    _class.__module__ = __name__
del _class
