# The API and the dispatcher, without torch and without the editor.
#   docker build --file deploy/images/api.Dockerfile --tag expunge-api .
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY api_schemas api_schemas
COPY service service
# The build requires all packages of the distribution, so the two that this image does not need are empty.
RUN mkdir editor worker && touch editor/__init__.py worker/__init__.py
RUN python -m venv /opt/expunge && /opt/expunge/bin/pip install --no-cache-dir --constraint constraints.txt ".[service,scaleout]"

FROM python:3.12-slim-bookworm
RUN apt-get update && apt-get install --yes --no-install-recommends tini && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/expunge /opt/expunge
ENV PATH=/opt/expunge/bin:$PATH PYTHONUNBUFFERED=1 EXPUNGE_DATA_DIR=/data EXPUNGE_LOG_FORMAT=json
RUN install --directory --owner=10001 --group=10001 --mode=0700 /data
USER 10001:10001
VOLUME /data
EXPOSE 8484
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8484/readyz', timeout=4)"]
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "service.server", "--host", "0.0.0.0", "--behind-proxy"]
