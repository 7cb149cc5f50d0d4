#!/usr/bin/env bash
# Debian's packages where nobody is root: apt fetches them, they are unpacked into a folder, and env.sh there says to compiler,
# linker, CMake and programs where they are.
#
#   without_root.sh FOLDER PACKAGE …
#
# Packages that the system has already stay the system's. Nothing outside FOLDER is written.
set -euo pipefail
mkdir -p "$1"
root=$(cd -P "$1" && pwd)
shift
for tool in apt-get dpkg-deb; do
  command -v "$tool" >/dev/null || { echo "this way takes Debian's own tools, and '$tool' is not here" >&2; exit 1; }
done
mkdir -p "$root"/apt/{lists,archives}/partial
apt=(apt-get -q -o Dir::State::lists="$root/apt/lists" -o Dir::Cache="$root/apt" -o Dir::State::status=/var/lib/dpkg/status -o Debug::NoLocking=1)
"${apt[@]}" update

# What is new; a line of what would be upgraded names the version that is there, in brackets, and is left alone.
plan=$("${apt[@]}" install --simulate --no-install-recommends "$@")
mapfile -t names < <(sed -n 's/^Inst \([^ ]*\) (.*/\1/p' <<<"$plan")
if [ ${#names[@]} -gt 0 ]; then
  cd "$root/apt/archives"
  "${apt[@]}" download "${names[@]}"
  mkdir -p "$root/new"
  for package in *.deb; do
    dpkg-deb --extract "$package" "$root/new"
    rm "$package"
  done
  # Paths from the root of the system, in links and in what pkg-config reads.
  find "$root/new" -type l -lname '/*' -print0 | while IFS= read -r -d '' link; do
    target=$(readlink "$link")
    [ ! -e "$root/new$target" ] || ln -sfnr "$root/new$target" "$link"
  done
  find "$root/new/usr/lib" -name '*.pc' -exec sed -i 's|=/usr|=${pcfiledir}/../../..|' {} +
  find "$root/new/usr/share" -name '*.pc' -exec sed -i 's|=/usr|=${pcfiledir}/../..|' {} +
  cp -a "$root/new/." "$root/"
  rm -rf "$root/new"
fi

# It finds its own folder, whatever that is called.
multiarch=$(gcc -print-multiarch)
cat >"$root/env.sh" <<END
RETORT_PACKAGES=\$(cd -P "\$(dirname "\${BASH_SOURCE[0]}")" && pwd)
export RETORT_PACKAGES
export PATH="\$RETORT_PACKAGES/usr/bin:\$PATH"
export CPLUS_INCLUDE_PATH="\$RETORT_PACKAGES/usr/include:\$RETORT_PACKAGES/usr/include/$multiarch\${CPLUS_INCLUDE_PATH:+:\$CPLUS_INCLUDE_PATH}"
export LIBRARY_PATH="\$RETORT_PACKAGES/usr/lib/$multiarch:\$RETORT_PACKAGES/lib/$multiarch\${LIBRARY_PATH:+:\$LIBRARY_PATH}"
export LD_LIBRARY_PATH="\$RETORT_PACKAGES/usr/lib/$multiarch:\$RETORT_PACKAGES/lib/$multiarch\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
export PKG_CONFIG_PATH="\$RETORT_PACKAGES/usr/lib/$multiarch/pkgconfig:\$RETORT_PACKAGES/usr/share/pkgconfig\${PKG_CONFIG_PATH:+:\$PKG_CONFIG_PATH}"
export CMAKE_PREFIX_PATH="\$RETORT_PACKAGES/usr\${CMAKE_PREFIX_PATH:+:\$CMAKE_PREFIX_PATH}"
END
printf '%s\n' "$@" >>"$root/packages"
echo "${#names[@]} packages are new in $root"
