#!/bin/sh
# What scripts/arm64.sh runs in the emulated system, as a user of a board would: detect the board,
# simulate, found a swarm, let two agents learn from each other, check their logs.
set -eu
cd "$HOME"
PATH=$HOME/gossamer/.venv/bin:$PATH

say() { echo "arm64: $*"; }
fail() { echo "arm64: $*" >&2; tail -n 20 work/*.log >&2 || true; exit 1; }
timed() {
    say "gossamer $*"
    begun=$(date +%s)
    gossamer "$@" || fail "gossamer $1 failed"
    say "... $(($(date +%s) - begun)) s"
}

agents=
# shellcheck disable=SC2064,SC2086  # the agents of the moment the trap runs
trap 'kill $agents 2>/dev/null || true' EXIT
rm -rf work && mkdir work

say "$(uname -m), $(python3 --version)"
timed version
timed profile detect
timed simulate --peers 5 --rounds 3

gossamer_data() {
    python - <<'END'
import numpy as np
from importlib.resources import files
digits = np.load(files("gossamer_simulator") / "data/digits.npz")
x, y = digits["x"] / 16, digits["y"]
np.savez("work/sensors.npz", x=x[:700], y=y[:700])
np.savez("work/other.npz", x=x[700:1400], y=y[700:1400])
np.savez("work/test.npz", x=x[1400:], y=y[1400:])
END
}
gossamer_data

here=/ip4/127.0.0.1/tcp/0
timed init work/garden --swarm greenhouse --data work/sensors.npz --test work/test.npz --quorum 2 \
    --listen $here
gossamer -C work/garden run --log-level info 2> work/garden.log &
agents="$agents $!"
garden=$!
for _ in $(seq 120); do
    grep -q learning work/garden.log && break
    kill -0 $garden || fail "the founder ended"
    sleep 2
done
invite=$(gossamer -C work/garden invite --uses 1 | grep -o 'gossamer1[a-z2-7]*' | head -n 1)
timed join "$invite" work/shed --data work/other.npz --test work/test.npz --listen $here
gossamer -C work/shed run --log-level info 2> work/shed.log &
agents="$agents $!"
shed=$!

for _ in $(seq 300); do
    grep -q 'merged 2' work/garden.log && grep -q 'merged 2' work/shed.log && break
    kill -0 $garden && kill -0 $shed || fail "an agent ended"
    sleep 2
done
grep -q 'merged 2' work/garden.log && grep -q 'merged 2' work/shed.log || fail "they never merged"
say "both agents merged what the other learnt:"
tail -n 2 work/garden.log work/shed.log
gossamer -C work/garden metrics | grep -E '^gossamer_(merges_total|test_accuracy|resident)'

kill $garden $shed
wait $garden || fail "the founder ended with $?"
wait $shed || fail "the joiner ended with $?"
agents=
timed log verify work/garden
timed log verify work/shed
say "all of it works on $(uname -m)"
