# A worker. Not built by the project's own tests: there is no Docker daemon where they run.
# PIP_OPTIONS may name the package index that has the build of torch you want (CPU or CUDA).
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/tsrec
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY topics ./topics
COPY tsrec_models ./tsrec_models
COPY stream_app ./stream_app
ARG PIP_OPTIONS=""
RUN /opt/tsrec/bin/pip install --no-cache-dir ${PIP_OPTIONS} -c constraints.txt '.[risk]'

FROM python:3.11-slim-bookworm
RUN useradd --create-home --uid 10001 tsrec
COPY --from=build /opt/tsrec /opt/tsrec
ENV PATH=/opt/tsrec/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/home/tsrec/.cache/numba \
    TSREC_WEB_HOST=0.0.0.0
USER tsrec
WORKDIR /home/tsrec
EXPOSE 6066
STOPSIGNAL SIGTERM
ENTRYPOINT ["tsrec"]
CMD ["worker"]
