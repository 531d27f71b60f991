"""
The commands of ``python -m libevent_cffi``, on the public modules alone.

What info looks at, and what the access log of serve tells of an answer, is not public.
"""
