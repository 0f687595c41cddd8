#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# deps.sh [demo]: installs what building and testing needs (demo: what `make demo` needs, which is less),
# from Debian 12 alone; nothing happens to what is there already.
# The client of the end-to-end tests in node comes with `npm ci` from the lock file beside it.
set -euo pipefail
cd "$(dirname "$0")/.."
export DEBIAN_FRONTEND=noninteractive

what=${1:-all}
packages=(
	build-essential clang-14 llvm-14 bpftool libbpf-dev libxdp-dev libelf-dev zlib1g-dev libssl-dev
	libmicrohttpd-dev libc-ares-dev libnghttp2-dev libjansson-dev libcap-dev libseccomp-dev libpcap0.8-dev libxxhash-dev libcrypt-dev libpcre2-dev
	python3 iproute2 curl openssl procps
)
if [ "$what" = all ]; then
	packages+=(
		git libclang-rt-14-dev libcmocka-dev python3-pytest python3-pytest-timeout python3-httpx
		python3-h2 nghttp2-client nginx-light testssl.sh chromium clang-format cppcheck strace qemu-system-x86 xdp-tools
	)
	command -v npm >/dev/null || packages+=(nodejs npm)
fi

is_installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# nginx is here to be compared with, not to serve: its service is not started.
policy=/usr/sbin/policy-rc.d
made_policy=
forbid_services() {
	[ -e $policy ] && return
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
	made_policy=1
}
allow_services() {
	[ -z "$made_policy" ] || rm -f $policy
}
trap allow_services EXIT

missing=()
for p in "${packages[@]}"; do
	case $p in
	nginx-light) [ -x /usr/sbin/nginx ] || missing+=("$p") ;;
	*) is_installed "$p" || missing+=("$p") ;;
	esac
done
if [ ${#missing[@]} -gt 0 ]; then
	if [ "$(id -u)" != 0 ]; then
		echo "deps: missing, and only root can install them: ${missing[*]}" >&2
		exit 1
	fi
	echo "deps: installing ${missing[*]}"
	forbid_services
	apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null || {
		apt-get update -q </dev/null
		apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null
	}
fi

# node's own lock file says what is wanted; what npm has put down says what is there.
cd tests/e2e
if [ "$what" = all ] && ! cmp -s package-lock.json node_modules/.sluice-lock; then
	npm ci --no-audit --no-fund --ignore-scripts --loglevel=error </dev/null
	cp package-lock.json node_modules/.sluice-lock
fi
echo "deps: all there"
