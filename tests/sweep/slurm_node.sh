#!/usr/bin/env bash
# A Slurm of one node, this machine, from Debian's packages (apt-get install slurm-wlm), under one folder:
#   slurm_node.sh start DIR   prints the configuration to export as SLURM_CONF
#   slurm_node.sh stop DIR
# Neither munge nor accounting nor a service: whoever starts it owns it, and nobody else can submit.
set -euo pipefail
action=$1 folder=$(realpath -m "$2")
if [ "$action" = stop ]; then
  for daemon in slurmd slurmctld; do
    if [ -f "$folder/$daemon.pid" ]; then kill "$(cat "$folder/$daemon.pid")" || true; fi
  done
  exit
fi
mkdir -p "$folder"/{state,spool}
host=$(hostname -s)
first=$((20000 + RANDOM % 20000))
cat >"$folder/slurm.conf" <<CONFIGURATION
ClusterName=onenode
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
SlurmctldPort=$first
SlurmdPort=$((first + 1))
AuthType=auth/none
AuthInfo=cred_expire=2
CredType=cred/none
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobRequeue=1
ReturnToService=2
KillWait=30
MinJobAge=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(getconf _NPROCESSORS_ONLN) RealMemory=2000 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONFIGURATION
export SLURM_CONF=$folder/slurm.conf
for daemon in slurmctld slurmd; do
  setsid "$daemon" -D >"$folder/$daemon.log" 2>&1 </dev/null &
done
for _ in $(seq 120); do
  if sinfo --noheader --format %t 2>/dev/null | grep -q idle; then
    echo "$SLURM_CONF"
    exit
  fi
  sleep 0.5
done
tail "$folder"/*.log >&2
exit 1
