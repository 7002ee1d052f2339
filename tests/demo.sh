#!/bin/sh
# demo.sh [BUILD_DIR] - the main job on real input, in about a minute.
#
# One table, mounted twice as by two machines; a Debian source package is
# unpacked, committed to git and compiled in one mount and found again, byte by
# byte, in the other, by plain curl, after all caches are wiped, and in
# sandboxes that are killed.  Every step ends the script when it fails.  Left
# behind: only what is in BUILD_DIR.
set -eu
cd "$(dirname "$0")/.."
O=$(realpath "${1:-build}")
package=zlib
table=my_agent_data
deeplake=$O/deeplake
work=$O/demo
server_pid=
sandboxes=
export LC_ALL=C TZ=UTC

# ---- what is printed: each step with its time

began=$(date +%s%N)
step_began=

seconds() { # NANOSECONDS
	printf '%d.%d' $(($1 / 1000000000)) $(($1 % 1000000000 / 100000000))
}

step_end() {
	[ -n "$step_began" ] || return 0
	printf '   done in %s s\n' "$(seconds $(($(date +%s%N) - step_began)))"
	step_began=
}

step() {
	step_end
	printf '\n== %s\n' "$*"
	step_began=$(date +%s%N)
}

say() {
	printf '   %s\n' "$*"
}

fail() {
	printf 'demo: %s\n' "$*" >&2
	exit 1
}

# ---- whatever happens, nothing of ours goes on running

# A machine: a HOME of its own, with the caches in it.
on() { # NAME COMMAND...
	machine=$1
	shift
	env -u XDG_CACHE_HOME -u XDG_RUNTIME_DIR HOME="$work/home-$machine" "$@"
}

unmount_all() {
	for m in A B; do
		grep -q " $work/$m " /proc/self/mounts || continue
		on "$m" "$deeplake" umount "$work/$m" --force --timeout 20 ||
			on "$m" "$deeplake" umount "$work/$m" --lazy || true
	done
}

clean_up() {
	status=$?
	trap - EXIT INT TERM
	for s in $sandboxes; do
		on A "$deeplake" sandbox kill --provider local --force -q "$s" >/dev/null 2>&1 ||
			true
	done
	unmount_all
	if [ -n "$server_pid" ]; then
		kill "$server_pid" 2>/dev/null || true
		wait "$server_pid" 2>/dev/null || true
	fi
	if grep -q " $work/" /proc/self/mounts; then
		echo "demo: something is still mounted under $work" >&2
		status=1
	else
		# a daemon that was told to end may write its last line yet
		for _ in 1 2 3 4 5; do
			rm -rf "$work" 2>/dev/null && break
			sleep 1
		done
	fi
	exit "$status"
}

# ---- pieces

# Everything that a program can see of a tree: kind, mode, owner, size, time in
# nanoseconds, links, inode number, target; then the contents.
manifest() { # DIRECTORY
	(
		cd "$1"
		find . ! -type d -printf '%P %y %#m %U:%G %s %T@ %n %i %l\n' |
			sort
		find . -type d -printf '%P %y %#m %U:%G %T@ %i\n' | sort
		find . -type f -print0 | sort -z | xargs -0 sha256sum --
	)
}

# Other mounts hear of a change by themselves, a moment later.
same_tree() { # DIRECTORY MANIFEST
	end=$(($(date +%s) + 20))
	until manifest "$1" >"$work/now" 2>/dev/null &&
		cmp -s "$2" "$work/now"; do
		if [ "$(date +%s)" -ge $end ]; then
			diff "$2" "$work/now" | head -20 >&2
			fail "$1 is not what was written"
		fi
		sleep 0.2
	done
	say "$(grep -c ' f ' "$2") files, $(grep -c ' d ' "$2") directories:" \
		"contents, modes, owners, times, links and inodes identical"
}

apt_get() { # lists and caches of our own, so that nothing of the system's changes
	apt-get -q -o Dir::Etc::SourceList="$src/sources.list" \
		-o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::Lists="$src/lists" -o Dir::Cache="$src/cache" \
		-o APT::Sandbox::User=root "$@"
}

