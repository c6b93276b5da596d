# syntax=docker/dockerfile:1
# The app for a server: a user without rights, results in a volume.
#   docker build -t langevin .
#   docker run --rm -v langevin:/home/langevin/data langevin python launch.py users add NAME
#   docker run -d --name langevin -p 127.0.0.1:7860:7860 -v langevin:/home/langevin/data langevin
# docs/operate.md says more: behind a proxy, open to all, on a GPU, on a Ray cluster.
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    GRADIO_ANALYTICS_ENABLED=False \
    HF_HUB_DISABLE_TELEMETRY=1

RUN useradd --create-home --uid 1000 --shell /usr/sbin/nologin langevin
WORKDIR /home/langevin/app

# The libraries first, so that a change of the code alone builds in seconds.
COPY pyproject.toml constraints.txt README.md LICENSE launch.py ./
# The index of PyTorch's builds for CPUs makes the image several gigabytes smaller: --build-arg TORCH_INDEX=URL
ARG TORCH_INDEX=""
RUN mkdir core domains apps \
    && touch core/__init__.py domains/__init__.py apps/__init__.py \
    && grep '^torch==' constraints.txt > torch.txt \
    && pip install ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} -r torch.txt \
    && pip install -c constraints.txt -e '.[all]'
COPY core core
COPY domains domains
COPY apps apps
COPY assets assets

RUN mkdir /home/langevin/data && chown langevin:langevin /home/langevin/data && chmod 700 /home/langevin/data
USER 1000:1000
VOLUME /home/langevin/data
ENV LANGEVIN_HOME=/home/langevin/data \
    LANGEVIN_PROFILE=hosted

EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/healthz', timeout=4)"]

# SIGTERM suspends what runs; it goes on at the next start.  Without a user in the volume, or LANGEVIN_USER and
# LANGEVIN_PASSWORD_HASH, or LANGEVIN_OPEN_TO_ALL=true, it refuses to start: others could reach it.
CMD ["python", "launch.py", "--host", "0.0.0.0"]
