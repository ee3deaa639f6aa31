# soar in a container, for CPUs by default and for NVIDIA GPUs with PyPI's torch:
#
#   docker build -t soar .
#   docker build -t soar-cuda --build-arg TORCH_INDEX=https://pypi.org/simple .
#   docker run --rm soar demo
#   docker run --rm --gpus all -p 127.0.0.1:8000:8000 -e SOAR_KEY=... soar-cuda serve policy --host 0.0.0.0 --key SOAR_KEY
#
# Stores and runs belong on a volume: -v "$PWD/lab:/lab". MuJoCo renders with Mesa's EGL, without a GPU or a screen.
FROM python:3.12-slim-bookworm

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

RUN apt-get update \
    && apt-get install -y --no-install-recommends libegl1 libgl1-mesa-dri libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /soar
COPY constraints.txt ./
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" "torch$(sed -n 's/^torch\(==.*\)/\1/p' constraints.txt)"
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir --constraint constraints.txt . && rm -rf /soar

ENV MUJOCO_GL=egl PYTHONUNBUFFERED=1
RUN useradd --create-home soar
USER soar
WORKDIR /lab
ENTRYPOINT ["soar"]
CMD ["--help"]
