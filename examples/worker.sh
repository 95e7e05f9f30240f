#!/bin/sh
# A SluiceMQ worker in plain shell: curl and sed, no jq.
#
#     sh examples/worker.sh [http://127.0.0.1:8080] [telemetry]
#
# It takes one message at a time, hands its payload to `work` on stdin, and says whether that went well. A message whose
# worker dies returns to the queue when its lease runs out. Ctrl-C stops it.
set -eu

address=${1:-http://127.0.0.1:8080}
queue=$address/api/v1/queues/${2:-telemetry}

# Your work goes here. Exit code 0: done; anything else: try again later. The same message may come twice; $id is the same.
work() {
  printf '%s from %s: %s\n' "$topic" "$client" "$(cat)"
}

post() {
  curl -sS --fail-with-body -X POST "$queue/$1" -H 'content-type: application/json' -d "$2"
}

# The value of a key of the envelope. Quotes inside of payloads are escaped, so the first match is the key itself.
field() {
  printf '%s' "$message" | sed -n "s/.*[{,]\"$1\":\"\(\([^\"\\\\]\|\\\\.\)*\)\".*/\1/p"
}

while :; do
  if ! message=$(post pull '{"max":1,"waitMs":10000,"leaseMs":30000}'); then
    sleep 2
    continue
  fi
  receipt=$(field receipt)
  [ -n "$receipt" ] || continue
  id=$(field id) topic=$(field topic) client=$(field clientId)
  export id topic client
  # Undoes the escapes of JSON that payloads of devices have; text with others is better worked in another language.
  payload=$(field payload | sed 's/\\"/"/g; s/\\\\/\\/g')
  if printf '%s' "$payload" | work; then
    post ack "{\"receipts\":[\"$receipt\"]}" >/dev/null || echo "the acknowledgement of $id failed; it may come again" >&2
  else
    post nack "{\"entries\":[{\"receipt\":\"$receipt\",\"reason\":\"exit code of work\"}]}" >/dev/null || true
  fi
done
