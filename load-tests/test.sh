#!/usr/bin/env bash
# Runs every test and adds up what the runners themselves report; their full output stays in target/test-results.
# A runner that ends without a summary (a build that fails, a crash) counts as one failure, whatever it printed.
set -uo pipefail
cd "$(dirname "$0")/.."

results=target/test-results
mkdir -p "$results"
rm -f "$results"/*

colour=never
[ -t 1 ] && colour=always
passed=0 failed=0
nextest='Summary \[' cargo_test='test result:'

# run NAME COMMAND…: runs it, shown and kept, without colours in what is kept.
run() {
  local name=$1 code
  shift
  printf '\n==> %s\n' "$*"
  "$@" 2>&1 | tee "$results/$name.log"
  code=${PIPESTATUS[0]}
  sed -i 's/\x1b\[[0-9;]*[A-Za-z]//g' "$results/$name.log"
  return "$code"
}

# count NAME CODE PASSED FAILED: adds the figures of one runner, and holds them against its exit code.
count() {
  local name=$1 code=$2 good=${3:-0} bad=${4:-0}
  if [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; then
    echo "==> $name: exit $code, and no failed test: counted as one failure"
    bad=1
  fi
  printf '%s: %s passed, %s failed\n' "$name" "$good" "$bad" >>"$results/by-runner"
  passed=$((passed + good)) failed=$((failed + bad))
}

# can_mount: whether this user may mount a file system.
can_mount() {
  local place code=1
  place=$(mktemp -d)
  mount -t tmpfs -o size=64k tmpfs "$place" 2>/dev/null && umount "$place" && code=0
  rmdir "$place"
  return "$code"
}

# sum_of LOG SUMMARY WORD: adds the numbers before WORD in the lines that begin with SUMMARY. Only those: nextest also shows
# the output of a test that failed, with a summary of its own in it.
sum_of() {
  grep -E "^ *$2" "$results/$1.log" | grep -oE "[0-9]+ $3" | awk '{ n += $1 } END { print n + 0 }'
}

# The binaries that the Python tests run. Built first: a test that waits for a compiler is no test.
if ! run build cargo build --locked --workspace --bins --color "$colour"; then
  count build 1
else
  if cargo nextest --version >/dev/null 2>&1; then
    run rust cargo nextest run --locked --workspace --no-fail-fast --no-tests pass --color "$colour"
    count "cargo nextest" $? "$(sum_of rust "$nextest" passed)" \
      "$(($(sum_of rust "$nextest" failed) + $(sum_of rust "$nextest" 'timed out')))"
    run rust-doc cargo test --locked --workspace --no-fail-fast --doc --color "$colour"
    count "cargo test --doc" $? "$(sum_of rust-doc "$cargo_test" passed)" "$(sum_of rust-doc "$cargo_test" failed)"
  else
    echo "==> cargo-nextest is not installed: cargo test does the same, only slower"
    run rust cargo test --locked --workspace --no-fail-fast --color "$colour"
    count "cargo test" $? "$(sum_of rust "$cargo_test" passed)" "$(sum_of rust "$cargo_test" failed)"
  fi

  pytest_colour=no
  [ "$colour" = always ] && pytest_colour=yes
  # Some tests mount file systems: as root, or in a user namespace where the machine allows one. Else they are skipped,
  # which the end of the run says.
  namespace=()
  can_mount || { unshare -rm true 2>/dev/null && namespace=(unshare -rm); }
  run python "${namespace[@]}" .venv/bin/python -m pytest load-tests/e2e --color="$pytest_colour" --junitxml="$results/python.xml"
  code=$?
  # shellcheck disable=SC2046  # two numbers, two words
  count "pytest" "$code" $(.venv/bin/python - "$results/python.xml" 2>/dev/null <<'PYTHON'
import sys
from xml.etree import ElementTree

suites = list(ElementTree.parse(sys.argv[1]).getroot().iter("testsuite"))
count = lambda key: sum(int(suite.get(key, 0)) for suite in suites)
failed = count("failures") + count("errors")
print(count("tests") - failed - count("skipped"), failed)
PYTHON
  )
fi

printf '\n'
# Never silently: what this machine could not test.
grep -ho 'NOT TESTED: .*' "$results/python.log" 2>/dev/null | sort -u | sed 's/^/==> /'
sed 's/^/==> /' "$results/by-runner"
printf '%s passed, %s failed\n' "$passed" "$failed" >"$results/total"
echo "==> in all: $passed passed, $failed failed (full output: $results)"
[ "$failed" -eq 0 ]
