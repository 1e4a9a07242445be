#!/bin/sh
# Install Debian packages if this runs as root with apt; otherwise print which ones are missing.
set -eu
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$@" >/dev/null
else
    echo "not installed (needs root and apt): $*" >&2
fi
