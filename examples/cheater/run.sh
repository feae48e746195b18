#!/bin/sh
# Sets up three local nodes, each with its own key and owner, and submits the job to them.
# It uses a home of its own, so that nothing of yours changes; NEXAPOD_BATCH names another nexapod-batch to run.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
checkout=$here/../../bin/nexapod-batch
if [ -z "${NEXAPOD_BATCH:-}" ]; then
    if [ -x "$checkout" ]; then NEXAPOD_BATCH=$checkout; else NEXAPOD_BATCH=nexapod-batch; fi
fi
if [ -z "${NEXAPOD_HOME:-}" ]; then
    NEXAPOD_HOME=$(mktemp -d "${TMPDIR:-/tmp}/nexapod-cheater.XXXXXX")
    echo "home of this trial: $NEXAPOD_HOME (remove it when you are done)" >&2
fi
export NEXAPOD_HOME

for name in alice bob mallory; do
    "$NEXAPOD_BATCH" node init --name "$name" --owner "$name"
done
"$NEXAPOD_BATCH" submit "$here/job.toml" --wait
"$NEXAPOD_BATCH" show last
"$NEXAPOD_BATCH" explain last
