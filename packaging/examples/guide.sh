#!/bin/sh
# The guide with `deeplake sandbox`, step by step:  guide.sh [TABLE]
# Works with E2B (E2B_API_KEY set) and with local sandboxes (without).
set -eu
table=${1:-my_agent_data}
tag=guide-$$
sandbox() { deeplake sandbox "$@"; }
trap 'sandbox kill --quiet --all --metadata suite=$tag || true' EXIT
step() { printf '\n== %s\n' "$*"; }

step "sandbox A mounts table $table and writes"
a=$(sandbox create --metadata suite="$tag" --mount "$table:/mnt/data")
sandbox exec "$a" -- sh -c 'echo "written from sandbox A" >/mnt/data/hello.txt'

step "sandbox B mounts the same table and reads"
b=$(sandbox create --metadata suite="$tag" --mount "$table:/mnt/data")
n=0
until sandbox exec "$b" -- cat /mnt/data/hello.txt 2>/dev/null; do
	n=$((n + 1))
	[ $n -lt 50 ] || { echo "B does not see the file of A" >&2; exit 1; }
	sleep 0.2
done

step "A flushes, and dies without a word; C finds everything"
sandbox exec "$a" -- deeplake flush /mnt/data
sandbox timeout "$a" 1
sleep 1.5
sandbox run --metadata suite="$tag" --mount "$table:/mnt/data" -- \
	cat /mnt/data/hello.txt

step "an agent's script runs; output, exit code and time stay in the table"
dir=$(mktemp -d)
printf 'print(6 * 7)\n' >"$dir/task.py"
# shellcheck disable=SC2016  # the sandbox's shell expands it
sandbox run --metadata suite="$tag" --mount "$table:/mnt/data" \
	--upload "$dir/task.py:/tmp/task.py" -- sh -c '
	began=$(date +%s)
	python3 /tmp/task.py >/mnt/data/output.txt; code=$?
	echo "{\"exit_code\": $code, \"seconds\": $(($(date +%s) - began))}" \
		>/mnt/data/meta.json
	exit $code'
rm -rf "$dir"
sandbox exec "$b" -- sh -c 'cd /mnt/data; cat output.txt meta.json'

step "unmount, kill"
sandbox kill "$b"
