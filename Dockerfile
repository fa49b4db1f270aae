# One image for every role; the command says which.
FROM python:3.11-slim-bookworm
WORKDIR /app
COPY requirements.txt pyproject.toml README.md ./
RUN python -m pip install --no-cache-dir --require-hashes -r requirements.txt
COPY hub ./hub
COPY adapters ./adapters
COPY terminology ./terminology
COPY simulators ./simulators
COPY hub.toml ./
RUN python -m pip install --no-cache-dir --no-deps --no-build-isolation . \
    && useradd --create-home --uid 10001 hub \
    && install -d -o hub -g hub /data
USER hub
ENV HUB_DATA=/data
EXPOSE 8080 2575 11112
CMD ["hub", "serve"]
