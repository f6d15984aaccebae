#!/bin/sh
# Sends what GitHub and Stripe would: a signed webhook each, the first one twice, and a forgery.
# usage: sh send.sh [http://127.0.0.1:8080]
set -eu
gateway=${1:-http://127.0.0.1:8080}
here=$(cd "$(dirname "$0")" && pwd)

hmac() { # the hex HMAC-SHA256 of standard input under the secret in file $1
    openssl dgst -sha256 -hmac "$(cat "$1")" | sed 's/^.* //'
}

github() { # $1 body, $2 signature
    curl -sS -w ' %{http_code}\n' "$gateway/hooks/github" -H 'content-type: application/json' \
        -H 'x-github-event: push' -H 'x-github-delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958' \
        -H "x-hub-signature-256: sha256=$2" --data-binary "$1"
}

body="{\"ref\":\"refs/heads/main\",\"sent\":$(date +%s)}"
signature=$(printf '%s' "$body" | hmac "$here/secrets/github")
printf 'github:        '; github "$body" "$signature"
printf 'github again:  '; github "$body" "$signature"
printf 'github forged: '; github "$body " "$signature"

now=$(date +%s)
body="{\"id\":\"evt_$now\",\"type\":\"payment_intent.succeeded\"}"
signature=$(printf '%s.%s' "$now" "$body" | hmac "$here/secrets/stripe")
printf 'stripe:        '
curl -sS -w ' %{http_code}\n' "$gateway/hooks/stripe" -H 'content-type: application/json' \
    -H "stripe-signature: t=$now,v1=$signature" --data-binary "$body"
