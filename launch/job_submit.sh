#!/usr/bin/env bash
# Runs a study as a Ray job on a cluster that exists: the driver lives on the head and survives your terminal.
#   launch/job_submit.sh STUDY.toml STUDY_URI [--set path=value ...]
# Environment:
#   RAY_ADDRESS        the cluster's dashboard, such as http://head:8265 (required)
#   RAY_AUTH_TOKEN     or RAY_AUTH_TOKEN_PATH: the cluster's token, where it asks for one
#   JOB_ID             name of the job, each used once; the same study under a new one is resumed
# STUDY_URI must be seen by every node: a shared folder or s3://bucket/path. So must scenes.root.
set -euo pipefail

if [[ $# -lt 2 ]]; then
    sed -n '2,9p' "$0" | sed 's/^# \{0,1\}//' >&2
    exit 2
fi
: "${RAY_ADDRESS:?must name the dashboard of the cluster, such as http://head:8265}"
study_file="$1" study_uri="$2"
shift 2
if [[ "$study_uri" != /* && "$study_uri" != *://* ]]; then
    echo "job_submit.sh: STUDY_URI must be absolute or a URI, found $study_uri: the job runs in another folder" >&2
    exit 2
fi

repository="$(cd "$(dirname "$0")/.." && pwd)"
# Only what the driver needs travels: the package and the study file; scenes and study are reached by path or URI.
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cp -r "$repository/intra_search" "$repository/pyproject.toml" "$folder/"
cp "$study_file" "$folder/study.toml"

name=()
[[ -n "${JOB_ID:-}" ]] && name=(--submission-id "$JOB_ID")
[[ -n "${RAY_AUTH_TOKEN:-}${RAY_AUTH_TOKEN_PATH:-}" ]] && export RAY_AUTH_MODE=token
ray job submit --address "$RAY_ADDRESS" --no-wait "${name[@]}" --working-dir "$folder" \
    --runtime-env-json '{"env_vars": {"OMP_WAIT_POLICY": "PASSIVE"}}' \
    -- python -m intra_search.cli run study.toml --study "$study_uri" --address auto "$@"
