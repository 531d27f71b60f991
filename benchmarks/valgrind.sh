#!/bin/sh
# Run tests under valgrind: any wrong access to memory, in our C, in libevent or on their account, fails the run.
#
#   benchmarks/valgrind.sh [pytest's arguments]      PYTHON=python3 names the interpreter, CPython only
#
# Some forty times slower than without, so the storms are made short.  In an installed copy or after
# "python setup.py build_ext -i".
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
if [ $# -eq 0 ]; then
    set -- tests/test_stateful.py tests/test_leaks.py tests/test_lifetime.py tests/test_closing_inside.py \
        tests/test_dropping.py tests/test_memory.py
fi
: "${LIBEVENT_CFFI_PROGRAMS:=200}"
export LIBEVENT_CFFI_PROGRAMS
export PYTHONMALLOC=malloc
exec valgrind --quiet --error-exitcode=9 --leak-check=no --num-callers=30 \
    --suppressions="$root/tests/valgrind.supp" \
    "${PYTHON:-python3}" -m pytest -q -o faulthandler_timeout=0 -p no:cacheprovider "$@"
