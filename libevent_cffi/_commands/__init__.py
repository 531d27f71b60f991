"""The commands of ``python -m libevent_cffi``, on the public modules alone but for what info looks at."""
