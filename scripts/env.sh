# Sourced by the scripts: where the tree is, and the tools of the right versions first on PATH.
DENO_VERSION=2.9.6
DIAPER_ROOT=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
PATH=$DIAPER_ROOT/.tools/bin:$PATH
DENO_NO_UPDATE_CHECK=1
export DENO_VERSION DIAPER_ROOT PATH DENO_NO_UPDATE_CHECK
cd "$DIAPER_ROOT" || exit 1
