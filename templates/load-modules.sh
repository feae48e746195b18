# The module system of the site, where this shell does not have it yet; what PATH says goes before what it adds.
nexapod_path=$PATH
type module >/dev/null 2>&1 || . /etc/profile
for nexapod_init in "${MODULESHOME:-/}/init/bash" "${LMOD_PKG:-/}/init/bash" /usr/share/lmod/lmod/init/bash /usr/share/modules/init/bash; do
  type module >/dev/null 2>&1 || { [ -r "$nexapod_init" ] && . "$nexapod_init"; }
done
PATH=$nexapod_path:$PATH
# What is loaded counts: Environment Modules 3 says ERROR, and returns success all the same.
nexapod_load() {
  local before=${LOADEDMODULES-}
  if module load "$1"; then
    case ":${LOADEDMODULES-}:" in *":$1:"* | *":$1/"*) return ;; esac
    if [ "${LOADEDMODULES-}" != "$before" ]; then # under another name, or only what it needs: it says so once more
      case $(module load "$1" 2>&1) in *ERROR* | *rror:* | *nable\ to\ locate*) ;; *) return ;; esac
    elif (module purge; before=${LOADEDMODULES-}; module load "$1" && [ "${LOADEDMODULES-}" != "$before" ]) >/dev/null 2>&1; then
      return # under another name, and before
    fi
  fi
  printf 'nexapod-batch: site @site@: module %s is not loaded after: module load %s; %s\n' "$1" "$1" \
    'correct modules in [environment] of its site file (module avail lists what there is)' >&2
  exit 1
}
