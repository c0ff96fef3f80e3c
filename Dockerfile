# lab with its dependencies at the versions of constraints.txt, for a user without root's rights.
#
#   docker build -t lab .
#   docker run --rm -v "$PWD/runs:/work/runs" lab                                   # the default job, on a CPU
#   docker run --rm --gpus all -v "$PWD/runs:/work/runs" -v /my/data:/data lab model=detr data=coco
#
# torch comes from pip's default index. Its Linux build runs on CPUs and on NVIDIA's GPUs, and brings 3 GB of CUDA. For
# another build (CPUs only, another CUDA) give the address of its index: --build-arg INDEX=ADDRESS. Extras of
# pyproject.toml: --build-arg EXTRAS=sweep,export (deepspeed needs a compiler at run time: use the stage dev).
ARG BASE=debian:trixie-slim

FROM ${BASE} AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 lab \
    && install -d -o lab -g lab /opt/lab /work /work/runs /data
ENV PATH=/opt/lab/bin:$PATH LAB_DATA_DIR=/data PYTHONUNBUFFERED=1
USER lab
RUN python3 -m venv /opt/lab

# The dependencies first, with a package of that name that is empty: a change of lab's sources leaves this layer as it is.
FROM base AS build
ARG INDEX=""
ARG EXTRAS=""
WORKDIR /home/lab/source
COPY --chown=lab:lab pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir lab conf && touch lab/__init__.py \
    && pip install --no-cache-dir ${INDEX:+--extra-index-url "$INDEX"} -c constraints.txt ".${EXTRAS:+[$EXTRAS]}" \
    && pip uninstall -y lab
COPY --chown=lab:lab lab lab
COPY --chown=lab:lab conf conf
COPY --chown=lab:lab experiments experiments
RUN pip install --no-cache-dir --no-deps -c constraints.txt .

# For .devcontainer: the tools and compilers; lab itself is the checkout that is mounted there.
FROM base AS dev
USER root
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential chromium chromium-driver git python3-dev \
    && rm -rf /var/lib/apt/lists/*
USER lab
WORKDIR /home/lab/source
ARG INDEX=""
COPY --chown=lab:lab pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir lab conf && touch lab/__init__.py \
    && pip install --no-cache-dir -c constraints.txt hatchling editables setuptools \
    && pip install --no-cache-dir --no-build-isolation ${INDEX:+--extra-index-url "$INDEX"} -c constraints.txt ".[dev]" \
    && pip uninstall -y lab

FROM base AS final
COPY --from=build --chown=lab:lab /opt/lab /opt/lab
WORKDIR /work
ENTRYPOINT ["lab"]
