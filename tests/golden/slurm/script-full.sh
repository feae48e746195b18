#!/bin/bash
# nexapod-batch {version}, site c1, group ab12
#SBATCH --job-name=nexapod-ab12
#SBATCH --no-requeue
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

type module >/dev/null 2>&1 || . /etc/profile
module load gcc/12.2 || exit 1
module load openmpi || exit 1
export A='it'"'"'s # $(x)'
export NEXAPOD_GROUP=ab12
ulimit -c 0
echo "$HOSTNAME" \

exec /opt/py/bin/python -m nexapod_batch.runner '/shared/it'"'"'s here'
