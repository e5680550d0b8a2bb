// SPDX-License-Identifier: Apache-2.0

package container

import "strings"

// Owner is the workload that a pod belongs to.
type Owner struct {
	Kind string
	Name string
}

// Workload kinds that do not come from Kubernetes.
const (
	OwnerHost      = "Host"
	OwnerContainer = "Container"
)

// randomSuffixLen is the length of the suffix that Kubernetes appends to generated names (after a dash).
const randomSuffixLen = 5

// OwnerOf derives a pod's workload from its name and the labels that the built-in controllers set. It is a guess for as
// long as nobody has asked Kubernetes for owner references:
//
//   - statefulset.kubernetes.io/pod-name: StatefulSet, the name without its ordinal.
//   - pod-template-hash found in the name: Deployment, the name before the hash. A ReplicaSet without a Deployment sets
//     no such label; other controllers that copy the label (Argo Rollouts) are taken for a Deployment.
//   - batch.kubernetes.io/job-name or job-name: Job; CronJob, if the job's name ends in a scheduled minute.
//   - controller-revision-hash with pod-template-generation: DaemonSet.
//   - anything else: the pod itself.
func OwnerOf(pod string, labels map[string]string) Owner {
	if labels["statefulset.kubernetes.io/pod-name"] != "" {
		if name, ordinal, ok := cutLast(pod); ok && isDigits(ordinal) {
			return Owner{Kind: "StatefulSet", Name: name}
		}
	}
	if hash := labels["pod-template-hash"]; hash != "" {
		if set, _, ok := cutLast(pod); ok {
			if name, ok := strings.CutSuffix(set, "-"+hash); ok && name != "" {
				return Owner{Kind: "Deployment", Name: name}
			}
		}
	}
	job := labels["batch.kubernetes.io/job-name"]
	if job == "" {
		job = labels["job-name"]
	}
	if job != "" {
		return jobOwner(job)
	}
	if labels["controller-revision-hash"] != "" && labels["pod-template-generation"] != "" {
		if name, suffix, ok := cutLast(pod); ok && len(suffix) == randomSuffixLen {
			return Owner{Kind: "DaemonSet", Name: name}
		}
	}
	return Owner{Kind: "Pod", Name: pod}
}

// jobOwner tells a CronJob's job by the minute since 1970 at the end of its name: eight digits from 1989 to 2160.
func jobOwner(job string) Owner {
	if name, minute, ok := cutLast(job); ok && len(minute) == 8 && isDigits(minute) {
		return Owner{Kind: "CronJob", Name: name}
	}
	return Owner{Kind: "Job", Name: job}
}

// cutLast splits at the last dash; both sides must be non-empty.
func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '-')
	if i <= 0 || i == len(s)-1 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
