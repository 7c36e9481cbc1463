# shellcheck shell=bash
# What the scripts share. Sourced, never run.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# rustup's cargo, wherever it was put, before a distribution's.
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

# The oldest rustc that compiles the workspace (rust-version in Cargo.toml).
least_rust=1.95

# Debian's toolchain with the standard library's sources, for machines where rustup can fetch no target.
debian_toolchain=(rustc-web cargo-web libstd-rust-web-dev rust-web-src rust-web-llvm wasi-libc)

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# is_recent PROGRAM: whether its `--version` is at least $least_rust.
is_recent() {
  local version
  version=$("$1" --version 2>/dev/null | sed -n 's/^[a-z]* \([0-9.]*\).*/\1/p') || return 1
  [ -n "$version" ] && printf '%s\n%s\n' "$least_rust" "$version" | sort -V -C
}

has_debian_packages() {
  has dpkg-query && [ "$(dpkg-query -W -f '${db:Status-Abbrev}\n' "$@" 2>/dev/null | grep -c '^ii')" -eq $# ]
}

# Where that toolchain's linker lies: rust-lld names its LLVM release, whose package is only suggested.
debian_lld() {
  local lld
  lld=$(readlink /usr/bin/rust-lld) && basename "$lld"
}

has_debian_toolchain() {
  has_debian_packages "${debian_toolchain[@]}" && has_debian_packages "$(debian_lld)"
}

# Which toolchain builds the guests: rustup, debian or none. TOKENGATE_GUEST_TOOLCHAIN overrides the choice.
guest_toolchain() {
  if [ -n "${TOKENGATE_GUEST_TOOLCHAIN:-}" ]; then
    echo "$TOKENGATE_GUEST_TOOLCHAIN"
  elif has rustup && rustup target list --installed 2>/dev/null | grep -qx wasm32-wasip2; then
    echo rustup
  elif has_debian_toolchain; then
    echo debian
  else
    echo none
  fi
}

# guest_cargo COMMAND ARGUMENT…: cargo for the guests, with the chosen toolchain.
guest_cargo() {
  local command=$1
  shift
  case $(guest_toolchain) in
    rustup)
      cargo "$command" --target wasm32-wasip2 "$@"
      ;;
    debian)
      # This toolchain ships the standard library as sources only; its wasi-libc lies where rustc does not look.
      PATH="$(dirname "$(readlink -f /usr/bin/rust-lld)"):/usr/bin:$PATH" RUSTC_BOOTSTRAP=1 \
        cargo "$command" --target wasm32-wasip2 -Zbuild-std=std,panic_abort \
        --config 'target.wasm32-wasip2.rustflags=["-L","/usr/lib/wasm32-wasi"]' "$@"
      ;;
    *)
      die "no toolchain here compiles for wasm32-wasip2: run scripts/setup"
      ;;
  esac
}
