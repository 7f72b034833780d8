#!/usr/bin/env bash
# Finds or fetches the programs that tests and benchmarks run against. Nothing of the system changes:
# what is missing on PATH is downloaded with apt lists of our own and unpacked into .cache/peers.
#
#   install-peers.sh consul   a real Consul (PATH, else Debian 11's package)
#   install-peers.sh bench    haproxy, nginx, wrk (PATH, else the packages of this machine's release)
#   install-peers.sh brokers  redis, mosquitto, RabbitMQ and their clients (likewise)
#   install-peers.sh clients  nghttp, h2load, openssl, a curl that speaks HTTP/2, and a python3 that has grpc, websockets and h2
#                             (likewise)
#   install-peers.sh security testssl.sh and faketime (likewise)
#   install-peers.sh java     keytool (likewise: 45 MB)
#
# Prints where each program is. Works as root and as an ordinary user. Exit code 1 with one line on stderr when a
# program can be neither found nor fetched; in CI that fails the run, elsewhere the tests concerned skip themselves.
set -euo pipefail

repository=$(cd "$(dirname "$0")/../.." && pwd)
peers=$repository/.cache/peers
log=$peers/install.log
python_modules='import grpc, websockets, h2'

die() {
  echo "install-peers: $*" >&2
  exit 1
}

# Daemons live in sbin, which ordinary users do not have on PATH.
locate() {
  PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" command -v "$1" || {
    [ -x "$peers/bin/$1" ] && echo "$peers/bin/$1"
  }
}

# The package mirrors of this machine (deb822 and one-line files), rewritten for release $1.
write_sources() {
  local release=$1 codename
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  local suites=" $codename stable oldstable testing unstable sid "
  shopt -s nullglob
  local -a deb822=(/etc/apt/sources.list.d/*.sources) oneline=(/etc/apt/sources.list /etc/apt/sources.list.d/*.list)
  {
    for file in ${deb822[@]+"${deb822[@]}"}; do
      { grep --invert-match '^#' "$file" || true; } | awk -v RS= -v release="$release" -v suites="$suites" '
        function finish() { if (name != "") field[name] = value }
        {
          split("", field); name = ""; count = split($0, lines, "\n")
          for (i = 1; i <= count; i++) {
            if (lines[i] ~ /^[ \t]/) { value = value "\n" lines[i]; continue }
            finish(); at = index(lines[i], ":")
            name = tolower(substr(lines[i], 1, at - 1)); value = substr(lines[i], at + 1)
          }
          finish()
          if (tolower(field["enabled"]) ~ /no|false/ || (" " field["types"] " ") !~ /[ \t]deb[ \t]/) next
          if ((" " field["components"] " ") !~ /[ \t\n]main[ \t\n]/) next
          count = split(field["suites"], suite, /[ \t\n]+/)
          for (i = 1; i <= count; i++) if (suite[i] != "" && index(suites, " " suite[i] " ")) {
            print "Types: deb\nURIs:" field["uris"] "\nSuites: " release "\nComponents: main"
            if (field["signed-by"] != "") print "Signed-By:" field["signed-by"]
            if (field["trusted"] != "") print "Trusted:" field["trusted"]
            print ""; next
          }
        }'
    done
    for file in "${oneline[@]}"; do
      [ -r "$file" ] || continue
      awk -v release="$release" -v suites="$suites" '
        $1 != "deb" { next }
        {
          sub(/#.*/, ""); options = ""; line = $0
          if (match(line, /\[[^]]*\]/)) {
            options = substr(line, RSTART + 1, RLENGTH - 2)
            line = substr(line, 1, RSTART - 1) " " substr(line, RSTART + RLENGTH)
          }
          count = split(line, word, /[ \t]+/); main = 0
          for (i = 4; i <= count; i++) if (word[i] == "main") main = 1
          if (!main || !index(suites, " " word[3] " ")) next
          print "Types: deb\nURIs: " word[2] "\nSuites: " release "\nComponents: main"
          count = split(options, option, /[ \t]+/)
          for (i = 1; i <= count; i++) {
            if (option[i] ~ /^signed-by=/) print "Signed-By: " substr(option[i], 11)
            if (option[i] ~ /^trusted=/) print "Trusted: " substr(option[i], 9)
          }
          print ""
        }' "$file"
    done
  } >"$peers/$release/machine.sources"
  [ -s "$peers/$release/machine.sources" ] ||
    die "found no Debian mirror in /etc/apt: put the programs on PATH yourself"
}