# Kept in BUILD_DIR for the next time.
fetch_source() {
	src=$O/demo-source
	set -- "$src/$package"_*.dsc
	[ -f "$1" ] && return
	mkdir -p "$src/lists/partial" "$src/cache/archives/partial"
	# shellcheck source=/dev/null
	suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
	keys=/usr/share/keyrings/debian-archive-keyring.gpg
	mirror=${DEMO_MIRROR:-http://deb.debian.org/debian}
	echo "deb-src [signed-by=$keys] $mirror $suite main" \
		>"$src/sources.list"
	{
		apt_get update &&
			(cd "$src" && apt_get source --download-only "$package")
	} >"$src/log" 2>&1 || {
		cat "$src/log" >&2
		fail "apt cannot fetch the source package $package from $mirror;" \
			"name another mirror with DEMO_MIRROR"
	}
	rm -rf "$src/lists" "$src/cache"
}

start_server() {
	for m in A B; do
		mkdir -p "$work/home-$m"
		mkdir -m 700 "$work/home-$m/.deeplake"
	done
	"$O/deeplake-serve" --listen 127.0.0.1:0 --store "sqlite:$work/store" \
		--write-credentials "$work/home-A/.deeplake/credentials.json" \
		>"$work/server.out" 2>"$work/server.log" &
	server_pid=$!
	for _ in $(seq 100); do
		grep -q '^ready ' "$work/server.out" && break
		kill -0 $server_pid 2>/dev/null || break
		sleep 0.1
	done
	url=$(sed -n 's/^ready //p' "$work/server.out")
	[ -n "$url" ] || {
		cat "$work/server.log" >&2
		fail "the table server did not start"
	}
	say "table server at $url, its store in $work/store"
	cp -p "$work/home-A/.deeplake/credentials.json" \
		"$work/home-B/.deeplake/"
}

field() { # NAME: of credentials.json
	sed -n "s/.*\"$1\": *\"\\([^\"]*\\)\".*/\\1/p" \
		"$work/home-A/.deeplake/credentials.json" | head -1
}

# The token goes in by standard input: arguments can be read by others.
ask() { # SQL
	workspace=$(field workspaceId)
	curl -sS --fail-with-body --config - \
		-H 'Content-Type: application/json' \
		-H "X-Activeloop-Org-Id: $(field orgId)" \
		--data "{\"query\": \"$1\"}" \
		"$url/workspaces/${workspace:-default}/tables/query" <<-END
			header = "Authorization: Bearer $(field token)"
		END
}

mount_on() { # NAME
	on "$1" "$deeplake" init --table $table --path "$work/$1" \
		-o "cache_dir=$work/cache-$1"
}

# ---- the demonstration

demo_mounts() {
	step "A table server, and table $table mounted twice: A and B"
	start_server
	mount_on A
	mount_on B
	grep " $work/[AB] " /proc/self/mounts | cut -d' ' -f1-3 | sed 's/^/   /'

	step "Unpack the source package $package into A"
	(cd "$work/A" && dpkg-source --no-check -x "$O/demo-source/$package"_*.dsc \
		tree >"$work/log")
	say "$(find "$work/A/tree" | wc -l) names," \
		"$(du -sh --apparent-size "$work/A/tree" | cut -f1)"

	step "git init, add, commit in A"
	git -c init.defaultBranch=main init -q "$work/A/tree"
	(cd "$work/A/tree" &&
		git add -A &&
		git -c user.name=demo -c user.email=demo@localhost \
			commit -q -m "$package as Debian has it" &&
		git log --oneline | sed 's/^/   /')

	step "configure and make -j2 in A"
	(cd "$work/A/tree" && ./configure && make -s -j2) >"$work/log" 2>&1 || {
		tail -20 "$work/log" >&2
		fail "$package does not compile in the mount"
	}
	ln -s tree/minigzip "$work/A/result"
	ln "$work/A/tree/configure" "$work/A/hard-link"
	say "$(find "$work/A/tree" -name '*.o' | wc -l) objects compiled"

	step "umount A: returns when everything is in the table"
	git --no-optional-locks -C "$work/A/tree" status --porcelain >"$work/status-A"
	manifest "$work/A" >"$work/written"
	on A "$deeplake" umount "$work/A"

	step "B shows the same tree"
	same_tree "$work/B" "$work/written"
	git -C "$work/B/tree" fsck --strict --no-progress
	git --no-optional-locks -C "$work/B/tree" status --porcelain >"$work/status-B"
	cmp "$work/status-A" "$work/status-B"
	say "git fsck in B is content, and git status says what it said in A"
	text=$(echo "packed and unpacked" | "$work/B/result" | gunzip)
	[ "$text" = "packed and unpacked" ] || fail "B's minigzip says: $text"
	say "what A compiled runs in B: $text"
}

demo_queries() {
	step "The table, asked with plain curl and SQL"
	sql="SELECT path, size_bytes FROM $table WHERE content_text ILIKE"
	sql="$sql '%copyright%' ORDER BY size_bytes DESC LIMIT 3"
	say "$sql"
	for _ in $(seq 50); do # the view follows the commit
		rows=$(ask "$sql")
		case $rows in *tree/*) break ;; esac
		sleep 0.2
	done
	case $rows in
	*'"rows"'*tree/*) echo "   $rows" | cut -c 1-400 ;;
	*) fail "no rows of ours came back: $rows" ;;
	esac
	if "$deeplake" help query >/dev/null 2>&1; then
		say "deeplake query, the count of files:"
		on B "$deeplake" query $table \
			"SELECT count(*) AS files FROM $table" | sed 's/^/   /'
	fi
	if "$deeplake" help grep >/dev/null 2>&1; then
		say "deeplake grep $table deflateInit:"
		on B "$deeplake" grep $table deflateInit >"$work/found" ||
			fail "grep found nothing"
		head -3 "$work/found" | cut -c 1-76 | sed 's/^/   /'
	fi
}

demo_wiped() {
	step "Every cache wiped, mounted again: still the same"
	on B "$deeplake" umount "$work/B"
	rm -rf "$work/cache-A" "$work/cache-B"
	mount_on A
	same_tree "$work/A" "$work/written"
	on A "$deeplake" umount "$work/A"
}

new_sandbox() { # NAME
	on A "$deeplake" sandbox create --provider local -q --name "$1" \
		--mount "$table:/mnt/data" >/dev/null
	sandboxes="$sandboxes $1"
}

in_sandbox() { # NAME COMMAND...
	name=$1
	shift
	on A "$deeplake" sandbox exec --provider local -q "$name" -- "$@"
}

demo_sandboxes() {
	step "Sandboxes A and B share the table; A writes, B reads"
	new_sandbox demo-a
	new_sandbox demo-b
	in_sandbox demo-a sh -c \
		'echo "written from sandbox A" > /mnt/data/note.txt'
	for _ in $(seq 50); do
		text=$(in_sandbox demo-b cat /mnt/data/note.txt 2>/dev/null) &&
			break
		sleep 0.1
	done
	[ "$text" = "written from sandbox A" ] || fail "B reads: $text"
	say "B reads: $text"

	step "A flushes and is killed without a word; C finds everything"
	in_sandbox demo-a deeplake flush /mnt/data
	on A "$deeplake" sandbox kill --provider local --force -q \
		demo-a >/dev/null
	new_sandbox demo-c
	text=$(in_sandbox demo-c sh -c 'cat /mnt/data/note.txt &&
		echo "A compiled this" | /mnt/data/result | gunzip')
	say "C reads and runs: $(echo "$text" | tr '\n' ' ')"
	[ "$(echo "$text" | head -1)" = "written from sandbox A" ] ||
		fail "C reads: $text"
	on A "$deeplake" sandbox kill --provider local -q demo-b demo-c >/dev/null
	sandboxes=

	step "deeplake sandbox run: a script whose output outlives its sandbox"
	cat >"$work/task.py" <<-'END'
		import platform
		with open("/mnt/data/output.txt", "w") as f:
		    print("computed in", platform.node(), sum(range(10**6)), file=f)
	END
	on A "$deeplake" sandbox run --provider local -q \
		--mount "$table:/mnt/data" --upload "$work/task.py:/tmp/task.py" \
		-- python3 /tmp/task.py
	for _ in $(seq 50); do
		rows=$(ask "SELECT content_text FROM $table WHERE path LIKE '%output.txt'")
		case $rows in *computed*) break ;; esac
		sleep 0.2
	done
	case $rows in
	*499999500000*) say "curl: $(echo "$rows" | cut -c 1-200)" ;;
	*) fail "the script's output is not in the table: $rows" ;;
	esac
}

[ -x "$deeplake" ] || fail "$deeplake is not there; run make demo"
[ -e /dev/fuse ] || fail "this machine has no /dev/fuse"
if [ -e "$work" ]; then
	grep -q " $work/" /proc/self/mounts &&
		fail "another demo runs in $work, or left a mount there"
	rm -rf "$work"
fi
mkdir -p "$work"
trap clean_up EXIT
trap 'exit 130' INT TERM
step "Fetch the source package $package with apt"
fetch_source
say "$(du -ch "$O/demo-source/$package"_*.tar.* | tail -1 | cut -f1) in" \
	"$O/demo-source"
demo_mounts
demo_queries
demo_wiped
demo_sandboxes
step_end
printf '\ndemo: all of it in %s s\n' "$(seconds $(($(date +%s%N) - began)))"
