complete -c start_server -l path -d 'Listen to a unix socket; may be repeated' -r -F
complete -c start_server -l dir -d 'The working directory of workers' -r -f -a "(__fish_complete_directories)"
complete -c start_server -l envdir -d 'Variables for workers, each in a file of its name; read again for each new worker' -r -f -a "(__fish_complete_directories)"
complete -c start_server -l pid-file -d 'Holds the pid of the superdaemon, which locks it' -r -F
complete -c start_server -l status-file -d 'Holds a line GENERATION:PID for each worker' -r -F
complete -c start_server -l log-file -d 'Append stdout and stderr to FILE, or pipe them to a command: "|COMMAND"' -r -F
complete -c start_server -l approve -d 'Ask COMMAND about each new worker: unless it exits with 0, the old one goes on' -r -f -a "(__fish_complete_command)"
complete -c start_server -l signal-on-hup -d 'What stops old workers in a restart [default: TERM]' -r -f -a "HUP\t''
INT\t''
QUIT\t''
KILL\t''
USR1\t''
USR2\t''
TERM\t''
WINCH\t''"
complete -c start_server -l signal-on-term -d 'What stops workers on TERM; on INT it is TERM [default: TERM]' -r -f -a "HUP\t''
INT\t''
QUIT\t''
KILL\t''
USR1\t''
USR2\t''
TERM\t''
WINCH\t''"
complete -c start_server -l ready -d 'How a new worker shows that it has started: "interval", it lives; "notify", it says so to NOTIFY_SOCKET; "accepting", it waits for connections [default: interval]' -r -f -a "interval\t''
notify\t''
accepting\t''"
complete -c start_server -l port -d 'Listen to a TCP port, or to a UDP port: uPORT; workers find it at FD; may be repeated' -r -f
complete -c start_server -l backlog -d 'How many connections may wait [default: 4096]' -r -f
complete -c start_server -l interval -d 'Seconds a new worker must stay alive to count as started [default: 1]' -r -f
complete -c start_server -l kill-old-delay -d 'How long old workers go on when a new one has started [default: 0; 5 with --enable-auto-restart]' -r -f
complete -c start_server -l auto-restart-interval -d 'Seconds between automatic restarts [default: 360]' -r -f
complete -c start_server -l ready-timeout -d 'A worker that is not ready by then is stopped, and has failed [default: 60]' -r -f
complete -c start_server -l max-start-failures -d 'Failed starts in a row after which a restart is given up [default: never]' -r -f
complete -c start_server -l kill-timeout -d 'Seconds after its stop signal until a worker gets KILL [default: never]' -r -f
complete -c start_server -l stop-delay -d 'Seconds that workers keep serving after TERM, INT or QUIT [default: none]' -r -f
complete -c start_server -l restart-timeout -d 'Seconds that --restart waits [default: for ever]' -r -f
complete -c start_server -l enable-auto-restart -d 'Restart regularly'
complete -c start_server -l daemonize -d 'Run in the background; needs --log-file'
complete -c start_server -l restart -d 'Restart the workers and wait until only the new one is left'
complete -c start_server -l stop -d 'Stop the superdaemon and wait for its end'
complete -c start_server -l help -d 'Print this help'
complete -c start_server -l version -d 'Print 0.35, the version of Server::Starter that it replaces'
complete -c start_server -l end-without-worker -d 'End when so many starts have failed and no worker serves'
complete -c start_server -l refuse-on-stop -d 'Refuse new connections as soon as all workers are stopped'
complete -c start_server -l process-group -d 'Stop workers with what they have started'
complete -c start_server -l restart-or-start -d 'Restart if the superdaemon is alive, or else start'
complete -c start_server -l show-status -d 'Show workers and listeners, and exit'
complete -c start_server -l json -d 'With --show-status: as JSON'
complete -c start_server -l quiet -d 'With --show-status: by the exit status alone'
complete -c start_server -l upgrade -d 'Let the program that is on disk by now go on in the place of the superdaemon of --pid-file'
complete -c start_server -l take-over -d 'Let this program go on in the place of the Perl original of --pid-file, in the same process'
complete -c start_server -l sd-notify -d 'Tell systemd of the first worker, of restarts and of the end (Type=notify)'
complete -c start_server -l from-systemd -d 'Take over the listeners of systemd\'s sockets'
complete -c start_server -l listen-fds -d 'Workers also get LISTEN_FDS, as from systemd'

function __start_server_program
    set -l words (commandline -opc) (commandline -ct)
    set -l at (contains -i -- -- $words)
    and complete -C (string join ' ' -- $words[(math $at + 1)..-1])
end
complete -c start_server -n 'contains -- -- (commandline -opc)' -f -a '(__start_server_program)'
