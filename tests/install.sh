# Sourced by tests/run, deploy/demo and deploy/bench: installs Debian's packages, as root or through sudo.

# What the pair at work needs: HAProxy, ZooKeeper with a JRE, a C compiler for the build.
install_pair() {
    local packages=()
    command -v haproxy >/dev/null || [ -x /usr/sbin/haproxy ] || packages+=(haproxy)
    command -v java >/dev/null || packages+=(default-jre-headless)
    command -v curl >/dev/null || packages+=(curl)
    command -v cc >/dev/null || packages+=(gcc libc6-dev)
    [ -e /usr/share/java/zookeeper.jar ] || packages+=(libzookeeper-java)
    [ -e /usr/share/java/slf4j-simple.jar ] || packages+=(libslf4j-java)
    apt_install "${packages[@]}"
}

# What only tests need.
install_servers() {
    local packages=()
    # ZooKeeper serves TLS with it.
    [ -e /usr/share/java/netty-handler.jar ] || packages+=(libnetty-java)
    # What nerve's checks are tried on.
    [ -x /usr/sbin/mariadbd ] || packages+=(mariadb-server)
    command -v memcached >/dev/null || packages+=(memcached)
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || packages+=(postgresql)
    [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || packages+=(rabbitmq-server)
    command -v redis-server >/dev/null || packages+=(redis-server)
    # Reads the units.
    command -v systemd-analyze >/dev/null || packages+=(systemd)
    # What synapse reloads from a template.
    [ -x /usr/sbin/nginx ] || packages+=(nginx-light)
    apt_install "${packages[@]}"
    unpack_haproxy_3
}

# HAProxy 3.0 beside this machine's own: Debian 13's packages, unpacked into target/haproxy-3.0 and not installed, with the
# libraries they were built for. Everything apt needs for it lives there too, so that no source stays behind.
unpack_haproxy_3() {
    local to=${CARGO_TARGET_DIR:-target}/haproxy-3.0
    if [[ -x "$to/haproxy" && "$("$to/haproxy" -v 2>/dev/null)" == "HAProxy version 3."* ]]; then
        return
    fi
    echo "unpacking HAProxy 3.0 of Debian 13 into $to"
    rm -rf "$to"
    mkdir -p "$to/apt/lists/partial" "$to/apt/archives/partial" "$to/debs" "$to/unpacked"
    to=$(cd "$to" && pwd)
    local mirror
    mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(SITE)' 'Created-By: Packages' |
        awk '$1 == "Debian" && $2 == "Debian" { print $3; exit }')
    if [ -z "$mirror" ]; then
        echo "no mirror of Debian among this machine's apt sources: the tests with HAProxy 3.0 can't run" >&2
        return 1
    fi
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$to/apt/sources.list"
    : >"$to/apt/status"
    local private=(
        -q=2 -o "Dir::Etc::sourcelist=$to/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State=$to/apt"
        -o "Dir::State::status=$to/apt/status" -o "Dir::Cache=$to/apt" -o "APT::Sandbox::User=$(id -un)"
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
    )
    # shellcheck disable=SC2046 # packages are words
    apt-get "${private[@]}" update &&
        (cd "$to/debs" && apt-get "${private[@]}" download haproxy $(libraries_of_haproxy_3)) ||
        { echo "Debian 13's packages can't be had from $mirror: the tests with HAProxy 3.0 can't run" >&2; return 1; }
    local package
    for package in "$to"/debs/*.deb; do
        dpkg -x "$package" "$to/unpacked"
    done
    local loader=("$to"/unpacked/usr/lib/*/ld-linux-*.so.*)
    # The master executes itself anew at each reload by its first argument, which therefore has to be this script.
    cat >"$to/haproxy" <<SCRIPT
#!/bin/sh
exec "${loader[0]}" --argv0 "$to/haproxy" --library-path "${loader[0]%/*}" "$to/unpacked/usr/sbin/haproxy" "\$@"
SCRIPT
    chmod +x "$to/haproxy"
    rm -rf "$to/apt" "$to/debs"
    "$to/haproxy" -v
}

# What it is linked to.
libraries_of_haproxy_3() {
    echo libc6 libgcc-s1 libstdc++6 libcrypt1 libssl3t64 libpcre2-8-0 liblua5.4-0 libjemalloc2 libopentracing1 \
        libopentracing-c-wrapper0t64 libzstd1 zlib1g
}

# What the manifests of Kubernetes are rendered and checked with.
install_manifests() {
    local packages=()
    command -v kubectl >/dev/null || packages+=(kubernetes-client)
    python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
    apt_install "${packages[@]}"
}

# What the Debian packages are tried with.
install_packaging() {
    local packages=()
    command -v docker >/dev/null || packages+=(docker.io)
    command -v debootstrap >/dev/null || [ -x /usr/sbin/debootstrap ] || packages+=(debootstrap)
    apt_install "${packages[@]}"
}

# Installs these packages; none is nothing to do.
apt_install() {
    # haproxy lives where only root's PATH looks.
    export PATH="$PATH:/usr/sbin:/sbin"
    if [ $# -eq 0 ]; then
        return
    fi
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo=(sudo)
        command -v sudo >/dev/null || {
            echo "missing: $*; install them, or run this as root or with sudo" >&2
            return 1
        }
    fi
    echo "installing $*"
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}
