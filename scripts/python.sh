# Sourced: which Python an environment is made with.

# Those that every pinned package has a wheel for, newest first.
pythons="3.13 3.12 3.11"
expected_python="expected Python 3.11, 3.12 or 3.13"

# Prints the command of a Python of version $1, such as 3.12, that can make an environment; fails where none is there.
# Each is run, not only looked for: pyenv has a python3.12 that fails until it is selected, Debian's lacks ensurepip
# without python3.12-venv. One that pyenv installed and nobody selected is taken where it lies.
find_python() {
    local candidate
    for candidate in "python$1" "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$1".*[0-9]/bin/python; do
        if "$candidate" -c 'import ensurepip, venv' > /dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# Prints the command of the Python to take: $PYTHON where it is set, else the newest that is there.
choose_python() {
    local version
    if [ -n "${PYTHON:-}" ]; then
        echo "$PYTHON"
        return
    fi
    for version in $pythons; do
        find_python "$version" && return
    done
    echo "$expected_python with venv, got none; install one (Debian 12 and 13, Ubuntu 24.04: apt-get install" \
        "python3-venv; Fedora: dnf install python3.13) or name one as PYTHON." >&2
    return 1
}

# Prints the version of the Python $1, such as 3.12.
python_version() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'
}

# Fails with a sentence unless the Python $1 is of a version in $pythons; $2 is what to do about it.
check_python() {
    local version
    version=$(python_version "$1" 2> /dev/null) || version="none that runs"
    case " $pythons " in
        *" $version "*) ;;
        *)
            echo "$1: $expected_python, got $version; $2." >&2
            return 1
            ;;
    esac
}
