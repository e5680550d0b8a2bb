{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* Resources of a container of clean-up. */}}
{{- define "holdfast.cleanUp.container" -}}
resources:
  requests:
    cpu: 10m
    memory: 32Mi
  limits:
    memory: 128Mi
{{- end }}
