#!/bin/sh
# Makes what compose.yaml needs and nobody else may know, in the folder site/ beside it: an authority, certificates,
# passwords, a token, folders for state. Give the names and addresses by which sensors and readers elsewhere call this
# machine, the one that sensors shall use first. Whatever is there already is kept. After every change that
# ../fleet/fleet.sh makes in site/, run this again, and `docker compose restart mosquitto`.
#
#   deploy/container/secrets.sh [NAME...]
#
# All of it belongs to the user who runs this, or to user 10001 if that is root, and so do the containers' processes.
set -eu
umask 077
cd "$(dirname "$0")"

random() {
    [ -s "site/secrets/$1" ] || openssl rand -hex 32 >"site/secrets/$1"
}

../fleet/fleet.sh init site "$@" mosquitto localhost 127.0.0.1
../fleet/fleet.sh password site home
mkdir -p site/secrets site/state/monitor site/state/mosquitto site/state/prometheus site/state/grafana/dashboards
random http-token
random grafana-password

owner=$(id -u):$(id -g)
if [ "$(id -u)" -eq 0 ]; then
    owner=10001:10001
    chown -R "$owner" site
fi
printf 'SSONDO_USER=%s\n' "$owner" >.env
echo "Made in $(pwd)/site. Start: docker compose -f $(pwd)/compose.yaml up -d --build"
echo "Grafana: http://127.0.0.1:3000, user admin, password in site/secrets/grafana-password"
