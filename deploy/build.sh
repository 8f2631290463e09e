#!/usr/bin/env bash
# Build the image of a node or a hub from this checkout, with no network inside the build:
#
#   deploy/build.sh node [NAME]        NAME defaults to flame-node, flame-hub
#
# PYTHON is the interpreter whose pip collects the wheels, of the same version as the base's (default python3.11, else
# python3); BASE the image to start from; WHEELS a folder to take every wheel from instead of pip's index; DOCKER the
# builder (podman works the same way, but was not tried).
set -euo pipefail

what="${1:-}"
case "$what" in node | hub) ;; *) echo "usage: $0 node|hub [NAME]" >&2; exit 2 ;; esac
name="${2:-flame-$what}"
root="$(cd "$(dirname "$0")/.." && pwd)"
python="${PYTHON:-$(command -v python3.11 || command -v python3)}"
base="${BASE:-python:$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-slim}"

context="$(mktemp -d)"
trap 'rm -rf "$context"' EXIT
mkdir "$context/wheels" "$context/own"
cp "$root/deploy/$what/Dockerfile" "$context/Dockerfile"

pip() { "$python" -m pip --quiet --quiet --disable-pip-version-check --no-input "$@"; }
index=()
[ -z "${WHEELS:-}" ] || index=(--no-index --find-links "$WHEELS")
# hatchling builds the wheel; where it is at hand nothing is downloaded for that
isolation=()
"$python" -c 'import hatchling' 2>/dev/null && isolation=(--no-build-isolation --no-index)
pip wheel --no-deps "${isolation[@]}" --wheel-dir "$context/own" "$root"
own=("$context"/own/*.whl)
[ "$what" = hub ] || own=("${own[0]}[stores]") # what reads the kinds of data stores
pip download --only-binary=:all: "${index[@]}" --constraint "$root/constraints.txt" --dest "$context/wheels" "${own[@]}"
rm "$context"/wheels/flame_fl-*.whl
# pip itself installs the others; in a node's image it also collects the wheels of sandbox images
pip download --only-binary=:all: "${index[@]}" --no-deps --dest "$context/wheels" pip
for folder in wheels own; do (cd "$context/$folder" && sha256sum -- *.whl >SHA256SUMS); done

export DOCKER_BUILDKIT="${DOCKER_BUILDKIT:-0}"
"${DOCKER:-docker}" build --quiet --network none --build-arg "BASE=$base" --tag "$name" "$context" 2>/dev/null \
  || "${DOCKER:-docker}" build --network none --build-arg "BASE=$base" --tag "$name" "$context"
