complete -c start_server -l path -d 'Listen on a unix socket; may be repeated' -r -F
complete -c start_server -l dir -d 'The working directory of workers' -r -f -a "(__fish_complete_directories)"
complete -c start_server -l envdir -d 'Variables for workers, each in a file of its name; read again for each new worker' -r -f -a "(__fish_complete_directories)"
complete -c start_server -l pid-file -d 'Holds the pid of the superdaemon, which locks it' -r -F
complete -c start_server -l status-file -d 'Holds a line GENERATION:PID for each worker' -r -F
complete -c start_server -l log-file -d 'Append stdout and stderr to FILE, or pipe them to a command: "|COMMAND"' -r -F
complete -c start_server -l approve -d 'Ask COMMAND about each new worker: unless it exits with 0, the old one keeps running' -r -f -a "(__fish_complete_command)"
complete -c start_server -l signal-on-hup -d 'What stops old workers in a restart [default: TERM]' -r -f -a "HUP\t''
INT\t''
QUIT\t''
KILL\t''
USR1\t''
USR2\t''
TERM\t''
WINCH\t''"
complete -c start_server -l signal-on-term -d 'What stops workers on TERM or QUIT; on INT it is TERM [default: TERM]' -r -f -a "HUP\t''
INT\t''
QUIT\t''
KILL\t''
USR1\t''
USR2\t''
TERM\t''
WINCH\t''"
complete -c start_server -l ready -d 'When a new worker has started: "interval", when it has survived; "notify", when it reports so to NOTIFY_SOCKET; "accepting", when it waits for connections [default: interval]' -r -f -a "interval\t''
notify\t''
accepting\t''"
complete -c start_server -l port -d 'Listen on a TCP port, or on a UDP port: uPORT; workers find it at FD; may be repeated' -r -f
complete -c start_server -l backlog -d 'How many connections may wait [default: 4096]' -r -f
complete -c start_server -l interval -d 'How long a new worker must survive to count as started [default: 1]' -r -f
complete -c start_server -l kill-old-delay -d 'How long to keep old workers after a new one has started [default: 0; 5 with --enable-auto-restart]' -r -f
complete -c start_server -l auto-restart-interval -d 'Seconds between automatic restarts [default: 360]' -r -f
complete -c start_server -l ready-timeout -d 'Stop a new worker that is not ready after SECS; its start has failed [default: 60]' -r -f
complete -c start_server -l max-start-failures -d 'Give up a restart after N failed starts in a row [default: never]' -r -f
complete -c start_server -l kill-timeout -d 'Kill a worker that has not exited SECS after its stop signal [default: never]' -r -f
complete -c start_server -l stop-delay -d 'Keep serving for SECS after TERM, INT or QUIT [default: none]' -r -f
complete -c start_server -l restart-timeout -d 'How long --restart waits [default: for ever]' -r -f
complete -c start_server -l enable-auto-restart -d 'Restart regularly'
complete -c start_server -l daemonize -d 'Run in the background; requires --log-file'
complete -c start_server -l restart -d 'Restart the workers and wait until only the new one is left'
complete -c start_server -l stop -d 'Stop the superdaemon and wait until it has exited'
complete -c start_server -l help -d 'Print this help'
complete -c start_server -l version -d 'Print 0.35, the Server::Starter version it replaces'
complete -c start_server -l end-without-worker -d 'Exit if N starts have failed and no worker serves'
complete -c start_server -l refuse-on-stop -d 'Refuse new connections as soon as all workers are told to stop'
complete -c start_server -l process-group -d 'Signal a worker\'s whole process group'
complete -c start_server -l restart-or-start -d 'Restart if the superdaemon is running, otherwise start'
complete -c start_server -l show-status -d 'Show workers and listeners, and exit'
complete -c start_server -l json -d 'With --show-status: print JSON'
complete -c start_server -l quiet -d 'With --show-status: print nothing'
complete -c start_server -l upgrade -d 'Replace the running superdaemon with the newly installed program, in the same process'
complete -c start_server -l take-over -d 'Replace a running Perl start_server with this program, in the same process'
complete -c start_server -l sd-notify -d 'Report readiness, reloads and shutdown to systemd (Type=notify)'
complete -c start_server -l from-systemd -d 'Take the listeners of systemd\'s sockets'
complete -c start_server -l listen-fds -d 'Workers also get LISTEN_FDS, as from systemd'

function __start_server_program
    set -l words (commandline -opc) (commandline -ct)
    set -l at (contains -i -- -- $words)
    and complete -C (string join ' ' -- $words[(math $at + 1)..-1])
end
complete -c start_server -n 'contains -- -- (commandline -opc)' -f -a '(__start_server_program)'
