#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Includes go downwards only: a file of user/X may include its own folder or one of a lower rank
# (docs/architecture.md). Prints each line that does not, and ends with 1 when there is any.
set -euo pipefail
cd "$(dirname "$0")/.."

find user bpf -name '*.[ch]' | sort | xargs awk '
BEGIN {
	split("core=0 conf=1 net=2 http=2 kernel=2 tls=3 h2=3 llm=3 policy=4 proxy=5 worker=6 admin=6 master=7", list, " ")
	for (i in list) {
		split(list[i], pair, "=")
		rank[pair[1]] = pair[2] + 0
	}
	# What a library is for stays in one folder.
	only["bpf/libbpf.h"] = only["bpf/bpf.h"] = "kernel"
	only["openssl/ssl.h"] = "tls"
	only["microhttpd.h"] = "admin"
	only["pcap/pcap.h"] = "kernel"
	only["ares.h"] = "net"
	only["pcre2.h"] = "conf"
	only["nghttp2/nghttp2.h"] = "h2"
	only["seccomp.h"] = "master"
}
function wrong(why) {
	printf "%s:%d: %s: %s\n", FILENAME, FNR, $0, why
	n_wrong++
}
FNR == 1 {
	n = split(FILENAME, part, "/")
	top = part[1]
	folder = n > 2 ? part[2] : ""
	n_files++
	if (top == "user" && folder != "" && !(folder in rank))
		wrong("no rank is known for user/" folder)
}
/^[ \t]*#[ \t]*include[ \t]*[<"]/ {
	match($0, /[<"][^>"]*[>"]/)
	name = substr($0, RSTART + 1, RLENGTH - 2)
	quoted = substr($0, RSTART, 1) == "\""
	n = split(name, part, "/")
	if (top == "bpf") {
		if (quoted && n > 1 && part[1] != "bpf")
			wrong("bpf/ may not include anything of user/")
		next
	}
	if ((name in only) && folder != only[name])
		wrong("only user/" only[name] " may use this library")
	if (!quoted || folder == "")
		next
	if (part[1] == "..")
		wrong("includes are written from user/")
	else if (name == "bpf/relay_shared.h") {
		if (folder != "kernel")
			wrong("the ABI of the relay is for user/kernel alone")
	} else if (name == "bpf/shared.h" || name == "bpf/hash.h" || name == "bpf/steer_shared.h") {
		if (rank[folder] < rank["kernel"] || (rank[folder] == rank["kernel"] && folder != "kernel"))
			wrong("below kernel nobody knows the maps")
	} else if (part[1] in rank) {
		if (part[1] != folder && rank[part[1]] >= rank[folder])
			wrong("user/" folder " [" rank[folder] "] may not include user/" part[1] " [" rank[part[1]] "]")
	} else if (n > 1)
		wrong("no rank is known for this folder")
}
END {
	if (n_files == 0) {
		print "no files found"
		n_wrong = 1
	}
	exit n_wrong > 0
}'
