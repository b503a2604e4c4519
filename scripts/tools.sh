#!/usr/bin/env bash
# What the slow tests need beside Python: a browser and bubblewrap. Debian's packages where they are missing and can be had.
set -euo pipefail
command -v bwrap >/dev/null && command -v chromium >/dev/null && exit
command -v apt-get >/dev/null || { echo "make test-slow needs chromium and bwrap on the path: install them" >&2; exit 1; }
sudo=$([ "$(id -u)" = 0 ] || echo sudo)
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends chromium bubblewrap >/dev/null
