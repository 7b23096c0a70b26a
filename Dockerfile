# A worker, and the command tsrec, in two targets:
#   docker build --target cpu  -t tsrec:0.1.0 .         (the default)
#   docker build --target cuda -t tsrec:0.1.0-cuda .    (run it with --gpus all)
# The public build of torch brings CUDA with it: some gigabytes. For a small CPU image name an index that has the CPU
# build: --build-arg TORCH_OPTIONS="--index-url ADDRESS".
# There is no Docker daemon where the project's tests run: tests/test_deploy_image.py checks what can be checked without.

# -- what both have: Python, a user without rights, and the one library of the system that lightgbm looks for
FROM python:3.11-slim-bookworm AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 --shell /usr/sbin/nologin tsrec \
    && install -d -o tsrec -g tsrec /var/cache/tsrec
# Kernels are looked for, and kept, in the one folder that is written to; it needs no backup.
ENV PATH=/opt/tsrec/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/var/cache/tsrec \
    TSREC_WEB_HOST=0.0.0.0 \
    TSREC_WEB_PORT=6066

# -- dependencies first: they change less often than the code
FROM base AS build
WORKDIR /src
RUN python -m venv /opt/tsrec
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies']['risk'], sep='\n')" > requirements.txt

FROM build AS build-cpu
ARG TORCH_OPTIONS=""
RUN /opt/tsrec/bin/pip install --no-cache-dir ${TORCH_OPTIONS} -c constraints.txt torch
RUN /opt/tsrec/bin/pip install --no-cache-dir -c constraints.txt -r requirements.txt
COPY README.md LICENSE ./
COPY topics ./topics
COPY tsrec_models ./tsrec_models
COPY stream_app ./stream_app
RUN /opt/tsrec/bin/pip install --no-cache-dir --no-deps .

FROM build AS build-cuda
RUN /opt/tsrec/bin/pip install --no-cache-dir -c constraints.txt -r requirements.txt
COPY README.md LICENSE ./
COPY topics ./topics
COPY tsrec_models ./tsrec_models
COPY stream_app ./stream_app
RUN /opt/tsrec/bin/pip install --no-cache-dir --no-deps .

# -- what runs
FROM base AS cuda
COPY --from=build-cuda /opt/tsrec /opt/tsrec
# The container runtime mounts the driver by these; the CUDA libraries came with torch.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    TSREC_DEVICE=auto
USER tsrec
WORKDIR /home/tsrec
COPY deploy/compile_kernels.py /opt/tsrec/compile_kernels.py
RUN python /opt/tsrec/compile_kernels.py
EXPOSE 6066
STOPSIGNAL SIGTERM
ENTRYPOINT ["tsrec"]
CMD ["worker"]

FROM base AS cpu
COPY --from=build-cpu /opt/tsrec /opt/tsrec
ENV TSREC_DEVICE=cpu
USER tsrec
WORKDIR /home/tsrec
COPY deploy/compile_kernels.py /opt/tsrec/compile_kernels.py
RUN python /opt/tsrec/compile_kernels.py
EXPOSE 6066
STOPSIGNAL SIGTERM
ENTRYPOINT ["tsrec"]
CMD ["worker"]
