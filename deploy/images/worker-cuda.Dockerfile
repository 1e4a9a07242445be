# A worker on a GPU node: run with --gpus all. It opens no port: it reads the queue and writes to the database and the bucket.
#   docker build --file deploy/images/worker-cuda.Dockerfile --tag expunge-worker-cuda .
FROM nvidia/cuda:12.8.1-runtime-ubuntu24.04
RUN apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv tini && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/expunge
# torch is installed first, in its own layer, so that code changes do not invalidate this largest layer.
RUN /opt/expunge/bin/pip install --no-cache-dir torch==2.13.0 --index-url https://download.pytorch.org/whl/cu128
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY api_schemas api_schemas
COPY editor editor
COPY service service
COPY worker worker
RUN /opt/expunge/bin/pip install --no-cache-dir --constraint constraints.txt ".[worker,scaleout]"
ENV PATH=/opt/expunge/bin:$PATH PYTHONUNBUFFERED=1 EXPUNGE_DATA_DIR=/data EXPUNGE_LOG_FORMAT=json REMAP_SIGTERM=SIGQUIT
RUN install --directory --owner=10001 --group=10001 --mode=0700 /data
USER 10001:10001
VOLUME /data
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "worker"]
