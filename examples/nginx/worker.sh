#!/bin/sh
# nginx as an unmodified worker: a new configuration, or a new nginx, takes over without a closed listener.
#
#     start_server --port=127.0.0.1:8080 --signal-on-hup=QUIT --signal-on-term=QUIT --ready=accepting -- \
#         examples/nginx/worker.sh /srv/app/nginx.conf
#
# nginx takes the listeners whose descriptors NGINX names, each with a `;` behind it, as its own upgrade does it, and matches
# them by address with its `listen` directives: here `listen 127.0.0.1:8080;`. The configuration must say `daemon off;`.
NGINX="$(printf %s "$SERVER_STARTER_PORT" | sed 's,[^;]*=,,g');"
export NGINX
exec nginx -c "$1" -e stderr
