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
    # What synapse reloads from a template.
    [ -x /usr/sbin/nginx ] || packages+=(nginx-light)
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