# apt with lists, cache and sources of our own for release $1. The machine's other settings (a proxy, for example) stay.
own_apt() {
  local release=$1
  shift
  APT_CONFIG=$peers/$release/apt.conf "$@"
}

prepare_apt() {
  local release=$1 folder=$peers/$1
  command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
    die "this machine has no apt: put the programs on PATH yourself"
  mkdir --parents "$folder/lists/partial" "$folder/cache/archives/partial"
  write_sources "$release"
  printf 'Package: *\nPin: release o=Debian\nPin-Priority: 900\n' >"$folder/preferences"
  # Hooks that other packages hang on an update belong to the system's own lists.
  cat >"$folder/apt.conf" <<CONF
Dir::Etc::sourcelist "$folder/machine.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "$folder/preferences";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "$folder/lists";
Dir::Cache "$folder/cache";
APT::Sandbox::User "$(id --user --name)";
Acquire::Retries "3";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
CONF
  # A mirror that does not have this release is no failure as long as another one does: the download decides.
  own_apt "$release" apt-get update >>"$log" 2>&1 || true
}

fetch() {
  local release=$1
  shift
  (cd "$peers/$release/cache" && own_apt "$release" apt-get download "$@" >>"$log" 2>&1) ||
    die "cannot download $* from this machine's Debian mirror ($(tail --lines=1 "$log")): put the programs on PATH or see $log"
  mkdir --parents "$peers/root"
  for package in "$peers/$release/cache"/*.deb; do
    dpkg --extract "$package" "$peers/root" >>"$log" 2>&1 || die "cannot unpack $package, see $log"
    rm --force "$package"
  done
}

# A starter that finds the libraries unpacked beside the program.
link_program() {
  local name=$1 program
  program=$(cd "$peers/root" && find usr \( -type f -o -type l \) -path "*bin/$name" | head --lines=1)
  [ -n "$program" ] || die "$name is not where its package should have it: see $peers/root"
  mkdir --parents "$peers/bin"
  cat >"$peers/bin/$name" <<STARTER
#!/bin/sh
root=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")/root
libraries=\$(find "\$root/usr/lib" "\$root/lib" -maxdepth 1 -type d -name '*-linux-*' 2>/dev/null | tr '\n' ':')
LD_LIBRARY_PATH="\$libraries\${LD_LIBRARY_PATH:-}" exec "\$root/$program" "\$@"
STARTER
  chmod +x "$peers/bin/$name"
}

install_consul() {
  if ! locate consul >/dev/null; then
    prepare_apt bullseye
    fetch bullseye consul
    link_program consul
  fi
  echo "consul: $(locate consul) ($(consul_version))"
}

consul_version() { "$(locate consul)" version 2>/dev/null | head --lines=1 || echo "does not start"; }

# Unpacks packages of this machine's release with all that an installation would add: libraries, and what they depend on.
fetch_release() {
  local release
  local -a packages=()
  release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  prepare_apt "$release"
  # Simulating needs no rights.
  mapfile -t packages < <(own_apt "$release" apt-get install --simulate --no-install-recommends "$@" 2>>"$log" |
    awk '$1 == "Inst" { print $2 }')
  [ ${#packages[@]} -gt 0 ] || die "no package for $* on this machine's mirror, see $log"
  fetch "$release" "${packages[@]}"
}

install_bench() {
  local name
  local -a missing=()
  for name in haproxy nginx wrk; do locate "$name" >/dev/null || missing+=("$name"); done
  if [ ${#missing[@]} -gt 0 ]; then
    fetch_release "${missing[@]/#nginx/nginx-light}"
    for name in "${missing[@]}"; do link_program "$name"; done
  fi
  for name in haproxy nginx wrk; do echo "$name: $(locate "$name")"; done
}

install_brokers() {
  local name
  local -a missing=() packages=()
  local -A package_of=(
    ["redis-server"]=redis-server ["redis-cli"]=redis-tools ["mosquitto"]=mosquitto
    ["mosquitto_pub"]=mosquitto-clients ["mosquitto_sub"]=mosquitto-clients ["rabbitmq-server"]=rabbitmq-server
  )
  for name in "${!package_of[@]}"; do
    locate "$name" >/dev/null && continue
    missing+=("$name")
    packages+=("${package_of[$name]}")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    fetch_release "${packages[@]}"
    for name in "${missing[@]}"; do
      if [ "$name" = rabbitmq-server ]; then link_rabbit; else link_program "$name"; fi
    done
  fi
  for name in "${!package_of[@]}"; do echo "$name: $(locate "$name")"; done
}

# RabbitMQ runs on Erlang, whose own starter knows no other place than /usr/lib/erlang.
link_rabbit() {
  local server
  server=$(cd "$peers/root" && find usr/lib/rabbitmq/lib -path '*/sbin/rabbitmq-server' | head --lines=1)
  [ -n "$server" ] || die "rabbitmq-server is not where its package should have it: see $peers/root"
  mkdir --parents "$peers/bin"
  if ! command -v erl >/dev/null; then
    cat >"$peers/bin/erl" <<'STARTER'
#!/bin/sh
root=$(dirname "$(dirname "$(readlink -f "$0")")")/root
libraries=$(find "$root/usr/lib" "$root/lib" -maxdepth 1 -type d -name '*-linux-*' 2>/dev/null | tr '\n' ':')
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:-}" ROOTDIR="$root/usr/lib/erlang" EMU=beam PROGNAME=erl
BINDIR=$(dirname "$(find "$ROOTDIR" -path '*/erts-*/bin/erlexec' | head -n 1)")
export BINDIR
exec "$BINDIR/erlexec" "$@"
STARTER
    chmod +x "$peers/bin/erl"
  fi
  command -v epmd >/dev/null || link_program epmd
  cat >"$peers/bin/rabbitmq-server" <<STARTER
