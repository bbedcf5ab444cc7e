#!/bin/sh
# apt-get, one at a time: `make test` runs setup.sh beside engines.sh. With -o no service that a package starts holds the
# lock after it.
exec flock -o "${TMPDIR:-/tmp}/maceloop-apt.lock" apt-get "$@"
