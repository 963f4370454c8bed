#!/bin/sh
# nginx as an unmodified worker: a new configuration, or a new nginx, takes over without a closed listener.
#
#     start_server --port=127.0.0.1:8080 --signal-on-hup=QUIT --signal-on-term=QUIT --ready=accepting -- \
#         examples/nginx/worker.sh /srv/app/nginx.conf /run/app
#
# As in its own upgrade, nginx takes the listeners whose descriptors NGINX names, each followed by `;`, and matches them by
# address with its `listen` directives: here `listen 127.0.0.1:8080;`. The configuration must have `daemon off;` and no `pid`:
# each generation has its own pid file in the directory, because an nginx that exits removes its pid file, which might be that of
# the next one.
NGINX="$(printf %s "$SERVER_STARTER_PORT" | sed 's,[^;]*=,,g');"
export NGINX
# nginx assumes that they are non-blocking, as its own are. Otherwise a process that is too late for a connection sleeps in
# accept(2), and ignores its other connections and listeners until the next one arrives.
perl -MFcntl -e '
    for (split /;/, $ENV{NGINX}) {
        open my $listener, "+<&=", $_ or die "descriptor $_: $!\n";
        fcntl $listener, F_SETFL, O_NONBLOCK | fcntl($listener, F_GETFL, 0) or die "descriptor $_: $!\n";
    }' || exit
exec nginx -c "$1" -e stderr -g "pid $2/nginx.$SERVER_STARTER_GENERATION.pid;"
