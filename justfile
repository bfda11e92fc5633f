# Recipes for people who work on ftpish. `just` alone lists them.

_default:
    @just --list

# What must pass before a change lands; CI runs the same.
ci:
    .ci/run

# The quick loop: formatting, lints, tests.
check:
    cargo fmt --all -- --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace

# See it work.
demo:
    cargo run --release -- demo

# Measure get and put of one file beside scp and the rsync daemon; SIZE is in MiB.
bench SIZE="1024" RUNS="5":
    cargo build --release
    scripts/bench {{SIZE}} {{RUNS}}

# A real tree there and back again, with and without TLS, with each digest.
roundtrip DIR="/usr/share":
    cargo build --release
    scripts/roundtrip {{DIR}}

# Cuts and kills at random, for minutes; docs/RELIABILITY.md has the figures of one run.
torture SEED="20261121" CUTS="2000" KILLS="500":
    TMPDIR="${TMPDIR:-/dev/shm}" cargo test --release -p ftpish --test torture -- run {{SEED}} {{CUTS}} {{KILLS}}

# Known vulnerabilities, licences, duplicates and sources of what is built in; needs cargo-deny.
deny:
    cargo deny check advisories licenses bans sources

# Fuzz each target, or those named, for SECONDS each; needs a nightly compiler and cargo-fuzz.
fuzz SECONDS="120" *TARGETS:
    SECONDS_EACH={{SECONDS}} scripts/fuzz {{TARGETS}}
