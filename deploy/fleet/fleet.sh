#!/bin/sh
# Certificates and passwords of a fleet: one folder with an authority of your own, what the broker needs, and a folder
# for each sensor. Keep that folder: whoever has its authority's key can make sensors.
#
#   fleet.sh init FOLDER BROKER...     the authority, and a broker known by these names or addresses
#   fleet.sh enrol FOLDER NAME...      a folder sensors/NAME for each sensor, to be copied to /etc/ssondo-monitor
#   fleet.sh announce FOLDER NAME SOURCE...  let a sensor announce these sources to Home Assistant
#   fleet.sh password FOLDER NAME...   a password instead of a certificate, in passwords/NAME
#   fleet.sh revoke FOLDER NAME...     its certificate and its password are worth nothing any more
#
# Whatever is there already is kept. Tell a running broker of changes: kill -HUP; of a revoked certificate: restart it.
set -eu
umask 077
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
days=3650

die() { printf 'fleet.sh: %s\n' "$*" >&2; exit "${status:-1}"; }

usage() { status=2 die "expected: init FOLDER BROKER..., enrol|password|revoke FOLDER NAME..., announce FOLDER NAME SOURCE..."; }

needs() {
    command -v "$1" >/dev/null || die "needs the program $1: apt-get install $2"
}

# what [node] name may be
checked() {
    for name in "$@"; do
        case $name in
            '' | *[!A-Za-z0-9_.-]* | [!A-Za-z0-9]*) ;;
            *) [ ${#name} -gt 64 ] || continue ;;
        esac
        die "'$name' is no name: expected up to 64 letters, digits, '_', '.' and '-', the first a letter or digit"
    done
}

# certificate NAME STEM EXTENSIONS: a new key, signed by the authority; the certificate comes last and makes it whole
certificate() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" \
        -keyout "$2.key" -out "$2.csr" 2>/dev/null
    printf '%s\nkeyUsage=critical,digitalSignature\nauthorityKeyIdentifier=keyid\n' "$3" >"$2.ext"
    openssl x509 -req -in "$2.csr" -days "$days" -CA authority/ca.crt -CAkey authority/ca.key -CAcreateserial \
        -CAserial authority/ca.srl -extfile "$2.ext" -out "$2.new" 2>/dev/null
    rm -f "$2.csr" "$2.ext"
    mv "$2.new" "$2.crt"
}

authority() {
    mkdir -p authority broker sensors passwords
    if [ ! -s authority/ca.crt ]; then
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days "$days" \
            -subj "/CN=ssondo fleet $(openssl rand -hex 4)" -addext keyUsage=critical,keyCertSign,cRLSign \
            -keyout authority/ca.key -out authority/ca.new 2>/dev/null
        mv authority/ca.new authority/ca.crt
    fi
    cp authority/ca.crt broker/ca.crt
    : >>authority/index.txt
    [ -s broker/revoked.pem ] || revoked
}

# openssl's list of what was revoked, as a file that the broker reads
revoked() {
    registry | openssl ca -config /dev/stdin -gencrl -out broker/revoked.pem 2>/dev/null
}

registry() {
    printf '[ca]\ndefault_ca = fleet\n[fleet]\ndatabase = authority/index.txt\ncertificate = authority/ca.crt\n'
    printf 'private_key = authority/ca.key\ndefault_md = sha256\ndefault_crl_days = %s\n' "$days"
}

alternatives() {
    for name in "$@"; do
        case $name in *[!0-9.]*) printf 'DNS:%s,' "$name" ;; *) printf 'IP:%s,' "$name" ;; esac
    done | sed 's/,$//'
}

# the broker's certificate, which may be older than this call, is for these names too
serves() {
    for name in "$@"; do
        case $name in *[!0-9.]*) check=-checkhost ;; *) check=-checkip ;; esac
        ! openssl x509 -noout "$check" "$name" -in broker/server.crt | grep -q 'does NOT match' ||
            die "$folder/broker/server.crt is not for $name: remove it to have another made, and restart the broker"
    done
}

init() {
    checked "$@"
    authority
    if [ ! -s broker/server.crt ]; then
        certificate "$1" broker/server "subjectAltName=$(alternatives "$@")
extendedKeyUsage=serverAuth"
    fi
    serves "$@"
    [ -s broker/name ] || printf '%s\n' "$1" >broker/name
    [ -s broker/acl ] || cp "$here/../mosquitto/acl" broker/acl
    [ -e broker/passwords ] || : >broker/passwords
    password reader
}

enrol() {
    checked "$@"
    for name in "$@"; do
        [ "$name" != reader ] || die "'reader' is who reads everything at the broker: expected another name"
        [ -e "sensors/$name" ] && continue
        new=sensors/.new
        rm -rf "$new"
        mkdir -p "$new/secrets"
        certificate "$name" "$new/sensor" "extendedKeyUsage=clientAuth"
        mv "$new/sensor.key" "$new/secrets"
        cp authority/ca.crt "$here/monitor.toml" "$new"
        {
            printf 'SSONDO_NODE__NAME=%s\nSSONDO_MQTT__HOST=%s\n' "$name" "$(cat broker/name)"
            printf 'SSONDO_MQTT__KEY_FILE=/run/credentials/ssondo-monitor.service/secrets_sensor.key\n'
        } >"$new/environment"
        chmod 644 "$new/ca.crt" "$new/sensor.crt" "$new/monitor.toml" "$new/environment"
        mv "$new" "sensors/$name"
        printf '%s\n' "$folder/sensors/$name"
    done
}

announce() {
    checked "$@"
    sensor=$1
    shift
    grep -qx "user $sensor" broker/acl || printf '\nuser %s\ntopic read homeassistant/status\n' "$sensor" >>broker/acl
    for source in "$@"; do
        # Home Assistant takes no dots there
        line="topic write homeassistant/device/$(printf '%s' "${sensor}_$source" | tr . -)/config"
        grep -qx "$line" broker/acl || sed -i "/^user $(printf '%s' "$sensor" | sed 's/[.]/\\./g')\$/a $line" broker/acl
    done
}

password() {
    checked "$@"
    needs mosquitto_passwd mosquitto
    for name in "$@"; do
        [ -s "passwords/$name" ] && continue
        openssl rand -hex 24 >"passwords/$name.new"
        # from standard input, lest the process list shows it
        { cat "passwords/$name.new" "passwords/$name.new"; } | mosquitto_passwd broker/passwords "$name" >/dev/null
        mv "passwords/$name.new" "passwords/$name"
    done
}

revoke() {
    checked "$@"
    needs mosquitto_passwd mosquitto
    for name in "$@"; do
        [ -s "sensors/$name/sensor.crt" ] || [ -s "passwords/$name" ] || die "there is no '$name' in $(pwd)"
        if [ -s "sensors/$name/sensor.crt" ]; then
            registry | openssl ca -config /dev/stdin -revoke "sensors/$name/sensor.crt" 2>/dev/null
        fi
        if [ -s "passwords/$name" ]; then mosquitto_passwd -D broker/passwords "$name"; fi
        rm -rf "sensors/$name" "passwords/$name"
    done
    revoked
}

[ $# -ge 3 ] || usage
action=$1
folder=$2
shift 2
needs openssl openssl
case $action in
    init) mkdir -p "$folder" ;;
    enrol | announce | password | revoke)
        [ -s "$folder/authority/ca.key" ] || die "$folder holds no authority: run 'fleet.sh init $folder BROKER' first"
        ;;
    *) usage ;;
esac
cd "$folder"
"$action" "$@"
