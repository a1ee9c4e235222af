{{- define "llm-cost-exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "llm-cost-exporter.fullname" -}}
{{- $name := include "llm-cost-exporter.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "llm-cost-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "llm-cost-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "llm-cost-exporter.labels" -}}
{{ include "llm-cost-exporter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The start of every object: name with an optional suffix, namespace, labels. Takes (list $ suffix more-labels). */}}
{{- define "llm-cost-exporter.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "llm-cost-exporter.fullname" $root }}{{ with index . 1 }}-{{ . }}{{ end }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "llm-cost-exporter.labels" $root | nindent 2 }}
  {{- with index . 2 }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "llm-cost-exporter.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "llm-cost-exporter.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "llm-cost-exporter.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end }}

{{/* What the ClusterRole grants for the config's `kubernetes` collectors: "" without one, "nodes pods", or "nodes pods
namespaces" if one has namespace_labels. */}}
{{- define "llm-cost-exporter.granted" -}}
{{- $granted := "" -}}
{{- range (include "llm-cost-exporter.config" . | fromYaml).collectors -}}
{{- if eq (toString .kind) "kubernetes" -}}
{{- $granted = ternary "nodes pods namespaces" (default "nodes pods" $granted) (not (empty .namespace_labels)) -}}
{{- end -}}
{{- end -}}
{{- if and (eq .Values.role "cluster") .Values.rbac.create -}}{{- $granted -}}{{- end -}}
{{- end }}

{{/* The config file. A text is taken as it is; a mapping gets the chart's role. */}}
{{- define "llm-cost-exporter.config" -}}
{{- if kindIs "string" .Values.config -}}
{{- .Values.config -}}
{{- else -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.config) (dict "role" .Values.role)) -}}
{{- end -}}
{{- end }}
