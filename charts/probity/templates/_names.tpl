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

{{/* The relay beside the operator: its objects' name, and the labels by which network policies know its pods. */}}
{{- define "probity.relay" -}}
{{ include "probity.fullname" . }}-relay
{{- end -}}

{{- define "probity.relaySelectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: relay
{{- end -}}

{{- define "probity.relayLabels" -}}
{{ include "probity.relaySelectorLabels" . }}
app.kubernetes.io/part-of: probity
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end -}}

{{- define "probity.labels" -}}
{{ include "probity.selectorLabels" . }}
app.kubernetes.io/part-of: probity
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end -}}

{{/* The same of the pods that show whether NetworkPolicies are enforced. */}}
{{- define "probity.canarySelectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: canary
{{- end -}}

{{- define "probity.canaryLabels" -}}
{{ include "probity.canarySelectorLabels" . }}
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

{{/* By what the API server calls admission. */}}
{{- define "probity.webhookService" -}}
{{ include "probity.fullname" . }}-webhook
{{- end -}}

{{/* The Secret with the certificate of admission. */}}
{{- define "probity.certificateSecret" -}}
{{ .Values.certificates.secretName | default (printf "%s-admission" (include "probity.fullname" .)) }}
{{- end -}}

{{/* "yes" when the operator makes the certificate of admission, else nothing. */}}
{{- define "probity.managesCertificates" -}}
{{- if and .Values.admission.enabled (eq .Values.certificates.mode "SelfManaged") -}}yes{{- end -}}
{{- end -}}

{{/*
What both webhooks have in common. One fixed selector: a label of a namespace is the only thing that lets Probity see
it, and neither the cluster's own namespaces nor the operator's can ever be governed, so that the cluster and the
operator come up without it. `caBundle` is not here when the operator writes it: nobody who applies the chart again
would then take it back.
*/}}
{{- define "probity.webhook" -}}
admissionReviewVersions: [v1]
clientConfig:
  service:
    name: {{ include "probity.webhookService" .top }}
    namespace: {{ .top.Release.Namespace }}
    path: {{ .path }}
    port: 443
  {{- if and (eq .top.Values.certificates.mode "Secret") .top.Values.certificates.caBundle }}
  caBundle: {{ .top.Values.certificates.caBundle | b64enc }}
  {{- end }}
namespaceSelector:
  matchExpressions:
    - key: probity.dev/governed
      operator: In
      values: ["true"]
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values: {{ list "kube-system" "kube-node-lease" .top.Release.Namespace | uniq | toJson }}
failurePolicy: {{ .failurePolicy | default "Fail" }}
matchPolicy: Equivalent
sideEffects: None
timeoutSeconds: {{ .timeoutSeconds | default 5 }}
{{- end -}}

{{/* Tells cert-manager whose authority goes into `caBundle`. */}}
{{- define "probity.injectCA" -}}
{{- if eq .Values.certificates.mode "CertManager" -}}
annotations:
  cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/{{ include "probity.fullname" . }}-admission
{{- end -}}
{{- end -}}
