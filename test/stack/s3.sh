#!/usr/bin/env bash
# MinIO, a real S3 server, on 127.0.0.1; built from source through the Go module proxy.
# Keys lakeloader / lakeloader-secret, region us-east-1, path-style addresses.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/lib.sh"
usage() {
  cat >&2 <<U
usage: s3.sh fetch
       s3.sh start DIR [BUCKET...]   start (or keep) it, with these buckets; objects stay in DIR
       s3.sh stop DIR | kill DIR | remove DIR | status DIR   (remove: kill, and delete DIR)
DIR/ports holds the port.
U
  exit 2
}
ACCESS_KEY=lakeloader SECRET_KEY=lakeloader-secret

fetch() { MINIO=$(gotool minio github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c); }

create_bucket() { # BUCKET: the checksum is that of an empty body
  local code
  code=$(curl -sS -o /dev/null -w '%{http_code}' -X PUT "http://127.0.0.1:${PORT[0]}/$1" \
    --aws-sigv4 aws:amz:us-east-1:s3 --user "$ACCESS_KEY:$SECRET_KEY" \
    -H 'x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  [[ $code == 200 || $code == 409 ]] || die "creating bucket $1: HTTP $code"
}

launch() {
  local bucket
  mkdir -p "$DIR/data"
  spawn env MINIO_ROOT_USER="$ACCESS_KEY" MINIO_ROOT_PASSWORD="$SECRET_KEY" MINIO_BROWSER=off MINIO_UPDATE=off \
    MINIO_CALLHOME_ENABLE=off GOMEMLIMIT=256MiB \
    "$MINIO" server --quiet --address "127.0.0.1:${PORT[0]}" "$DIR/data"
  wait_ready 60 "${PORT[0]}" curl -fsS "http://127.0.0.1:${PORT[0]}/minio/health/ready"
  for bucket in "$@"; do create_bucket "$bucket"; done
}

service s3 1 "$@"
