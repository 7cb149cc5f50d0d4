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

# What is new; a line of what would be upgraded names the version that is there, in brackets.
mapfile -t names < <("${apt[@]}" install --simulate --no-install-recommends "$@" | sed -n 's/^Inst \([^ ]*\) (.*/\1/p')
[ ${#names[@]} -gt 0 ] || { echo "nothing is missing"; exit 0; }
cd "$root/apt/archives"
"${apt[@]}" download "${names[@]}"
for package in *.deb; do
  dpkg-deb --extract "$package" "$root"
  rm "$package"
done

# What names places from the root of the system: links, the paths of pkg-config, scripts of the linker.
find "$root" -type l -lname '/*' -print0 | while IFS= read -r -d '' link; do
  target=$(readlink "$link")
  [ ! -e "$root$target" ] || ln -sfn "$root$target" "$link"
done
find "$root/usr" -name '*.pc' -exec sed -i "s|=/usr|=$root/usr|" {} +

libraries=$root/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || gcc -print-multiarch)
deeper=$(find "$root/usr/lib" -name '*.so*' -path "$libraries/*/*" -printf '%h\n' | grep -E '/(blas|lapack|pulseaudio)$' | sort -u | paste -sd: || true)
cat >"$root/env.sh" <<END
export RETORT_PACKAGES=$root
export PATH=$root/usr/bin:\$PATH
export CPLUS_INCLUDE_PATH=$root/usr/include:$root/usr/include/${libraries##*/}\${CPLUS_INCLUDE_PATH:+:\$CPLUS_INCLUDE_PATH}
export LIBRARY_PATH=$libraries:$root/lib/${libraries##*/}\${LIBRARY_PATH:+:\$LIBRARY_PATH}
export LD_LIBRARY_PATH=$libraries:$root/lib/${libraries##*/}${deeper:+:$deeper}\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
export PKG_CONFIG_PATH=$libraries/pkgconfig:$root/usr/share/pkgconfig\${PKG_CONFIG_PATH:+:\$PKG_CONFIG_PATH}
export CMAKE_PREFIX_PATH=$root/usr\${CMAKE_PREFIX_PATH:+:\$CMAKE_PREFIX_PATH}
END
printf '%s\n' "$@" >>"$root/packages"
echo "${#names[@]} packages are in $root"
