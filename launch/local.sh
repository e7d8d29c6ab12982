#!/usr/bin/env bash
# A Ray head and workers on this machine, for studies that outlive one command, or several studies side by side.
#   launch/local.sh [EXTRA_WORKERS]     starts a head (and EXTRA_WORKERS more Ray nodes), prints how to use it
#   launch/local.sh --stop              ends what this script started, and nothing else
# Environment: RAY_TMPDIR (Ray's files), RAY_PORT (6379), RAY_CLIENT_PORT (10001), RAY_DASHBOARD_PORT (8265),
# RAY_AGENT_PORT (52365, where the head takes jobs), CPUS_PER_NODE and GPUS_PER_NODE (Ray's own count).
set -euo pipefail

port="${RAY_PORT:-6379}" client="${RAY_CLIENT_PORT:-10001}"
dashboard="${RAY_DASHBOARD_PORT:-8265}" agent="${RAY_AGENT_PORT:-52365}"
folder="${RAY_TMPDIR:-/tmp/ray-$(id -u)}"
[[ "$folder" == /* ]] || folder="$PWD/$folder"
pids="$folder/intra-search-nodes.pids"
export RAY_TMPDIR="$folder" OMP_WAIT_POLICY=PASSIVE

if [[ "${1:-}" == "--stop" ]]; then
    [[ -f "$pids" ]] || { echo "local.sh: nothing to stop, no $pids" >&2; exit 2; }
    while read -r pid; do kill "$pid" 2>/dev/null || true; done < "$pids"
    rm -f "$pids"
    exit 0
fi
if [[ -f "$pids" ]]; then
    echo "local.sh: a cluster is already running ($pids); stop it with launch/local.sh --stop" >&2
    exit 2
fi

# Ray says so only a minute after it said that it had started, in its logs.
for name in RAY_PORT=$port RAY_CLIENT_PORT=$client RAY_DASHBOARD_PORT=$dashboard RAY_AGENT_PORT=$agent; do
    if (exec 3<> "/dev/tcp/127.0.0.1/${name#*=}") 2> /dev/null; then
        echo "local.sh: $name: must be a free port, found another process on it; set another" >&2
        exit 2
    fi
done

mkdir -p "$folder"
cd "$folder"  # Ray's servers import modules from the folder that they start in: not from the user's, whatever it holds
size=()
[[ -n "${CPUS_PER_NODE:-}" ]] && size+=(--num-cpus "$CPUS_PER_NODE")
[[ -n "${GPUS_PER_NODE:-}" ]] && size+=(--num-gpus "$GPUS_PER_NODE")

# --block keeps each node in the foreground of its own process, so that its process id ends it.
nohup ray start --head --port "$port" --ray-client-server-port "$client" \
    --dashboard-port "$dashboard" --dashboard-agent-listen-port "$agent" \
    --block "${size[@]}" > "$folder/head.log" 2>&1 &
echo $! > "$pids"
for _ in $(seq 60); do
    # The dashboard, which takes jobs, is there a little later than the head.
    ray status --address "127.0.0.1:$port" > /dev/null 2>&1 && (exec 3<> "/dev/tcp/127.0.0.1/$dashboard") 2> /dev/null && break
    sleep 1
done
if ! ray status --address "127.0.0.1:$port" > /dev/null; then
    kill "$(cat "$pids")" 2>/dev/null || true
    rm -f "$pids"
    echo "local.sh: the head did not start; see $folder/head.log" >&2
    exit 1
fi
for ((node = 1; node <= ${1:-0}; node++)); do
    # An agent's port is one machine's: the other nodes on this one take any that is free.
    nohup ray start --address "127.0.0.1:$port" --dashboard-agent-listen-port 0 --block "${size[@]}" > "$folder/node-$node.log" 2>&1 &
    echo $! >> "$pids"
done
echo "intra-search run STUDY.toml --study DIR --address 127.0.0.1:$port"
echo "RAY_ADDRESS=http://127.0.0.1:$dashboard launch/job_submit.sh STUDY.toml STUDY_URI"
echo "launch/local.sh --stop"
