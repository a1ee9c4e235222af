{{/* The exporter's container, but for name, environment, probes and resources: the same in both roles. */}}
{{- define "llm-cost-exporter.container" -}}
image: {{ include "llm-cost-exporter.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - serve
  - --config.file=/etc/llm-cost-exporter/config.yaml
  - --log.level={{ .Values.log.level }}
  - --log.format={{ .Values.log.format }}
  {{- with .Values.extraArgs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - {name: llmcost, containerPort: 9482, protocol: TCP}
{{- with .Values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  - {name: llm-cost-config, mountPath: /etc/llm-cost-exporter, readOnly: true}
  - {name: llm-cost-data, mountPath: /data}
  - {name: llm-cost-tmp, mountPath: /tmp}
  {{- range .Values.secrets }}
  - {name: llm-cost-secret-{{ .name }}, mountPath: /etc/llm-cost-exporter-secrets/{{ .name }}, readOnly: true}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Its volumes, but for the data. */}}
{{- define "llm-cost-exporter.volumes" -}}
- name: llm-cost-config
  configMap: {name: {{ include "llm-cost-exporter.fullname" . }}}
- name: llm-cost-tmp
  emptyDir: {}
{{- range .Values.secrets }}
- name: llm-cost-secret-{{ .name }}
  secret: {secretName: {{ .secretName }}, defaultMode: 0444}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The native sidecar, an item of initContainers. It starts before the engine and ends after it, so it sees all of its
life. It has no readiness probe: an exporter must not take an engine out of service. */}}
{{- define "llm-cost-exporter.sidecar" -}}
- name: llm-cost-exporter
  restartPolicy: Always
  {{- include "llm-cost-exporter.container" . | nindent 2 }}
  env:
    - {name: WORKLOAD, value: {{ default .Values.engine.name .Values.sidecar.workload | quote }}}
    - {name: GPU, value: {{ .Values.sidecar.gpu | quote }}}
    - {name: GPUS, value: {{ .Values.sidecar.gpus | toString | quote }}}
    - {name: GPU_USD_PER_HOUR, value: {{ .Values.sidecar.gpuUsdPerHour | quote }}}
    {{- with .Values.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  livenessProbe:
    httpGet: {path: /-/healthy, port: llmcost}
    periodSeconds: 15
    timeoutSeconds: 5
    failureThreshold: 4
  resources:
    {{- toYaml .Values.sidecar.resources | nindent 4 }}
{{- end }}
