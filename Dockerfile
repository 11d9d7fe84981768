# Two stages: the static binary, and Python with the real dagster-webserver that it starts.
# Put your own pipeline on top: FROM this image, COPY it into /app, and name it in CMD.

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN make build VERSION="$VERSION"

FROM python:3.11-slim-bookworm
ARG DAGSTER_VERSION=1.13.27
# tini reaps code servers that outlive a webserver which AuthKit has started anew; the container's end is their end too.
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/*
# dagster-postgres brings psycopg2, and SQLAlchemy 2.1 looks for another driver.
RUN pip install --no-cache-dir dagster=="$DAGSTER_VERSION" dagster-webserver=="$DAGSTER_VERSION" dagster-postgres 'sqlalchemy<2.1'
COPY --from=build /src/bin/dagster-authkit /usr/local/bin/dagster-authkit
# /app is the pipeline's, read-only to it; /data holds the users' database and Dagster's own storage: mount a volume there.
# /var/lib/authkit is root's alone, for a start as root with --child-user dagster, where pipelines must not reach that database.
RUN useradd --create-home --uid 10001 dagster \
 && install -d -o dagster -g dagster -m 0700 /data /data/dagster \
 && install -d -m 0700 /var/lib/authkit \
 && install -d /app
WORKDIR /app
USER dagster
ENV DAGSTER_HOME=/data/dagster \
    DAGSTER_AUTH_DB=/data/dagster_auth.db
VOLUME /data
EXPOSE 3000
# Ready: the database answers and Dagster does.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:3000/auth/health?type=ready', timeout=4)"]
ENTRYPOINT ["tini", "--"]
CMD ["dagster-authkit", "-f", "your_pipeline.py", "-h", "0.0.0.0", "-p", "3000"]
