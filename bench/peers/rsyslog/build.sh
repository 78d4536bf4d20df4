#!/usr/bin/env bash
# rsyslog with its outputs for Elasticsearch and Kafka, unpacked from Debian's packages (not installed); prints the folder.
. "$(dirname "$0")/../../../test/support/receivers/common.sh"
D=$CACHE/rsyslog-peer
once rsyslog-peer deb_root "$D" rsyslog rsyslog-elasticsearch rsyslog-kafka libestr0 libfastjson4 liblognorm5 librdkafka1
echo "$D/root"
