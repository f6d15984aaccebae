#!/bin/sh
# Asks with and without a tenant, for the canary by name, and for a hundred tenants.
# usage: sh send.sh [http://127.0.0.1:8080] [http://127.0.0.1:9090]
set -eu
gateway=${1:-http://127.0.0.1:8080}
admin=${2:-http://127.0.0.1:9090}

get() { # $1 what for, then arguments of curl
    what=$1
    shift
    printf '%-12s' "$what"
    curl -sS -w ' %{http_code}\n' "$@"
}

get 'no tenant:' "$gateway/orders"
get 'tenant:' "$gateway/orders" -H 'x-tenant: acme' -H 'x-user: ada' -H 'x-internal-role: admin'
get 'by query:' "$gateway/orders?tenant=acme"
get 'canary:' "$gateway/orders" -H 'x-tenant: acme' -H 'x-canary: always'

for tenant in $(seq 100); do
    curl -sS -o /dev/null "$gateway/orders" -H "x-tenant: t$tenant"
done
curl -sS "$admin/metrics" | grep '^gateway_protocol_requests_total.*outcome="success",product="app.*protocol="http"'
