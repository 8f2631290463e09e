#!/usr/bin/env bash
# A Docker Engine for the tests on a bare Debian: prints its address (for DOCKER_HOST), tells what it does on standard
# error. An engine that runs on the default socket is used as it is; a second one is never started beside a running one,
# because a starting engine takes the other's default bridge away.
#
#   export DOCKER_HOST="$(tests/support/engine.sh)"
#
# Needs root where it has to install or to start something. Ends with 1 and a sentence if there is no engine afterwards.
set -euo pipefail

socket="${FLAME_ENGINE_SOCKET:-/var/run/docker.sock}"
config="${FLAME_ENGINE_CONFIG:-/etc/docker/daemon.json}"
log="${FLAME_ENGINE_LOG:-/var/log/flame-dockerd.log}"
base=python:3.11-slim
suite=bookworm # the Debian whose Python is 3.11

say() { echo "engine: $*" >&2; }
answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }
running() { pgrep -x dockerd >/dev/null 2>&1; }

install() { # what is absent of the given packages
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

await() { # up to 60 s
  local waited
  for waited in $(seq 120); do
    answers && return 0
    sleep 0.5
  done
  return 1
}

start() {
  if running; then
    say "a dockerd runs already and does not answer on $socket; not starting a second. Set DOCKER_HOST to its socket."
    return 1
  fi
  install docker.io procps
  install runsc || say "runsc (gVisor) could not be installed: its tests cannot run"
  if answers; then return 0; fi # the package may have started it
  if ! running; then
    # runsc must find its network off from the start: it refuses the host's.
    if [ ! -e "$config" ]; then
      mkdir -p "$(dirname "$config")"
      if command -v runsc >/dev/null; then
        printf '{"runtimes":{"runsc":{"path":"%s","runtimeArgs":["--network=none"]}}}\n' "$(command -v runsc)"
      else
        echo '{}'
      fi >"$config"
    fi
    say "starting dockerd, log in $log"
    setsid nohup dockerd --host "unix://$socket" --config-file "$config" >"$log" 2>&1 </dev/null &
  fi
  await || { say "dockerd did not get ready within 60 s; the end of its log:"; tail -n 5 "$log" >&2; return 1; }
}

# The mirror is the machine's own, in whichever of the two formats its apt is configured.
mirror() {
  local found
  found="$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)"
  [ -n "$found" ] || found="$(awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) { print $i; exit } }' \
    /etc/apt/sources.list 2>/dev/null || true)"
  [ -n "$found" ] || { say "apt of this machine names no mirror"; return 1; }
  echo "$found"
}

build_base() { # a minimal Debian with its Python, under the name the public image has
  install mmdebstrap
  local from
  from="$(mirror)"
  say "building $base from Debian $suite"
  mmdebstrap --quiet --variant=minbase --include=python3,ca-certificates,libgomp1 \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Check-Date "false"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='ln -s ../../bin/python3 "$1/usr/local/bin/python"' \
    "$suite" - "$from" | docker import --change 'CMD ["python3"]' - "${1:-$base}" >/dev/null
}

if [ -n "${DOCKER_HOST:-}" ] && ! answers; then
  say "nothing answers at DOCKER_HOST ($DOCKER_HOST); looking at $socket"
  unset DOCKER_HOST
fi
export DOCKER_HOST="${DOCKER_HOST:-unix://$socket}"
if answers; then say "using the engine at $DOCKER_HOST"; else start; fi
docker image inspect "$base" >/dev/null 2>&1 || build_base
docker info --format '{{range $name, $_ := .Runtimes}}{{$name}} {{end}}' 2>/dev/null | grep -qw runsc \
  || say "this engine knows no runtime runsc: gVisor's tests cannot run"
echo "$DOCKER_HOST"