#!/bin/sh
bin=\$(dirname "\$(readlink -f "\$0")")
PATH="\$bin:\$PATH" exec "\$(dirname "\$bin")/root/$server" "\$@"
STARTER
  chmod +x "$peers/bin/rabbitmq-server"
}

install_clients() {
  local name
  local -a packages=() missing=()
  local -A package_of=(["nghttp"]=nghttp2-client ["h2load"]=nghttp2-client ["openssl"]=openssl ["curl"]=curl)
  for name in "${!package_of[@]}"; do
    locate_client "$name" >/dev/null && continue
    missing+=("$name")
    packages+=("${package_of[$name]}")
  done
  locate_python >/dev/null || packages+=(python3-grpcio python3-websockets python3-h2)
  if [ ${#packages[@]} -gt 0 ]; then
    fetch_release "${packages[@]}"
    for name in ${missing[@]+"${missing[@]}"}; do link_program "$name"; done
    locate_python >/dev/null || link_python
  fi
  for name in "${!package_of[@]}"; do echo "$name: $(locate_client "$name")"; done
  echo "python3: $(locate_python)"
}

# Some builds of curl leave HTTP/2 out.
locate_client() {
  local program
  program=$(locate "$1") || return 1
  [ "$1" != curl ] || "$program" --version | grep --quiet HTTP2 || return 1
  echo "$program"
}

# The python3 that has the modules; the one on PATH may be another than the packages are for.
locate_python() {
  local python
  for python in /usr/bin/python3 "$peers/bin/python3"; do
    [ -x "$python" ] && "$python" -c "$python_modules" 2>/dev/null && echo "$python" && return 0
  done
  return 1
}

# The release's python3 (the machine's or an unpacked one) with the modules unpacked beside it.
link_python() {
  local program=/usr/bin/python3
  [ -x "$program" ] || program=$(find "$peers/root/usr/bin" -name 'python3.[0-9]*' | head --lines=1)
  [ -n "$program" ] || die "no python3: put one at /usr/bin/python3 that has grpc, websockets and h2"
  mkdir --parents "$peers/bin"
  cat >"$peers/bin/python3" <<STARTER
#!/bin/sh
root=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")/root
libraries=\$(find "\$root/usr/lib" "\$root/lib" -maxdepth 1 -type d -name '*-linux-*' 2>/dev/null | tr '\n' ':')
export LD_LIBRARY_PATH="\$libraries\${LD_LIBRARY_PATH:-}" PYTHONPATH="\$root/usr/lib/python3/dist-packages"
exec "$program" "\$@"
STARTER
  chmod +x "$peers/bin/python3"
  "$peers/bin/python3" -c "$python_modules" 2>>"$log" || die "python3 does not find its modules ($python_modules), see $log"
}

install_security() {
  local name
  local -a missing=()
  for name in testssl faketime; do locate "$name" >/dev/null || missing+=("$name"); done
  if [ ${#missing[@]} -gt 0 ]; then
    fetch_release "${missing[@]/#testssl/testssl.sh}"
    for name in "${missing[@]}"; do "link_$name"; done
  fi
  for name in testssl faketime; do echo "$name: $(locate "$name")"; done
}

# A script that looks for its data beside itself.
link_testssl() {
  mkdir --parents "$peers/bin"
  cat >"$peers/bin/testssl" <<'STARTER'
#!/bin/sh
root=$(dirname "$(dirname "$(readlink -f "$0")")")/root
TESTSSL_INSTALL_DIR=$(find "$root/usr/share" "$root/etc" -maxdepth 1 -name 'testssl*' | head -n 1)
export TESTSSL_INSTALL_DIR
exec bash "$root/usr/bin/testssl" "$@"
STARTER
  chmod +x "$peers/bin/testssl"
}

# Its own starter knows no other place of the library than the system's.
link_faketime() {
  mkdir --parents "$peers/bin"
  cat >"$peers/bin/faketime" <<'STARTER'
#!/bin/sh
root=$(dirname "$(dirname "$(readlink -f "$0")")")/root
[ "$1" != -f ] || shift
FAKETIME=$1
LD_PRELOAD=$(find "$root/usr/lib" -name libfaketime.so.1 | head -n 1)
export FAKETIME LD_PRELOAD
shift
exec "$@"
STARTER
  chmod +x "$peers/bin/faketime"
}

# Of a Java runtime the one package that keytool is in: it needs none of those for screens and sound.
install_java() {
  local release package
  if ! locate keytool >/dev/null; then
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    prepare_apt "$release"
    package=$(own_apt "$release" apt-cache depends default-jre-headless 2>>"$log" |
      awk '$2 ~ /^openjdk-[0-9]+-jre-headless$/ { package = $2 } END { print package }') || true
    [ -n "$package" ] || die "this machine's mirror has no default-jre-headless, see $log"
    fetch "$release" "$package"
    relink_etc
    link_program keytool
  fi
  echo "keytool: $(locate keytool)"
}

# Java's settings are links to /etc, where nothing was installed.
relink_etc() {
  local link
  find "$peers/root/usr/lib/jvm" -type l -lname '/etc/*' | while IFS= read -r link; do
    ln --symbolic --relative --force --no-dereference "$peers/root$(readlink "$link")" "$link"
  done
}

mkdir --parents "$peers"
# Two runs at once would unpack into each other's files.
exec 9>"$peers/lock"
flock --timeout 600 9 || die "another installation holds $peers/lock"

case "${1:-}" in
  consul) install_consul ;;
  bench) install_bench ;;
  brokers) install_brokers ;;
  clients) install_clients ;;
  security) install_security ;;
  java) install_java ;;
  *) die "say what to install: consul, bench, brokers, clients, security or java" ;;
esac
