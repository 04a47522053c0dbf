#!/usr/bin/env bash
# Installs what a target of the Makefile needs and this machine lacks, and says so. Quick when nothing is missing.
#
#   load-tests/setup.sh build        Rust's cargo; cmake and a C and C++ compiler (zlib-ng, mimalloc and ring are C)
#   load-tests/setup.sh python       .venv with what load-tests/requirements.txt pins
#   load-tests/setup.sh prometheus   prometheus and promtool
#   load-tests/setup.sh e2e          wrk, curl, nghttp, openssl, zstd and strace
#   load-tests/setup.sh bench        wrk and nginx; zstd, sha256sum and taskset
#   load-tests/setup.sh cargo-deny   the guard of licences and sources
#   load-tests/setup.sh remove       what was built or installed in this checkout
#
# System packages come through apt when this is root or sudo is there. Servers are only unpacked, under target/tools:
# installed, they would be started by the system, and take ports that nobody asked them to take.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=target/tools
export PATH="$PATH:$HOME/.cargo/bin:$PWD/$tools/usr/bin:$PWD/$tools/usr/sbin"

say() { printf '==> %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }
fail() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}

# Runs a command as root, or returns 1 where that cannot be.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif have sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    sudo "$@"
  else
    return 1
  fi
}

# apt_lists: brings the package lists once a run; a new machine has none.
apt_lists() {
  [ -n "${lists_are_fresh:-}" ] && return
  as_root apt-get update -qq || return 1
  lists_are_fresh=yes
}

# install WHY PACKAGE…: installs Debian packages that start nothing, or says what to install by hand.
install() {
  local why=$1
  shift
  have apt-get || fail "$why." "There is no apt-get here: please install what Debian calls: $*"
  say "$why: installing $*"
  local said
  said=$(mktemp)
  if ! { apt_lists && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"; } >"$said" 2>&1; then
    cat "$said" >&2
    rm -f "$said"
    fail "could not install $*: root or sudo is needed, and a package mirror." "Please run: apt-get install $*"
  fi
  rm -f "$said"
}

# unpack WHY PACKAGE…: unpacks Debian packages under target/tools; nothing is installed or started, no root is needed.
unpack() {
  local why=$1 into
  shift
  have apt-get || fail "$why." "There is no apt-get here: please install what Debian calls: $*"
  say "$why: unpacking $* into $tools (not installed, so that no server is started)"
  into=$(mktemp -d)
  (cd "$into" && apt-get download -qq "$@" >/dev/null 2>&1) ||
    { apt_lists && (cd "$into" && apt-get download -qq "$@" >/dev/null 2>&1); } ||
    { rm -rf "$into"; fail "could not download $*." "Please run: apt-get install $*"; }
  mkdir -p "$tools"
  for archive in "$into"/*.deb; do dpkg-deb -x "$archive" "$tools"; done
  rm -rf "$into"
}

need_build() {
  have cargo || fail "Rust is missing (cargo is not on the PATH)." "Please install it from https://rustup.rs, then run make again."
  local missing=()
  have cmake || missing+=(cmake)
  { have cc && have c++; } || missing+=(build-essential)
  [ ${#missing[@]} = 0 ] || install "the build compiles some C" "${missing[@]}"
}

need_python() {
  local pins=load-tests/requirements.txt stamp=.venv/.installed
  cmp -s "$pins" "$stamp" && [ -x .venv/bin/python ] && return
  have python3 || install "the tests' clients are written in Python" python3 python3-venv
  say "making .venv with what $pins pins"
  # A machine's python3 can lack the module that fills a virtual environment; Debian keeps it in a package of its own.
  if ! python3 -m venv --clear .venv >/dev/null 2>&1; then
    install "python3 cannot make virtual environments" python3-venv
    python3 -m venv --clear .venv ||
      fail "python3 ($(command -v python3)) cannot make a virtual environment even so." "Please install its venv module, or put another python3 first on the PATH."
  fi
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input -r "$pins" ||
    fail "pip could not install what $pins pins (see above)."
  cp "$pins" "$stamp"
}

need_prometheus() {
  { have prometheus && have promtool; } || unpack "alert rules and dashboards are tested with the real Prometheus" prometheus
}

# install_missing WHY PROGRAM=PACKAGE…: installs the packages of those programs that are missing.
install_missing() {
  local why=$1 missing=()
  shift
  for pair in "$@"; do have "${pair%=*}" || missing+=("${pair#*=}"); done
  [ ${#missing[@]} = 0 ] || install "$why" "${missing[@]}"
}

need_e2e() {
  install_missing "the end-to-end tests' clients and witnesses" wrk=wrk curl=curl zstd=zstd strace=strace chattr=e2fsprogs \
    mount=mount unshare=util-linux nghttp=nghttp2-client openssl=openssl
}

need_bench() {
  install_missing "the benchmarks' anchors" wrk=wrk zstd=zstd sha256sum=coreutils taskset=util-linux
  have nginx || unpack "the benchmarks' upstream" nginx
}

need_cargo-deny() {
  have cargo-deny && return
  say "cargo-deny is missing, and Debian has none: cargo install --locked cargo-deny (some minutes, once a machine)"
  cargo install --quiet --locked cargo-deny
}

remove() {
  # The store makes its files immutable where it may; a demo that was killed can have left some.
  if [ -d .demo ]; then
    chattr -R -i .demo 2>/dev/null || true
    rm -rf .demo
  fi
  rm -rf .venv target
  say "removed target, .venv and .demo"
}

[ $# -gt 0 ] || fail "usage: load-tests/setup.sh build|python|prometheus|e2e|bench|cargo-deny|remove …"
for need in "$@"; do
  case $need in
    build | python | prometheus | e2e | bench | cargo-deny) "need_$need" ;;
    remove) remove ;;
    *) fail "unknown need \`$need\`" ;;
  esac
done
