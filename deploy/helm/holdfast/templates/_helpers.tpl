{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* Labels of every object. Takes (list ROOT COMPONENT). */}}
{{- define "holdfast.labels" -}}
{{- $root := index . 0 -}}
{{ include "holdfast.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: holdfast
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end }}

{{/* Labels that select a component's pods; they never change. Takes (list ROOT COMPONENT). */}}
{{- define "holdfast.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ printf "holdfast-%s" (index . 1) }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* An image's reference. Takes (list ROOT IMAGE). */}}
{{- define "holdfast.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- with $root.Values.image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.name -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}{{ end -}}
{{- end }}

{{/* A part of an amount of memory, for GOMEMLIMIT. Takes (list QUANTITY PERCENT). */}}
{{- define "holdfast.memory" -}}
{{- $quantity := index . 0 | toString -}}
{{- $number := regexFind "^[0-9]+" $quantity | int64 -}}
{{- $mebibytes := ternary (mul $number 1024) $number (hasSuffix "Gi" $quantity) -}}
{{- div (mul $mebibytes (index . 1)) 100 -}}MiB
{{- end }}

{{/* Settings as flags, in the order of their names. Takes a mapping. */}}
{{- define "holdfast.flags" -}}
{{- range $name, $value := . }}
{{- if kindIs "slice" $value }}
- {{ printf "--%s=%s" $name (join "," $value) | quote }}
{{- else if kindIs "float64" $value }}
- {{ printf "--%s=%d" $name (int64 $value) | quote }}
{{- else }}
- {{ printf "--%s=%v" $name $value | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* The capabilities of the agent, by feature, as a JSON list; docs/install.md says what each is for. */}}
{{- define "holdfast.agent.capabilities" -}}
{{- $caps := list "BPF" "PERFMON" -}}
{{- with .Values.agent.features -}}
{{- if .network }}{{ $caps = append $caps "NET_ADMIN" }}{{ end -}}
{{- if .lateVerdict }}{{ $caps = append $caps "KILL" }}{{ end -}}
{{- if or .lateVerdict .probes }}{{ $caps = append $caps "SYS_PTRACE" }}{{ end -}}
{{- if .linux510 }}{{ $caps = append $caps "SYS_RESOURCE" }}{{ end -}}
{{- end -}}
{{- $kept := list -}}
{{- range (concat $caps .Values.agent.capabilities.add | uniq) -}}
{{- if not (has . $.Values.agent.capabilities.omit) }}{{ $kept = append $kept . }}{{ end -}}
{{- end -}}
{{- toJson $kept -}}
{{- end }}

{{/* Files with the content of agent.files, by name, as the data of a ConfigMap; empty where no content is given. */}}
{{- define "holdfast.agent.files" -}}
{{- range $setting, $content := .Values.agent.files }}
{{- if $content }}
{{ $setting }}.yaml: |
  {{- toYaml $content | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* HOST:PORT of the collector. */}}
{{- define "holdfast.agent.collector" -}}
{{- .Values.agent.collectorAddress | default (printf "holdfast-collector.%s.svc:8443" .Release.Namespace) -}}
{{- end }}

{{/* HOST:PORT that the agent serves metrics and probes on. */}}
{{- define "holdfast.agent.metrics" -}}
{{- with .Values.agent -}}
{{- printf "%s:%d" (ternary "127.0.0.1" "" (and .hostNetwork (not .metrics.expose))) (int .metrics.port) -}}
{{- end -}}
{{- end }}

{{/* A probe's request to the agent. Takes (list ROOT PATH). */}}
{{- define "holdfast.agent.probe" -}}
{{- with (index . 0).Values.agent -}}
httpGet:
  {{- if and .hostNetwork (not .metrics.expose) }}
  host: 127.0.0.1
  {{- end }}
  path: {{ index $ 1 }}
  port: metrics
{{- end }}
{{- end }}

{{/* What no single value is wrong about. */}}
{{- define "holdfast.validate" -}}
{{- with .Values -}}
{{- if and (not .collector.enabled) (not .agent.collectorAddress) -}}
{{- fail "agent.collectorAddress: is needed when collector.enabled is false: agents have nobody to report to" -}}
{{- end -}}
{{- if and .agent.collectorAddress (not .agent.joinToken.secret) (not .collector.enabled) -}}
{{- fail "agent.joinToken.secret: is needed with a collector outside the cluster, which cannot check ServiceAccount tokens of this one" -}}
{{- end -}}
{{- if and (not .agent.joinToken.secret) (not .collector.enrol) -}}
{{- fail "collector.enrol: is false, so agents need agent.joinToken.secret" -}}
{{- end -}}
{{- if and (eq .agent.seccompProfile.type "Localhost") (not .agent.seccompProfile.localhostProfile) -}}
{{- fail "agent.seccompProfile.localhostProfile: is needed with type Localhost" -}}
{{- end -}}
{{- if and (eq .agent.appArmorProfile.type "Localhost") (not .agent.appArmorProfile.localhostProfile) -}}
{{- fail "agent.appArmorProfile.localhostProfile: is needed with type Localhost" -}}
{{- end -}}
{{- if and (index .agent.files "waf-crs-file") (not (index .agent.settings "waf-crs")) -}}
{{- fail "agent.files.waf-crs-file: has no meaning without agent.settings.waf-crs" -}}
{{- end -}}
{{- range .agent.capabilities.omit -}}
{{- if has . $.Values.agent.capabilities.add -}}
{{- fail (printf "agent.capabilities: %s is both in add and in omit" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
