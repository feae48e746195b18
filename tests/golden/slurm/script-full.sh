#!/bin/bash
# nexapod-batch {version}, site c1, group ab12
#SBATCH --job-name=nexapod-ab12
#SBATCH --no-requeue
#SBATCH --chdir=/
#SBATCH --array=0-9
#SBATCH --output=/shared/logs/ab12-%A_%a.log
#SBATCH --error=/shared/logs/ab12-%A_%a.log
#SBATCH --partition=short,long
#SBATCH --account=bio
#SBATCH --qos=normal
#SBATCH --constraint=fast&ib
#SBATCH --reservation=spring
#SBATCH --exclude=n1,n[3-4],bad[1-2]
#SBATCH --ntasks=4
#SBATCH --cpus-per-task=2
#SBATCH --mem-per-cpu=501M
#SBATCH --gres=gpu:a100:2
#SBATCH --time=1-01:01:01
#SBATCH --signal=B:USR2@60
#SBATCH --exclusive
#SBATCH --nice=5

# The module system of the site, where this shell does not have it yet; what PATH says goes before what it adds.
nexapod_path=$PATH
type module >/dev/null 2>&1 || . /etc/profile
for nexapod_init in "${MODULESHOME:-/}/init/bash" "${LMOD_PKG:-/}/init/bash" /usr/share/lmod/lmod/init/bash /usr/share/modules/init/bash; do
  type module >/dev/null 2>&1 || { [ -r "$nexapod_init" ] && . "$nexapod_init"; }
done
PATH=$nexapod_path:$PATH
# What is loaded counts: Environment Modules 3 says ERROR, and returns success all the same.
nexapod_load() {
  local before=${LOADEDMODULES-}
  if module load "$1"; then
    case ":${LOADEDMODULES-}:" in *":$1:"* | *":$1/"*) return ;; esac
    if [ "${LOADEDMODULES-}" != "$before" ]; then # under another name, or only what it needs: it says so once more
      case $(module load "$1" 2>&1) in *ERROR* | *rror:* | *nable\ to\ locate*) ;; *) return ;; esac
    elif (module purge; before=${LOADEDMODULES-}; module load "$1" && [ "${LOADEDMODULES-}" != "$before" ]) >/dev/null 2>&1; then
      return # under another name, and before
    fi
  fi
  printf 'nexapod-batch: site c1: module %s is not loaded after: module load %s; %s\n' "$1" "$1" \
    'correct modules in [environment] of its site file (module avail lists what there is)' >&2
  exit 1
}
nexapod_load gcc/12.2
nexapod_load openmpi
export A='it'"'"'s # $(x)'
export NEXAPOD_GROUP=ab12
ulimit -c 0
echo "$HOSTNAME" \

exec /opt/py/bin/python -m nexapod_batch.runner '/shared/it'"'"'s here'
