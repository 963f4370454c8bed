#!/bin/sh
# PHP-FPM as an unmodified worker: a new version of the code, the configuration or PHP takes over without a closed listener.
#
#     start_server --port=127.0.0.1:9000 --signal-on-hup=QUIT --signal-on-term=QUIT --ready=accepting -- \
#         examples/php-fpm/worker.sh /srv/app/php-fpm.conf
#
# As in its own reload, PHP-FPM takes the listeners that FPM_SOCKETS names: ADDRESS=FD, joined by commas. It matches them with
# `listen` of its pools, here `listen = 127.0.0.1:9000`. When it exits, it removes the file of a unix socket, which the next one
# still needs. So for --path=/run/app/php.sock, use `listen = /dev/null/run/app/php.sock`, where there is nothing to remove.
#
# On QUIT it finishes its requests, if `process_control_timeout` in its configuration gives it enough seconds. PHP_FPM names the
# program. The default is php-fpm, or the newest of Debian's, which have their version in the name.
FPM_SOCKETS=$(printf %s "$SERVER_STARTER_PORT" | tr ';' '\n' | sed 's,^/,/dev/null/,' | paste -s -d , -)
export FPM_SOCKETS
fpm=${PHP_FPM:-$(command -v php-fpm || printf '%s\n' /usr/sbin/php-fpm[0-9]* | sort -V | tail -n 1)}
exec "$fpm" --nodaemonize --fpm-config "$1"
