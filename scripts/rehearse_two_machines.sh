#!/usr/bin/env bash
# Rehearses a training on two machines: two network namespaces, each with a rank, joined by a virtual cable, and torchrun
# across them. What one machine could not show: that nothing assumes loopback, and that only rank 0's machine needs the
# command's files before the ranks have met.
#
#   scripts/rehearse_two_machines.sh [WORD ...]     further words for run.py, e.g. strategy=fsdp
#
# Needs root and `ip` (iproute2); without them it says so and exits with 77, which test runners read as "skipped".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

skip() { echo "skipped: $*"; exit 77; }
[[ $(id -u) == 0 ]] || skip "network namespaces need root"
command -v ip > /dev/null || skip "there is no ip command (iproute2)"

python="${PYTHON:-python}"
work="$(mktemp -d)"
id="lab$$"
clean() {
    ip netns del "$id-a" 2> /dev/null || true
    ip netns del "$id-b" 2> /dev/null || true
    rm -rf "$work"
}
trap clean EXIT
ip netns add "$id-a" 2> /dev/null || skip "network namespaces cannot be made here"
ip netns add "$id-b"
ip link add "${id}a" type veth peer name "${id}b" || skip "virtual network cables cannot be made here"
ip link set "${id}a" netns "$id-a"
ip link set "${id}b" netns "$id-b"
for side in a b; do
    [[ $side == a ]] && address=10.77.0.1 || address=10.77.0.2
    ip -n "$id-$side" addr add "$address/24" dev "$id$side"
    ip -n "$id-$side" link set "$id$side" up
    ip -n "$id-$side" link set lo up
done

words=(trainer=cpu logger=csv strategy=ddp data.num_train=64 data.batch_size=8 data.num_val=9 data.num_test=9
    data.image_size=32 data.max_side=20 trainer.max_steps=6 trainer.val_every_n_steps=6 scheduler=constant
    trainer.log_every_n_steps=1 callbacks.pictures=0 "paths.runs_dir=$work/runs" "$@")
machine() { # side, rank of the machine, words of the command line
    local side=$1 node=$2
    shift 2
    GLOO_SOCKET_IFNAME="$id$side" OMP_NUM_THREADS=1 ip netns exec "$id-$side" \
        "$python" -m torch.distributed.run --nnodes=2 --nproc_per_node=1 --node_rank="$node" \
        --master_addr=10.77.0.1 --master_port=29511 run.py "$@"
}
echo "machine a: 10.77.0.1, machine b: 10.77.0.2"
machine b 1 > "$work/b.log" 2>&1 & # it is given no words: rank 0 hands the job over
other=$!
machine a 0 "${words[@]}" || { echo "machine a failed; machine b said:"; cat "$work/b.log"; exit 1; }
wait "$other" || { cat "$work/b.log"; exit 1; }
sed 's/^/[machine b] /' "$work/b.log" | grep joins
"$python" - "$work/runs" <<'PYTHON'
import json, pathlib, sys

(run,) = pathlib.Path(sys.argv[1]).glob("*/run.json")
record = json.loads(run.read_text())
assert record["world_size"] == 2, record["world_size"]
assert record["state"] == "finished", record["state"]
print(f"two machines, world_size {record['world_size']}: finished, test/map {record['result']['test/map']:.4f}")
PYTHON
