#!/bin/sh
# nginx as an unmodified worker: a new configuration, or a new nginx, takes over without a closed listener.
#
#     start_server --port=127.0.0.1:8080 --signal-on-hup=QUIT --signal-on-term=QUIT --ready=accepting -- \
#         examples/nginx/worker.sh /srv/app/nginx.conf /run/app
#
# nginx takes the listeners whose descriptors NGINX names, each with a `;` behind it, as its own upgrade does it, and matches
# them by address with its `listen` directives: here `listen 127.0.0.1:8080;`. The configuration must say `daemon off;`, and
# nothing of `pid`: each generation has a pid file of its own in the directory, as an nginx removes its file when it ends, and
# would remove that of the next one.
NGINX="$(printf %s "$SERVER_STARTER_PORT" | sed 's,[^;]*=,,g');"
export NGINX
# nginx takes them for non-blocking, as its own are. Otherwise a process that comes too late for a connection sleeps in
# accept(2), and leaves its other connections and listeners alone until the next one comes.
perl -MFcntl -e '
    for (split /;/, $ENV{NGINX}) {
        open my $listener, "+<&=", $_ or die "descriptor $_: $!\n";
        fcntl $listener, F_SETFL, O_NONBLOCK | fcntl($listener, F_GETFL, 0) or die "descriptor $_: $!\n";
    }' || exit
exec nginx -c "$1" -e stderr -g "pid $2/nginx.$SERVER_STARTER_GENERATION.pid;"
