"""Event-driven network programs on the system's libevent."""
