#!/bin/sh
# A worker of redis-cli and a shell: worker_redis.sh QUEUE [redis-cli arguments]
# The queue needs `redisWorkers: { enabled: true }`. One message at a time; its payload must be one line.
set -eu
queue=$1
shift
stream="sluicemq:work:$queue"
me="$(hostname)-$$"
while :; do
  entry=$(redis-cli --raw "$@" XREADGROUP GROUP workers "$me" COUNT 1 BLOCK 5000 STREAMS "$stream" '>') || { sleep 1; continue; }
  case $entry in "$stream"*) ;; *) [ -z "$entry" ] || sleep 1; continue ;; esac
  id=$(printf '%s\n' "$entry" | sed -n 2p)
  topic=$(printf '%s\n' "$entry" | sed -n '/^topic$/{n;p;q;}')
  payload=$(printf '%s\n' "$entry" | sed -n '/^payload$/{n;p;q;}')
  if printf '%s %s\n' "$topic" "$payload"; then
    redis-cli "$@" XACK "$stream" workers "$id" >/dev/null
  else
    redis-cli "$@" XADD "sluicemq:answers:$queue" '*' id "$id" answer nack >/dev/null
  fi
done
