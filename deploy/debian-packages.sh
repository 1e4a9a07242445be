#!/bin/sh
# Install Debian packages where that is ours to do: as root with apt. Elsewhere say in one line what is left out.
set -eu
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$@" >/dev/null
else
    echo "not installed (needs root and apt): $*" >&2
fi
