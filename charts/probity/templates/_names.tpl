{{/* What everything of a release is called: the release's own name if it says "probity", else RELEASE-probity. */}}
{{- define "probity.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" (.Release.Name | trunc 44 | trimSuffix "-") .Chart.Name }}
{{- end -}}
{{- end -}}

{{/* What never changes during the life of a release: a Deployment's selector cannot. */}}
{{- define "probity.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "probity.labels" -}}
{{ include "probity.selectorLabels" . }}
app.kubernetes.io/part-of: probity
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end -}}

{{/*
The operator's image, always by digest: it runs the same image in the pods of models, and rule one is that content is
trusted by digest, never by tag.
*/}}
{{- define "probity.image" -}}
{{- with .Values.image -}}
{{- if .tag -}}
{{- fail (printf "image.tag: set image.digest instead (a tag can change its meaning between two pods); `crane digest %s:%v` tells it" (.repository | default "REPOSITORY") .tag) -}}
{{- end -}}
{{- required "image.repository: say where the image is, for example registry.example/probity" .repository -}}
@
{{- required "image.digest: say which image it is, as sha256:… (`crane digest REPOSITORY:TAG` tells it)" .digest -}}
{{- end -}}
{{- end -}}
