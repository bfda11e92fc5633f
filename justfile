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

# Draw docs/session.svg: a real session in a real terminal. Needs tmux.
picture:
    cargo build --release
    scripts/session docs/session.svg

# Measure beside rsync, OpenSSH, nginx, vsftpd, lftp, tar, nc and socat: `just bench --runs 1 --scale 0.01` for a quick try,
# `just bench put` for some rows, `just bench --chart docs/benchmarks.svg` for all of them and the chart.
[positional-arguments]
bench *ARGS:
    cargo build --release -p ftpish -p ftpish-bench
    target/release/ftpish-bench "$@"

# Measure frames, bodies and digests in memory.
bench-parts *ARGS:
    cargo bench -p ftpish-bench {{ARGS}}

# A real tree there and back again, with and without TLS, with each digest.
roundtrip DIR="/usr/share":
    cargo build --release
    scripts/roundtrip {{DIR}}

# Real trees there and back again by put -r, get -r and sync.
trees *DIRS="/usr/share":
    cargo build --release
    scripts/trees {{DIRS}}

# Where the time goes: `just profile get small clear`. Needs perf and strace; draws flame graphs where inferno is installed.
[positional-arguments]
profile *ARGS:
    scripts/profile "$@"

# A million names, a hundred thousand files, 20 GiB in one: how long, and the memory of both ends over time.
scale PART="1":
    cargo build --release
    scripts/scale {{PART}}

# 500 clients, 4 at a time and all at once: how long, and the memory and threads of the server.
crowd *ARGS:
    cargo build --release
    scripts/crowd {{ARGS}}

# Cuts and kills at random, for minutes; docs/RELIABILITY.md has the figures of one run.
torture SEED="20261121" CUTS="2000" KILLS="500":
    TMPDIR="${TMPDIR:-/dev/shm}" cargo test --release -p ftpish --test torture -- run {{SEED}} {{CUTS}} {{KILLS}}

# Known vulnerabilities, licences, duplicates and sources of what is built in; needs cargo-deny.
deny:
    cargo deny check advisories licenses bans sources

# Fuzz each target, or those named, for SECONDS each; needs a nightly compiler and cargo-fuzz.
fuzz SECONDS="120" *TARGETS:
    SECONDS_EACH={{SECONDS}} scripts/fuzz {{TARGETS}}
