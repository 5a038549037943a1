#!/usr/bin/env bash
# Run before every commit: formatting, lints, documentation, packaging, tests. Needs stable Rust, a C and a C++ compiler, Python 3.11.
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '\n== %s\n' "$*"; "$@"; }

step cargo fmt --all --check
step cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --workspace --no-deps --all-features --locked
step cargo check -p rankstill-cli --locked # the default installation
step cargo check -p rankstill-cli --no-default-features --locked # without the server
step cargo check -p rankstill --no-default-features --locked # the library alone
step cargo test --workspace --all-features --locked
# The Python classes and the schema are those of the registries; the package itself is tested by scripts/python.sh.
# The program is there: the tests have built it.
registry() { "${CARGO_TARGET_DIR:-target}/debug/rankstill" list --json; }
step python3 scripts/python_classes.py --registry <(registry) --check
# No figure of a table is typed: each is what its run gave.
step python3 scripts/results.py check
# Every crate as it would be published.
step cargo package --workspace --locked --allow-dirty --no-verify
