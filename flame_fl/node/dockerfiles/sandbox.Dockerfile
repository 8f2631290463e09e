# An image for sandboxes: Python, the packages an app asks for, and flame_fl's runner. No code of the app, no pip, no
# data, no key. `flame node image build APP` fills the context:
#
#   Dockerfile      this file
#   wheels/         what was downloaded, and wheels/requirements.txt with the SHA-256 of each
#   own/            flame-fl and its sibling distributions, and own/requirements.txt likewise
#
# Nothing here needs a network: docker build --network none --tag NAME CONTEXT
# BASE can be any Debian with this Python; to pin it: --build-arg BASE=python:3.11-slim@sha256:…
ARG BASE=python:3.11-slim

FROM ${BASE} AS locked
COPY wheels /wheels
# pip runs out of its own wheel, so a base without pip serves as well. Bytecode is made here because the sandbox's root
# is read-only; it is not checked against the sources again, which spares a stat per module. uv is Flower's installer for
# apps: a sandbox installs nothing. Headers and the packages' own tests are never imported; torch's one program is. A
# package may hold modules for newer Pythons: what does not compile is left as it is. The lock stays in the image.
RUN pip="$(echo /wheels/pip-*.whl)/pip" \
 && python3 "$pip" install --quiet --disable-pip-version-check --root-user-action=ignore --no-cache-dir --no-index \
      --find-links /wheels --no-deps --require-hashes --no-compile --target /opt/site \
      --requirement /wheels/requirements.txt \
 && rm -rf /opt/site/bin /opt/site/uv /opt/site/torch/include /opt/site/torch/test /opt/site/pyarrow/include \
 && find /opt/site -type d -name tests -prune -exec rm -rf {} + \
 && find /opt/site -path '*/torch/bin/*' -type f ! -name torch_shm_manager -delete \
 && cp /wheels/requirements.txt /opt/site/wheels.txt \
 && (python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/site >/dev/null || true)

FROM ${BASE} AS own
COPY wheels/pip-*.whl /wheels/
COPY own /own
RUN pip="$(echo /wheels/pip-*.whl)/pip" \
 && python3 "$pip" install --quiet --disable-pip-version-check --root-user-action=ignore --no-cache-dir --no-index \
      --find-links /own --no-deps --require-hashes --no-compile --target /opt/site \
      --requirement /own/requirements.txt \
 && rm -rf /opt/site/bin \
 && (python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/site >/dev/null || true)

FROM ${BASE}
COPY --from=locked /opt/site /opt/site
# Last, because it changes most often: a new flame_fl is one small layer.
COPY --from=own /opt/site /opt/site
ENV PYTHONPATH=/opt/site PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp \
    FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1 \
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
WORKDIR /tmp
USER 65534:65534
ENTRYPOINT ["python3", "-m"]
CMD ["flame_fl.flower.runner"]
