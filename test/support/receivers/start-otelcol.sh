#!/usr/bin/env bash
# OpenTelemetry Collector: OTLP/HTTP (JSON and protobuf, gzip) in, OTLP JSON lines out in $RUN/otelcol-PORT/logs.jsonl. Args: [otlp http port]
. "$(dirname "$0")/common.sh"
P=${1:-14318}; V=0.165.0; D=$CACHE/otelcol; H=$RUN/otelcol-$P
build() {
  go_install "go.opentelemetry.io/collector/cmd/builder@v$V"
  rm -rf "$D"; mkdir -p "$D"
  cat > "$D/manifest.yaml" <<C
dist: { name: otelcol-audit, output_path: $D/dist, version: $V }
receivers: [{ gomod: "go.opentelemetry.io/collector/receiver/otlpreceiver v$V" }]
exporters: [{ gomod: "github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter v$V" }]
C
  # its tidy may fail on test-only modules that a proxy does not carry; the build itself does not need them
  nice -n 19 "$CACHE/bin/builder" --config "$D/manifest.yaml" --skip-compilation > "$D/builder.log" 2>&1 || true
  cd "$D/dist"
  go list -mod=mod -deps . >/dev/null
  low go build -mod=mod -trimpath -ldflags='-s -w' -o "$CACHE/bin/otelcol-audit" .
}
program bin/otelcol-audit "otelcol-$V" build
mkdir -p "$H"
cat > "$H/config.yaml" <<C
receivers: { otlp: { protocols: { http: { endpoint: "127.0.0.1:$P" } } } }
exporters: { file: { path: "$H/logs.jsonl", flush_interval: 100ms, append: true } }
service:
  telemetry: { metrics: { level: none } }
  pipelines: { logs: { receivers: [otlp], exporters: [file] } }
C
launch otelcol "$P" 30 "$PROGRAM" --config "$H/config.yaml"
