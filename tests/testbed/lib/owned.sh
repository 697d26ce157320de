# shellcheck shell=bash
# A directory and a few servers that live exactly as long as somebody holds our standard input open.
# Touches nothing outside the directory it is given; the servers die with this script even if it is killed.

die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# The directory is ours from here on and goes when we go, so it must not hold anything of somebody else's.
own() { # DIRECTORY
  [[ ! -e $1 || (-d $1 && -z $(ls -A "$1")) ]] || die "$1 exists and is not an empty directory"
  mkdir -p "$1/log"
  owned=$(cd "$1" && pwd)
  servers=()
  trap disown_all EXIT
  trap 'exit 143' TERM
  trap 'exit 130' INT
  trap 'exit 129' HUP
}

# What these servers know is thrown away with them, so nobody waits for a graceful end.
disown_all() {
  trap - EXIT
  stop_servers
  [[ -z ${reader:-} ]] || kill "$reader" 2>/dev/null || true
  rm -rf "$owned"
}

stop_servers() {
  [[ ${#servers[@]} -gt 0 ]] || return 0
  kill -KILL "${servers[@]}" 2>/dev/null || true
  wait "${servers[@]}" 2>/dev/null || true
  servers=()
}

# The kernel ends the server when this script is gone, whatever ended the script.
serve() { # NAME COMMAND...
  local name=$1
  shift
  setpriv --pdeathsig KILL "$@" >>"$owned/log/$name.log" 2>&1 </dev/null &
  servers+=("$!")
}

# Polls until the command succeeds; gives up when a server has ended or the time is over.
await() { # SECONDS COMMAND...
  local deadline=$((SECONDS + $1)) pid
  shift
  until "$@" >/dev/null 2>&1; do
    for pid in "${servers[@]}"; do kill -0 "$pid" 2>/dev/null || return 1; done
    [[ $SECONDS -lt $deadline ]] || return 1
    sleep 0.05
  done
}

# Below the ephemeral range, so that no outgoing connection takes it between our look and the server's bind.
# The look is only a courtesy: two of us may choose the same, and the caller starts over when a bind failed.
free_port() {
  local port
  while port=$((RANDOM % 12000 + 20000)); do
    (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null || break
  done
  echo "$port"
}

show_logs() {
  local log
  for log in "$owned"/log/*.log; do
    printf -- '--- %s\n' "${log##*/}" >&2
    tail -n 20 "$log" >&2
  done
}

# Returns at the end of standard input (the owner closed it or died), or fails when the owner wants a restart; a server
# that ends first is an error.
until_eof() {
  local line ended status=0
  (while read -r line <&3; do [[ $line != restart ]] || exit 4; done) >/dev/null &
  reader=$!
  wait -n -p ended "$reader" "${servers[@]}" || status=$?
  if [[ ${ended:-} == "$reader" ]]; then
    reader=
    [[ $status -ne 4 ]]
    return
  fi
  show_logs
  die "a server ended by itself"
}
exec 3<&0
