#!/bin/sh
# PHP-FPM as an unmodified worker: a new version of the code, the configuration or PHP takes over without a closed listener.
#
#     start_server --port=127.0.0.1:9000 --signal-on-hup=QUIT --signal-on-term=QUIT --ready=accepting -- \
#         examples/php-fpm/worker.sh /srv/app/php-fpm.conf
#
# PHP-FPM takes the listeners that FPM_SOCKETS names, as its own reload does it: ADDRESS=FD, joined by commas. It matches them
# with `listen` of its pools, here `listen = 127.0.0.1:9000`.
FPM_SOCKETS=$(printf %s "$SERVER_STARTER_PORT" | tr ';' ',')
export FPM_SOCKETS
exec "${PHP_FPM:-php-fpm}" --nodaemonize --fpm-config "$1"
