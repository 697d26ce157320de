{{/*
Words that several guards share. They are CEL, written once: a rule that is asked of `object` and of `oldObject` must not
come to differ. `dyn` because one expression reads kinds of different shapes.
*/}}

{{/* The operator, as the API server knows it. */}}
{{- define "probity.account" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "probity.fullname" . }}
{{- end -}}

{{/* The namespaces where models are governed: what a guard of pods and workloads looks at. */}}
{{- define "probity.guards.governed" -}}
namespaceSelector:
  matchLabels:
    probity.dev/governed: "true"
{{- end -}}

{{/* The images that may call themselves ours, as a CEL list: the operator's own, and those of earlier releases that still serve. */}}
{{- define "probity.guards.images" -}}
[{{ include "probity.image" . | squote }}{{ range .Values.image.previous }}, {{ . | squote }}{{ end }}]
{{- end -}}

{{/* Whether an object (a CEL expression) has a label or an annotation with our prefix. */}}
{{- define "probity.guards.marked" -}}
(dyn({{ . }}).?metadata.?labels.orValue({}).exists(key, key.startsWith('probity.dev/'))
|| dyn({{ . }}).?metadata.?annotations.orValue({}).exists(key, key.startsWith('probity.dev/')))
{{- end -}}

{{/* Whether a pod, or a pod's template, has a container or a volume with our prefix. */}}
{{- define "probity.guards.named" -}}
(dyn({{ . }}).?spec.?initContainers.orValue([]).exists(container, container.name.startsWith('probity-'))
|| dyn({{ . }}).?spec.?containers.orValue([]).exists(container, container.name.startsWith('probity-'))
|| dyn({{ . }}).?spec.?volumes.orValue([]).exists(volume, volume.name.startsWith('probity-')))
{{- end -}}

{{/* Whether an object that may have a pod's template says anywhere that it is a model's. */}}
{{- define "probity.guards.claims" -}}
({{ include "probity.guards.marked" . }}
|| dyn({{ . }}).?metadata.?ownerReferences.orValue([]).exists(owner, owner.apiVersion.startsWith('probity.dev/'))
|| {{ include "probity.guards.marked" (printf "%s.?spec.?template.orValue({})" .) }}
|| {{ include "probity.guards.named" (printf "%s.?spec.?template.orValue({})" .) }})
{{- end -}}

{{/* The same of an object that may be a CronJob, which has the template of a Job. */}}
{{- define "probity.guards.claimsAnywhere" -}}
({{ include "probity.guards.claims" . }}
|| {{ include "probity.guards.claims" (printf "%s.?spec.?jobTemplate.orValue({})" .) }})
{{- end -}}

{{/* Whether an update leaves every label and annotation with our prefix as it was. */}}
{{- define "probity.guards.sameMarks" -}}
(dyn(oldObject).?metadata.?labels.orValue({}).all(key, !key.startsWith('probity.dev/')
  || dyn(object).?metadata.?labels[?key] == dyn(oldObject).?metadata.?labels[?key])
&& dyn(object).?metadata.?labels.orValue({}).all(key, !key.startsWith('probity.dev/')
  || dyn(object).?metadata.?labels[?key] == dyn(oldObject).?metadata.?labels[?key])
&& dyn(oldObject).?metadata.?annotations.orValue({}).all(key, !key.startsWith('probity.dev/')
  || dyn(object).?metadata.?annotations[?key] == dyn(oldObject).?metadata.?annotations[?key])
&& dyn(object).?metadata.?annotations.orValue({}).all(key, !key.startsWith('probity.dev/')
  || dyn(object).?metadata.?annotations[?key] == dyn(oldObject).?metadata.?annotations[?key]))
{{- end -}}

{{/* The binding of a guard. Dict: top, name, and, for a guard of governed namespaces only, governed. */}}
{{- define "probity.guards.binding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "probity.labels" .top | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
  {{- if .governed }}
  matchResources:
    {{- include "probity.guards.governed" . | nindent 4 }}
  {{- end }}
{{- end -}}
