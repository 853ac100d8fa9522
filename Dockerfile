# The image of the worker, the scanner, the command line and the sandbox. docs/deploy.md says how to run it.
ARG BASE=python:3.13.14-slim-trixie

# Every package has a wheel, so no stage needs a compiler.
FROM ${BASE} AS build
# requirements-otel.txt adds OpenTelemetry.
ARG REQUIREMENTS=requirements.txt
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements-build.txt requirements-image.txt ${REQUIREMENTS} ./
RUN python -m venv --without-pip /opt/venv \
    && pip install --only-binary :all: --require-hashes -r requirements-build.txt \
    && pip --python /opt/venv/bin/python install --only-binary :all: --require-hashes -r ${REQUIREMENTS} \
       -r requirements-image.txt
COPY LICENSE README.md pyproject.toml ./
COPY clients/python/src/autumn_sync_client autumn_sync_client
COPY config config
COPY jobs jobs
COPY sandbox sandbox
COPY worker worker
# The modules are compiled here, because the file system of a container may be read-only. Their source is not compared
# with them, so that its time does not matter.
RUN pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && pip --python /opt/venv/bin/python install --no-deps --no-index wheels/*.whl \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib

FROM ${BASE}
RUN groupadd --gid 10001 customer-sync \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /nonexistent \
       --shell /usr/sbin/nologin customer-sync \
    && install --directory --owner=customer-sync --group=customer-sync --mode=0700 /var/lib/customer-sync
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PORT=8080 SCAN_SPOOL=/var/lib/customer-sync
WORKDIR /var/lib/customer-sync
USER 10001:10001
EXPOSE 8080
# /healthz fails if a restart may help. A process waits for Redis for up to 120 s before it opens the port.
HEALTHCHECK --interval=30s --timeout=5s --start-period=150s --retries=3 \
    CMD ["python", "-I", "-c", "import http.client, os, sys; asked = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); asked.request('GET', '/healthz'); sys.exit(asked.getresponse().status != 200)"]
# As process 1, Python would ignore SIGTERM until it can handle signals, a second or two after its start. dumb-init passes
# signals on. A shell would not. The scanner: arq worker.main.ScanWorkerSettings
STOPSIGNAL SIGTERM
ENTRYPOINT ["dumb-init", "--"]
CMD ["arq", "worker.main.WorkerSettings"]
