#!/usr/bin/env bash
# Slurm on this machine alone: one controller and one node on loopback, to try launcher=slurm and to test it.
#
#   scripts/local_slurm.sh start DIR     start it; its settings, logs, pid files and state are in DIR
#   export SLURM_CONF=DIR/slurm.conf     what sbatch, squeue and the others need to find it
#   scripts/local_slurm.sh stop DIR      end it, with its jobs; DIR is left
#
# Debian's packages slurm-wlm and munge have the programs. LOCAL_SLURM_CPUS sets the number of processors of the node
# (default: those of the machine). No accounting, no control of memory: a job may use more than it asked for.
set -euo pipefail

usage() { sed -n '4,6s/^# *//p' "$0" >&2; exit 2; }
[[ $# == 2 ]] || usage
export PATH="$PATH:/usr/sbin:/sbin"
daemons=(slurmd slurmctld munged)  # in the order of their end

start() {
    for program in "${daemons[@]}" sbatch scontrol; do
        command -v "$program" > /dev/null || { echo "there is no $program: apt-get install slurm-wlm munge" >&2; exit 77; }
    done
    mkdir -p "$1/state" "$1/spool"
    chmod 755 "$1"
    cd "$1"
    local dir="$PWD" host user ports
    for name in "${daemons[@]}"; do
        ! running "$dir/$name.pid" || { echo "$name runs already: pid $(cat "$dir/$name.pid")" >&2; exit 1; }
    done
    host="$(hostname -s)" user="$(id -un)"
    (( ${#dir} < 90 )) || { echo "$dir: too long for a socket's path; take a shorter one" >&2; exit 2; }
    # The controller's and the node's: free now, and from a range that the system gives to no other process.
    read -r -a ports <<< "$(free_ports)"
    cat > slurm.conf <<CONF
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmdPort=${ports[1]}
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,batch_sched_delay=0
KillWait=10
MinJobAge=300
NodeName=localhost NodeHostname=$host NodeAddr=127.0.0.1 CPUs=${LOCAL_SLURM_CPUS:-$(nproc)} State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP PreemptMode=REQUEUE
CONF
    [[ -e munge.key ]] || (umask 077 && head -c 128 /dev/urandom > munge.key)
    munged --force --socket="$dir/munge.socket" --key-file="$dir/munge.key" --pid-file="$dir/munged.pid" \
        --log-file="$dir/munged.log" --seed-file="$dir/munge.seed" --num-threads=1
    export SLURM_CONF="$dir/slurm.conf"
    slurmctld -c > /dev/null
    slurmd -N localhost > /dev/null
    for ((tries = 0; tries < 150; tries++)); do
        if [[ "$(sinfo --noheader --format=%T 2> /dev/null)" == idle ]]; then
            echo "export SLURM_CONF=$dir/slurm.conf"
            return
        fi
        sleep 0.1
    done
    echo "the node did not come up within 15 seconds: see $dir/slurmctld.log and $dir/slurmd.log" >&2
    stop "$dir"
    exit 1
}

free_ports() { # two ports below the range that connections get
    python3 -c '
import random, socket
found = []
while len(found) < 2:
    port = random.randint(20000, 32000)
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            continue
    if port not in found:
        found.append(port)
print(*found)'
}

running() { # pid file
    [[ -s "$1" ]] && kill -0 "$(cat "$1")" 2> /dev/null
}

stop() {
    export SLURM_CONF="$1/slurm.conf"
    if running "$1/slurmctld.pid"; then
        timeout 10 scancel --full --signal=KILL --user="$(id -un)" 2> /dev/null || true
        timeout 10 scancel --user="$(id -un)" 2> /dev/null || true
        for ((tries = 0; tries < 50; tries++)); do
            [[ -n "$(timeout 5 squeue --noheader 2> /dev/null)" ]] || break
            sleep 0.1
        done
    fi
    local name pid
    for name in "${daemons[@]}"; do
        running "$1/$name.pid" || continue
        pid="$(cat "$1/$name.pid")"
        kill "$pid"
        for ((tries = 0; tries < 100; tries++)); do
            kill -0 "$pid" 2> /dev/null || break
            sleep 0.1
        done
        ! kill -0 "$pid" 2> /dev/null || kill -9 "$pid"
        rm -f "$1/$name.pid"
    done
}

case "$1" in
    start) start "$2" ;;
    stop) stop "$(cd "$2" && pwd)" ;;
    *) usage ;;
esac
