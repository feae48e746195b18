#!/bin/bash
# nexapod-batch {version}, site c1, group ab12
#SBATCH --job-name=nexapod-ab12
#SBATCH --comment=nexapod:ab12
#SBATCH --no-requeue
#SBATCH --chdir=/
#SBATCH --output=/shared/logs/ab12-%A_%a.log
#SBATCH --error=/shared/logs/ab12-%A_%a.log
#SBATCH --signal=B:USR2@60


exec /opt/py/bin/python -m x
