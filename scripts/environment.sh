# Sourced by the other scripts: makes .venv with the pinned packages of the requirements files given, once.
# Usage: . scripts/environment.sh requirements.txt
# VENV in the environment names another folder than .venv, PYTHON the Python to make it with (else: scripts/python.sh).

. scripts/python.sh

VENV="${VENV:-.venv}"
if [ ! -x "$VENV/bin/python" ]; then
    python=$(choose_python)
    check_python "$python" "name another as PYTHON"
    "$python" -m venv "$VENV"
fi
check_python "$VENV/bin/python" "delete $VENV to have it made anew"

for requirements in "$@"; do
    stamp="$VENV/$requirements.$(python_version "$VENV/bin/python").$(sha256sum requirements*.txt | sha256sum | cut -c1-16)"
    if [ ! -f "$stamp" ]; then
        echo "Installing $requirements (about four minutes and 8 GB the first time) ..."
        "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
        "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --editable .
        touch "$stamp"
    fi
done
